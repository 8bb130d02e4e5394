"""Cohere's chat stream, version 2 → drafts (pure).

Rule 1: a plan of tool calls is reasoning, as a thought is; the seal says which of both it was.
Rule 2: a call is over when something follows it, or the answer is whole: one that was cut has an
end of its own as well.
Rule 3: a citation's places count from the beginning of the content that it is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.tool_calls import ToolDelta
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.cohere.request import PLAN, THINKING
from ws_bridge.upstream.dialects.ends import (
    CUT,
    FAILURE,
    FILTERED,
    GOOD,
    Ends,
    incomplete_reason,
)
from ws_bridge.upstream.dialects.event_reader import DONE, EventReader, ServerSentEvent, parsed
from ws_bridge.upstream.dialects.turns import fitting_id
from ws_bridge.upstream.provider_errors import error_of, has_error

ENDS: Ends = {
    "COMPLETE": GOOD,
    "STOP_SEQUENCE": GOOD,
    "TOOL_CALL": GOOD,
    "MAX_TOKENS": CUT,
    "ERROR_LIMIT": CUT,
    "ERROR_TOXIC": FILTERED,
    "ERROR": FAILURE,
    "TIMEOUT": FAILURE,
    "USER_CANCEL": FAILURE,
}
MOST = 2**53  # an integer in JSON


class CohereReader(EventReader):
    """A ``StreamReader`` of Cohere's chat."""

    def __init__(self, given: ReaderInput) -> None:
        super().__init__(given)
        self._begins: dict[int, int] = {}  # where the open text of each content begins
        self._reasons = ""  # what is open: THINKING, PLAN, or no reasoning at all
        self._last_call: int | None = None  # the call that was the last to end
        self._readers = {
            "content-start": self._content,
            "content-delta": self._content,
            "tool-plan-delta": self._plan,
            "tool-call-start": self._call,
            "tool-call-delta": self._call,
            "tool-call-end": self._end_call,
            "citation-start": self._cite,
            "message-end": self._end,
        }

    def _event(self, event: ServerSentEvent) -> list[Draft]:
        if event.data == DONE:
            return []
        data = parsed(event.data)
        if not isinstance(data, dict):
            return []
        kind = data.get("type")
        reader = self._readers.get(kind if isinstance(kind, str) else event.name)
        if reader is not None:
            return reader(data)
        if has_error(data) or (isinstance(data.get("message"), str) and kind != "debug"):
            raise error_of(None, data)
        return []

    def _content(self, data: Json) -> list[Draft]:
        content = _message(data).get("content")
        if not isinstance(content, dict):
            return self._text(_place(data), content) if isinstance(content, str) else []
        text = content.get("text")
        if isinstance(text, str):
            return self._text(_place(data), text)
        thought = content.get(THINKING)
        return self._reason(THINKING, thought) if isinstance(thought, str) and thought else []

    def _text(self, place: int, text: str) -> list[Draft]:
        drafts = self._end_before() if self._reasons or self._last_call is not None else []
        if place not in self._begins:
            self._begins[place] = self._output.text_length
        return drafts + self._output.text(text) if text else drafts

    def _plan(self, data: Json) -> list[Draft]:
        plan = _message(data).get(PLAN)
        return self._reason(PLAN, plan) if isinstance(plan, str) and plan else []

    def _reason(self, kind: str, text: str) -> list[Draft]:
        self._begins.clear()
        if self._reasons == kind:
            return self._output.reasoning(text)
        drafts = self._end_before()
        self._reasons = kind
        return drafts + self._output.reasoning(text)

    def _end_before(self) -> list[Draft]:
        """What came before is whole, reasoning or a call: what follows is something else."""
        place, self._last_call = self._last_call, None
        drafts = [] if place is None else self._output.end_call(place)
        if self._reasons:
            drafts += self._output.seal(self._given.seals.seal({self._reasons: True}))
            self._reasons = ""
        return drafts

    def _call(self, data: Json) -> list[Draft]:
        self._begins.clear()
        call = _message(data).get("tool_calls")
        for one in _list(call) or [call]:
            if isinstance(one, dict):
                return self._end_before() + self._output.call(_tool_delta(one, _place(data)))
        return []

    def _end_call(self, data: Json) -> list[Draft]:
        self._last_call = _place(data)
        return []

    def _cite(self, data: Json) -> list[Draft]:
        citations = _message(data).get("citations")
        found: list[Json] = []
        for one in _list(citations) or [citations]:
            found += self._notes(one) if isinstance(one, dict) else ()
        return self._output.annotate(found) if found else []

    def _notes(self, citation: Json) -> Iterator[Json]:
        """The annotations of a citation in text that is open; plans and thoughts have none."""
        place = citation.get("content_index", max(self._begins, default=0))
        begin = self._begins.get(place) if isinstance(place, int) else None
        length = self._output.text_length
        if begin is None or not length or citation.get("type", "TEXT_CONTENT") != "TEXT_CONTENT":
            return
        start = min(begin + _count(citation.get("start")), length)
        end = max(start, min(begin + _count(citation.get("end")), length))
        for source in _list(citation.get("sources")):
            if isinstance(source, dict) and (note := _note(source, start, end)):
                yield note

    def _end(self, data: Json) -> list[Draft]:
        delta = data.get("delta")
        return self._finish(delta if isinstance(delta, dict) else {})

    def _finish(self, end: Json) -> list[Draft]:
        self._output.usage = usage_of(end.get("usage"))
        if has_error(end):
            raise error_of(None, end)
        word = str(end.get("finish_reason") or "")
        reason = incomplete_reason(word, ENDS, has_output=self._output.has_output)
        if reason:
            self._last_call = None  # it may be cut, whatever its end says
        return self._end_before() + self._output.finish(reason)

    def _whole(self, answer: Json) -> list[Draft]:
        message = answer.get("message") if isinstance(answer, dict) else None
        if not isinstance(message, dict):
            raise error_of(None, answer)
        drafts = self._plan({"delta": {"message": message}})
        content = message.get("content")
        for place, part in enumerate([content] if isinstance(content, str) else _list(content)):
            drafts += self._content({"index": place, "delta": {"message": {"content": part}}})
        for citation in _list(message.get("citations")):
            drafts += self._cite({"delta": {"message": {"citations": citation}}})
        for place, call in enumerate(_list(message.get("tool_calls"))):
            drafts += self._call({"index": place, "delta": {"message": {"tool_calls": call}}})
            self._last_call = place
        return drafts + self._finish(answer)


def _message(data: Json) -> Json:
    """What a delta adds to the message."""
    delta = data.get("delta")
    message = delta.get("message") if isinstance(delta, dict) else None
    return message if isinstance(message, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _place(data: Json) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else 0


def _count(value: Any) -> int:
    """A count of tokens or characters, which Cohere may write as a fraction."""
    return int(value) if isinstance(value, int | float) and 0 <= value < MOST else 0


def _tool_delta(call: Json, index: int) -> ToolDelta:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
    return ToolDelta(
        index,
        fitting_id(call_id) if isinstance(call_id, str) and call_id else None,
        name if isinstance(name, str) else None,
        arguments if isinstance(arguments, str) else "",
    )


def _note(source: Json, start: int, end: int) -> Json | None:
    """The annotation for one source: a link where it has one, else the document."""
    found = source.get("document") or source.get("tool_output")
    about = found if isinstance(found, dict) else {}
    url, title = about.get("url"), about.get("title")
    title = title if isinstance(title, str) else ""
    if isinstance(url, str) and url:
        return {
            "type": "url_citation",
            "url": url,
            "title": title,
            "start_index": start,
            "end_index": end,
        }
    if source.get("type") != "document":  # the output of the client's own tool
        return None
    name = str(source.get("id") or about.get("id") or "")
    return {"type": "file_citation", "file_id": name, "filename": title or name, "index": end}


def usage_of(usage: Any) -> Json | None:
    """The wire's figures as a Responses usage; None where it has none."""
    if not isinstance(usage, dict):
        return None
    tokens = usage.get("tokens") or usage.get("billed_units")
    if not isinstance(tokens, dict):
        return None
    read, written = _count(tokens.get("input_tokens")), _count(tokens.get("output_tokens"))
    cached = _count(usage.get("cached_tokens"))
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
