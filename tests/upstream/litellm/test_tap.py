"""The tap: a stream's frames before litellm has them, and litellm fed by hand."""

import asyncio
import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.litellm import tap as taps
from ws_bridge.upstream.litellm.tap import Bounded, Fed, Shortened, Tap, ask_plainly, catching, hook

LINE_ENDS = (b"\n", b"\r\n", b"\r")


class Wire(httpx.AsyncByteStream):
    """What the provider sends, read by read, then the failure."""

    def __init__(self, *reads, failure=None):
        self.reads = reads
        self.failure = failure
        self.is_closed = False

    async def __aiter__(self):
        for data in self.reads:
            yield data
        if self.failure:
            raise self.failure

    async def aclose(self):
        self.is_closed = True


async def frames_of(*reads):
    return [frame async for frames in Tap(Wire(*reads)).frames() for frame in frames]


def pieces(data, cuts):
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.sampled_from([b"data: x", b"event: e", b": c", "data: é".encode()]), min_size=1),
    st.sampled_from(LINE_ENDS),
    st.lists(st.integers(0, 500)),
)
async def test_a_frame_ends_with_its_blank_line_wherever_the_reads_are_cut(lines, end, cuts):
    frames = [line + end + end for line in lines]
    read = await frames_of(*pieces(b"".join(frames), cuts))
    assert b"".join(read) == b"".join(frames)
    # A CRLF cut in its middle leaves a line feed to the next frame, where it says nothing.
    assert [frame.strip() for frame in read if frame.strip()] == [f.strip() for f in frames]


async def test_a_whole_frame_waits_for_nothing():
    gate = asyncio.Event()

    class Slow(Wire):
        async def __aiter__(self):
            yield b"data: 1\n\ndata: 2"
            await gate.wait()
            yield b"\n\n"

    frames = Tap(Slow()).frames()
    assert await anext(frames) == [b"data: 1\n\n"]
    gate.set()
    assert await anext(frames) == [b"data: 2\n\n"]


async def test_what_has_no_end_is_the_last_frame_and_nothing_is_lost():
    assert await frames_of(b"data: 1\n\nda", b"ta: 2") == [b"data: 1\n\n", b"data: 2"]


async def test_a_frame_without_an_end_is_not_collected_for_ever(monkeypatch):
    monkeypatch.setattr(taps, "MAX_FRAME", 1000)
    with pytest.raises(UpstreamError):
        await frames_of(*[b"x" * 100] * 100)


async def upper(tap):
    """An iterator as litellm's are: makes something of some frames, and nothing of others."""
    async for data in tap:
        if b"bad" in data:
            raise ValueError("bad")
        if b"skip" not in data:
            yield data.upper()
        if b"twice" in data:
            yield data


async def test_what_is_made_of_a_frame_is_there_before_the_next():
    tap = Tap(Wire())
    fed = Fed(upper(tap), tap)
    tap.frames()
    async for _ in tap.frames():
        pass
    assert await fed.feed(b"a") == [b"A"]
    assert await fed.feed(b"skip") == []
    assert await fed.feed(b"twice") == [b"TWICE", b"twice"]
    assert await fed.finish() == []
    assert fed.is_over
    fed.check()


async def test_what_it_raises_is_told_after_what_it_made():
    tap = Tap(Wire())
    fed = Fed(upper(tap), tap)
    async for _ in tap.frames():
        pass
    assert await fed.feed(b"a") == [b"A"]
    assert await fed.feed(b"bad") == []
    assert fed.is_over
    with pytest.raises(ValueError, match="bad"):
        fed.check()


async def test_a_broken_wire_breaks_where_litellm_reads():
    tap = Tap(Wire())
    fed = Fed(upper(tap), tap)
    async for _ in tap.frames():
        pass
    await fed.finish(httpx.ReadError("gone"))
    with pytest.raises(httpx.ReadError):
        fed.check()


async def test_closing_leaves_no_task_whether_it_was_fed_or_not():
    before = asyncio.all_tasks()
    for is_fed in (True, False):
        tap = Tap(Wire())
        fed = Fed(upper(tap), tap)
        async for _ in tap.frames():
            pass
        if is_fed:
            await fed.feed(b"a")
        await fed.close()
    assert asyncio.all_tasks() == before


async def test_without_anybody_at_the_tap_litellm_reads_as_ever():
    tap = Tap(Wire(b"data: 1\n", b"\n"))
    assert [data async for data in tap] == [b"data: 1\n", b"\n"]
    assert not tap.is_free


@pytest.mark.parametrize(
    ("status", "headers", "is_tapped"),
    [
        (200, {"content-type": "text/event-stream; charset=utf-8"}, True),
        (200, {"content-type": "Text/Event-Stream"}, True),
        (200, {"content-type": "application/json"}, False),
        (200, {}, False),
        (429, {"content-type": "text/event-stream"}, False),
        (302, {"content-type": "text/event-stream"}, False),
        (200, {"content-type": "text/event-stream", "content-encoding": "identity"}, True),
    ],
)
async def test_only_plain_streams_that_went_well_are_tapped(status, headers, is_tapped):
    wire = Wire()
    response = httpx.Response(status, headers=headers, stream=wire)
    with catching() as catch:
        await hook(response)
    assert (catch.tap is not None) == is_tapped
    assert isinstance(
        response.stream, Tap if is_tapped else Bounded if status == 200 else Shortened
    )
    if is_tapped:
        await catch.tap.aclose()
        assert wire.is_closed


async def test_what_is_compressed_is_refused_before_it_unfolds():
    request = httpx.Request("POST", "http://provider.example", headers={"accept-encoding": "br"})
    await ask_plainly(request)
    assert request.headers["accept-encoding"] == "identity"
    response = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Wire())
    with pytest.raises(UpstreamError):
        await hook(response)


async def test_a_call_that_nobody_catches_is_not_tapped():
    wire = Wire()
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=wire)
    await hook(response)
    assert isinstance(response.stream, Bounded)
