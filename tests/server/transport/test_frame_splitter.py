"""Large frames become fragments, and the messages stay what they were."""

import random

import pytest

from ws_bridge.server.transport.frame_splitter import FRAGMENT, LARGE, FrameSplitter

MASK = b"abcd"
TEXT, CONTINUATION, PING, FINAL = 1, 0, 9, 0x80
LARGEST = 4 * LARGE
BIG = random.Random(1).randbytes(2 * LARGE + 5)  # noqa: S311 - a seed, so that it can be told again


def framed(first, payload):
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 2**16:
        length = bytes((0x80 | 126,)) + size.to_bytes(2)
    else:
        length = bytes((0x80 | 127,)) + size.to_bytes(8)
    return bytes((first,)) + length + MASK + payload


def frames(data):
    """The first byte and the payload of each frame, as it is masked."""
    found, at = [], 0
    while at < len(data):
        first, short = data[at], data[at + 1] & 127
        more = {126: 2, 127: 8}.get(short, 0)
        size = int.from_bytes(data[at + 2 : at + 2 + more]) if more else short
        at += 2 + more
        assert data[at : at + 4] == MASK
        found.append((first, data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def pieces(data, sizes):
    at = 0
    while at < len(data):
        size = next(sizes)
        yield data[at : at + size]
        at += size


def reads(seed):
    dice = random.Random(seed)  # noqa: S311 - as above
    while True:
        yield dice.choice([1, 2, 3, 7, 13, 1000, 65_536, 262_144])


SMALL = [(FINAL | TEXT, b"hi"), (FINAL | PING, b""), (FINAL | TEXT, b"x" * 200)]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_reads_a_large_frame_comes_as_fragments_of_the_same_message(seed):
    sent = [*SMALL, (FINAL | TEXT, BIG), *SMALL, (FINAL | TEXT, b"y" * 70_000)]
    stream = b"".join(framed(*each) for each in sent)
    splitter = FrameSplitter(LARGEST)
    got = frames(b"".join(splitter.split(piece) for piece in pieces(stream, reads(seed))))
    first, last = len(SMALL), len(got) - len(SMALL) - 1
    parts = got[first:last]
    assert (got[:first], got[last:-1]) == (SMALL, SMALL)
    assert got[-1] == sent[-1]
    assert [each for each, _ in parts] == [TEXT, *[CONTINUATION] * (len(parts) - 2), FINAL]
    assert {len(part) for _, part in parts[:-1]} == {FRAGMENT}
    assert b"".join(part for _, part in parts) == BIG


def test_a_large_fragment_of_a_message_is_split_and_begins_and_ends_no_message():
    sent = [(TEXT, BIG), (CONTINUATION, BIG), (FINAL, b"end")]
    got = frames(FrameSplitter(LARGEST).split(b"".join(framed(*each) for each in sent)))
    assert [first for first, _ in got] == [TEXT, *[CONTINUATION] * (len(got) - 2), FINAL]
    assert b"".join(part for _, part in got) == BIG + BIG + b"end"


@pytest.mark.parametrize("size", [LARGE, LARGEST + 1])
def test_a_common_frame_and_one_that_is_refused_stay_as_they_are(size):
    data = framed(FINAL | TEXT, bytes(size))
    assert FrameSplitter(LARGEST).split(data) == data


def test_of_a_large_frame_nothing_is_kept_here():
    splitter, data = FrameSplitter(LARGEST), framed(FINAL | TEXT, BIG)
    assert len(splitter.split(data[:1000])) == 1000
    piece = data[1000:2000]
    assert splitter.split(piece) is piece
