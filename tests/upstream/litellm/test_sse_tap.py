"""The tap: a provider's bytes beside litellm, and a copy for litellm's callbacks."""

import asyncio

import httpx
import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.litellm.sse_tap import (
    Bounded,
    Shortened,
    SseTap,
    ask_plainly,
    catching,
    hook,
)


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


async def read_out(tap):
    read = []
    while (data := await tap.read()) is not None:
        read.append(data)
    return read


async def test_what_is_read_is_what_the_provider_sent_read_by_read():
    tap = SseTap(Wire(b"data: 1\n", b"\nda"))
    assert await read_out(tap) == [b"data: 1\n", b"\nda"]
    assert tap.is_free


async def test_a_broken_wire_breaks_where_it_is_read():
    with pytest.raises(httpx.ReadError):
        await read_out(SseTap(Wire(b"a", failure=httpx.ReadError("gone"))))


async def test_no_more_is_read_than_an_answer_may_have():
    with pytest.raises(UpstreamError):
        await read_out(SseTap(Wire(b"x" * 60, b"x" * 60), 100))


async def heard(tap, into):
    async for data in tap:
        into.append(data)
        yield data


async def test_a_listener_gets_a_copy_of_all_and_its_end():
    tap, copies = SseTap(Wire(b"a", b"b")), []
    tap.copy_to(heard(tap, copies))
    assert await read_out(tap) == [b"a", b"b"]
    await tap.aclose()
    assert copies == [b"a", b"b"]
    assert tap.is_free


async def test_a_listener_that_fails_or_never_ends_changes_nothing():
    async def failing(_):
        raise ValueError
        yield

    async def endless(_):
        await asyncio.Event().wait()
        yield

    before = asyncio.all_tasks()
    for listener in (failing, endless):
        tap = SseTap(Wire(b"a"))
        tap.copy_to(listener(tap))
        assert await read_out(tap) == [b"a"]
        await tap.aclose()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_without_a_reader_litellm_reads_as_ever():
    tap = SseTap(Wire(b"data: 1\n", b"\n"))
    assert [data async for data in tap] == [b"data: 1\n", b"\n"]
    assert not tap.is_free


@pytest.mark.parametrize(
    ("status", "headers", "is_tapped"),
    [
        (200, {"content-type": "text/event-stream; charset=utf-8"}, True),
        (200, {"content-type": "Text/Event-Stream"}, True),
        (200, {"content-type": "application/json"}, True),
        (200, {}, True),
        (429, {"content-type": "text/event-stream"}, False),
        (302, {"content-type": "text/event-stream"}, False),
        (200, {"content-type": "text/event-stream", "content-encoding": "identity"}, True),
    ],
)
async def test_only_plain_answers_that_went_well_are_tapped(status, headers, is_tapped):
    wire = Wire()
    response = httpx.Response(status, headers=headers, stream=wire)
    with catching() as catch:
        await hook(response)
    assert (catch.tap is not None) == is_tapped
    assert isinstance(response.stream, SseTap if is_tapped else Shortened)
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
