"""What holds for every reader: one end, drafts before an error first, JSON for a stream."""

import orjson
import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.base import EventReader, ReaderInput, parsed
from ws_bridge.upstream.provider_errors import error_of


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
