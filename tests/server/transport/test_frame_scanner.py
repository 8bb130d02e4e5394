"""Frame heads followed, without a network: whatever the cuts, the same is seen."""

import random
import struct

import pytest
from support.raw_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, head

from ws_bridge.errors import (
    INVALID_CLOSE_CODE,
    TOO_MANY_CONTROLS,
    TOO_MANY_FRAGMENTS,
    UNMASKED_FRAME,
)
from ws_bridge.server.transport.frame_scanner import CONTROL_SECONDS, FrameScanner


def frames(fragments=4, controls=5):
    return FrameScanner(fragments=fragments, controls=controls)


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


def cut(data, rng):
    """The bytes in pieces, as a network may deliver them."""
    while data:
        size = rng.choice((1, 2, 3, 7, 100, len(data)))
        yield data[:size]
        data = data[size:]


SIZES = (1, 125, 126, 127, 65535, 65536, 70000)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_cuts_whole_messages_are_followed_to_their_end(seed):
    rng = random.Random(seed)  # noqa: S311 - to repeat a failure
    followed = frames(fragments=10**6, controls=10**6)
    for _ in range(10):
        opcode, size = rng.choice((TEXT, BINARY)), rng.choice(SIZES)
        data = frame(opcode, bytes(size), final=False) + frame(PING, b"hi")
        data += frame(CONTINUATION, bytes(size), final=False) + frame(CONTINUATION, bytes(size))
        sent = 0
        for piece in cut(data, rng):
            assert followed.scan(piece, 0.0) is None
            sent += len(piece)
            assert followed.is_at_boundary is (sent == len(data))
        assert (followed.remaining, followed.received) == (0, 0)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_announced_and_what_is_here_are_known_at_any_time(size):
    followed = frames()
    followed.scan(head(TEXT, size, final=False), 0.0)
    assert (followed.remaining, followed.received, followed.is_at_boundary) == (size, 0, False)
    followed.scan(bytes(size - 1), 0.0)
    assert (followed.remaining, followed.received) == (1, size - 1)
    followed.scan(bytes(1), 0.0)
    assert (followed.remaining, followed.received, followed.is_at_boundary) == (0, size, False)
    followed.scan(frame(CONTINUATION, b"x"), 0.0)
    assert (followed.remaining, followed.received, followed.is_at_boundary) == (0, 0, True)


@pytest.mark.parametrize("size", [1, 2, 125, 126, 127, 65535])
def test_a_whole_text_frame_is_recognised_at_a_glance(size):
    whole = frame(TEXT, bytes(size))
    assert frames().is_whole(whole)
    for other in (whole[:-1], whole + b"\x81", frame(BINARY, bytes(size)), whole[:2]):
        assert not frames().is_whole(other)
    half = frames()
    half.scan(frame(TEXT, b"x", final=False), 0.0)
    assert not half.is_whole(whole)


@pytest.mark.parametrize("data", [b"\x81\x01a", b"\x81\x00", b"\x89\x00", b"\x81\x7e\x01\x00"])
def test_a_frame_without_a_mask_is_a_breach_as_soon_as_that_is_seen(data):
    assert frames().scan(data[:2], 0.0) == UNMASKED_FRAME
    assert not frames().is_whole(data)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4000, 4999])
def test_a_client_may_close_with_the_codes_that_travel(code):
    followed = frames()
    assert followed.scan(close(code, b"bye"), 0.0) is None
    assert followed.is_closed


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
@pytest.mark.parametrize("at", [1, 6, 7, 8])
def test_no_client_may_close_with_another_code(code, at):
    followed, data = frames(), close(code)
    assert (followed.scan(data[:at], 0.0) or followed.scan(data[at:], 0.0)) == INVALID_CLOSE_CODE
    assert followed.is_closed


def test_a_close_without_a_code_is_one_and_half_a_code_is_none():
    assert frames().scan(frame(CLOSE), 0.0) is None
    assert frames().scan(frame(CLOSE, b"\x03"), 0.0) == INVALID_CLOSE_CODE


def test_a_message_has_so_many_fragments_and_the_next_one_again():
    followed = frames(fragments=3)
    three = frame(TEXT, b"x", final=False) + frame(CONTINUATION, b"x", final=False)
    for _ in range(5):
        assert followed.scan(three + frame(CONTINUATION, b"x"), 0.0) is None
    followed.scan(three, 0.0)
    assert followed.scan(frame(CONTINUATION, b"x", final=False), 0.0) is None
    assert followed.scan(frame(CONTINUATION, b"x"), 0.0) == TOO_MANY_FRAGMENTS


@pytest.mark.parametrize(
    "one",
    [frame(PING, b"x"), frame(PONG), frame(TEXT), frame(TEXT, final=False)],
    ids=["ping", "pong", "empty text", "empty fragment"],
)
def test_frames_that_carry_nothing_have_a_budget_that_comes_back(one):
    followed = frames(controls=5, fragments=100)
    assert followed.scan(one * 5, 100.0) is None
    assert followed.scan(one, 100.0 + CONTROL_SECONDS - 0.01) == TOO_MANY_CONTROLS
    followed = frames(controls=5, fragments=100)
    assert followed.scan(one * 5, 100.0) is None
    assert followed.scan(one * 5, 100.0 + CONTROL_SECONDS) is None
    assert followed.scan(one, 100.0 + CONTROL_SECONDS) == TOO_MANY_CONTROLS


def test_a_close_frame_costs_no_budget():
    followed = frames(controls=1)
    assert followed.scan(frame(PING) + close(1000), 0.0) is None


def test_random_bytes_are_followed_or_a_breach_and_nothing_else():
    rng = random.Random(7)  # noqa: S311 - to repeat a failure
    for _ in range(3000):
        followed = frames()
        for _ in range(4):
            followed.scan(rng.randbytes(rng.randrange(1, 40)), 0.0)
        assert followed.remaining >= 0
