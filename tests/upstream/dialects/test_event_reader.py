"""Server-sent events are cut from bytes in any pieces, and read up to one end or error."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects import event_reader
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.event_reader import (
    EventReader,
    ServerSentEvent,
    SseDecoder,
    parsed,
)
from ws_bridge.upstream.errors import TooLarge
from ws_bridge.upstream.provider_errors import error_of


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
    monkeypatch.setattr(event_reader, "MAX_EVENT", 100)
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


# What holds for every reader: one end, drafts before an error first, JSON for a stream


class WordReader(EventReader):
    """A dialect of words: {"say": text}, {"end": true}, {"error": …}."""

    def _event(self, event):
        data = parsed(event.data)
        if "error" in data:
            raise error_of(None, data)
        if "end" in data:
            return self._output.finish()
        return self._output.text(data.get("say", ""))

    def _whole(self, answer):
        return [*self._output.text(answer["say"]), *self._output.finish()]


def sse(*events):
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def kinds(drafts):
    return [draft.type.removeprefix("response.") for draft in drafts]


def new():
    return WordReader(ReaderInput())


def test_an_answer_ends_once_and_nothing_is_read_after_it():
    reader = new()
    drafts = reader.feed(sse({"say": "a"}, {"end": 1}, {"say": "b"}))
    assert kinds(drafts)[-1] == "completed"
    assert reader.is_over
    assert reader.feed(sse({"say": "c"})) == []
    assert reader.finish() == []


def test_what_was_said_before_an_error_comes_first():
    reader = new()
    drafts = reader.feed(sse({"say": "a"}, {"error": {"message": "no", "code": "busy"}}))
    assert kinds(drafts)[-1] == "output_text.delta"
    assert reader.failure is not None
    with pytest.raises(UpstreamError) as caught:
        reader.finish()
    assert (caught.value.code, caught.value.message) == ("busy", "no")


def test_an_error_at_the_head_is_raised_at_once():
    with pytest.raises(UpstreamError, match="no"):
        new().feed(sse({"error": "no"}))


def test_a_stream_without_its_end_was_cut_off():
    reader = new()
    reader.feed(sse({"say": "a"}))
    with pytest.raises(UpstreamError):
        reader.finish()


def test_a_last_event_without_its_blank_line_is_read():
    reader = new()
    reader.feed(sse({"say": "a"}))
    reader.feed(b'data: {"end": 1}')
    assert kinds(reader.finish())[-1] == "completed"


def test_a_body_of_json_is_an_answer():
    reader = new()
    assert reader.feed(b'{"say":') + reader.feed(b'"a"}') == []
    assert kinds(reader.finish())[-1] == "completed"
    assert reader.is_over


def test_an_event_that_is_no_json_is_an_error_and_no_crash():
    with pytest.raises(UpstreamError, match="not JSON"):
        new().feed(b"data: {oops\n\n")


def test_half_a_character_does_not_break_an_event():
    assert parsed(b'{"say": "\\ud83d"}') == {"say": "\ud83d"}
