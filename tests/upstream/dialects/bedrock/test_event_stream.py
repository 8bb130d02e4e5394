"""AWS's binary event stream is cut into events, whatever pieces its bytes come in."""

import struct
import zlib

import pytest
from support.event_stream import event, exception, message

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.bedrock.event_stream import EventStreamDecoder


def decoded(*pieces):
    decoder = EventStreamDecoder()
    return [tuple(one) for piece in pieces for one in decoder.feed(piece)]


def test_events_are_given_out_as_soon_as_they_are_whole():
    raw = event("a", n=1) + event("b", n=2)

    assert decoded(raw) == [("a", b'{"n": 1}'), ("b", b'{"n": 2}')]
    assert decoded(*(raw[n : n + 1] for n in range(len(raw)))) == decoded(raw)
    assert decoded(raw[:-1]) == [("a", b'{"n": 1}')]


def test_exceptions_and_errors_have_their_own_names():
    error = {":message-type": "error", ":error-code": "Failure", ":error-message": "It broke."}

    assert decoded(exception("throttlingException", message="Slow.") + message(error)) == [
        ("exception:throttlingException", b'{"message": "Slow."}'),
        ("exception:Failure", b'{"message":"It broke."}'),
    ]


def _damaged(at):
    raw = bytearray(event("a", n=1))
    raw[at] ^= 1
    return bytes(raw)


@pytest.mark.parametrize(
    "raw",
    [
        _damaged(2),  # a length
        _damaged(9),  # the prelude's sum
        _damaged(20),  # a header
        _damaged(-6),  # the payload
        _damaged(-1),  # the message's sum
        bytes(16),
        message({}, b"")[:12] + struct.pack(">I", 7),
        b"\x00garbage that is no message at all",
    ],
)
def test_a_damaged_message_is_an_error(raw):
    with pytest.raises(UpstreamError, match="damaged"):
        decoded(event("a", n=1), raw)


def test_a_header_of_an_unknown_type_is_an_error():
    raw = bytearray(message({"x": "y"}))
    raw[14] = 99  # the type of the header's value, with the sum put right
    head = bytes(raw[:-4])
    with pytest.raises(UpstreamError, match="damaged"):
        decoded(head + struct.pack(">I", zlib.crc32(head)))


def test_json_instead_of_a_stream_is_kept_whole():
    decoder = EventStreamDecoder()

    assert [decoder.feed(piece) for piece in (b" \n", b'{"a"', b":1}")] == [[], [], []]
    assert decoder.is_json
    assert decoder.whole_json == b' \n{"a":1}'
    assert decoder.finish() == []


def test_a_stream_is_no_json():
    decoder = EventStreamDecoder()
    decoder.feed(event("a"))

    assert not decoder.is_json
    assert decoder.whole_json == b""
