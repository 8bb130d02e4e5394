"""Server-sent events are cut from bytes in any pieces, as the standard says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.upstream.dialects import sse
from ws_bridge.upstream.dialects.sse import ServerSentEvent, SseDecoder
from ws_bridge.upstream.errors import TooLarge


def decoded(*pieces):
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


def data(*texts):
    return [ServerSentEvent("", text.encode()) for text in texts]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_the_standard_is_read(end):
    body = f"event: a{end}data: 1{end}{end}: comment{end}{end}data:2{end}data: 3{end}{end}".encode()
    assert decoded(body) == [ServerSentEvent("a", b"1"), ServerSentEvent("", b"2\n3")]


@pytest.mark.parametrize("between", ["\r\n\r\n", "\n\r\n", "\n\n", "\r\r", "\r\n\r\n\r\n"])
def test_lines_may_end_in_several_ways_in_one_stream(between):
    body = f"data: 1{between}data: 2\r\n\r\n".encode()
    assert decoded(body) == decoded(*(bytes([byte]) for byte in body)) == data("1", "2")


def test_a_byte_order_mark_is_no_part_of_the_first_event():
    assert decoded(b"\xef", b"\xbb", b"\xbfdata: 1\n\n") == data("1")


def test_an_event_is_given_out_with_its_blank_line():
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\n") == []
    assert decoder.feed(b"\ndata: 2\n\nda") == data("1", "2")


def test_the_last_event_needs_no_blank_line():
    assert decoded(b"data: 1\n\ndata: 2") == data("1", "2")


def test_events_without_data_say_nothing():
    assert decoded(b"event: ping\n\nid: 3\n\nretry: 5\n\n\n\n") == []


def test_characters_that_only_look_like_line_ends_end_no_line():
    text = "a\u2028b\x85c"
    assert decoded(f"data: {text}\n\n".encode()) == data(text)


def test_a_body_of_json_is_kept_whole():
    decoder = SseDecoder()
    assert decoder.feed(b' \n{"error"') + decoder.feed(b': "data: 1\\n\\n"}') == []
    assert decoder.is_json
    assert decoder.whole_json == b' \n{"error": "data: 1\\n\\n"}'
    assert decoder.finish() == []


def test_a_stream_whose_data_is_json_is_a_stream():
    decoder = SseDecoder()
    assert decoder.feed(b'data: {"a": 1}\n\n') == data('{"a": 1}')
    assert not decoder.is_json


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 100)
    decoder = SseDecoder()
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(TooLarge):
        decoder.feed(b"x" * 10)


LINES = st.sampled_from(
    ["data: 1", "data:  é", "event: e", ": c", "", "", "data: \U0001f600", "x", "data"]
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_no_cut_changes_what_is_read(lines, end, draw):
    body = end.join([*lines, "", ""]).encode()
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert decoded(*pieces) == decoded(body)
