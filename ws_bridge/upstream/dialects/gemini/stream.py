"""Gemini's stream of `generateContent` answers, read whole (pure).

Each event is a piece of an answer: parts of one candidate, and figures. The stream has no end of
its own: it is over when the wire is, and whole if a finish reason came.

Rule 1: parts are read one by one, in order; of several candidates the first one is read.
Rule 2: a signature becomes a seal: before the call that it signs, after the text that it signs.
Rule 3: what the metadata says of a text is annotated before anything follows that text.
Rule 4: a part that is not understood fails the answer: it cannot be known what it said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.tool_calls import ToolDelta
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.ends import GOOD
from ws_bridge.upstream.dialects.event_reader import DONE, EventReader, ServerSentEvent, parsed
from ws_bridge.upstream.dialects.gemini.ends import (
    has_figures,
    incomplete_reason,
    usage_of,
)
from ws_bridge.upstream.dialects.gemini.grounding import Grounding
from ws_bridge.upstream.dialects.gemini.hosted import (
    FAILED_OUTCOMES,
    code_item,
    fields_of_response,
    items_of_call,
    written,
)
from ws_bridge.upstream.dialects.gemini.logprobs import logprobs_of
from ws_bridge.upstream.dialects.gemini.own_parts import FUNCTION_CALL, AnswerParts
from ws_bridge.upstream.dialects.gemini.partial_calls import PartialCall
from ws_bridge.upstream.dialects.gemini.signatures import (
    CALL,
    IMAGE,
    TEXT,
    THOUGHT,
    Signature,
    fitting_id,
    sealable,
)
from ws_bridge.upstream.errors import redacted, truncated
from ws_bridge.upstream.provider_errors import error_of

NOT_UNDERSTOOD = "The model provider sent a part of an answer that this server does not understand."
NO_NAME = "The model provider sent a function call without a name."
NO_MEDIA = "The model answered with {}, which a response cannot hold."
# Fields of an event and of a candidate beside which a text is nothing but text.
PLAIN_EVENT = frozenset(
    {"candidates", "createTime", "modelVersion", "responseId", "usageMetadata"},
)
PLAIN = frozenset({"avgLogprobs", "content", "index", "safetyRatings", "tokenCount"})
# Fields of a part that have nothing to show.
SILENT = frozenset({"thought", "thoughtSignature", "partMetadata", "videoMetadata"})
# Of an event that is no piece of an answer.
ERRORS = frozenset({"error", "errors", "detail", "message"})
BLOCKED = "PROHIBITED_CONTENT"  # the end of an answer to a prompt that is refused


class GeminiReader(EventReader):
    """A ``StreamReader``."""

    def __init__(self, given: ReaderInput) -> None:
        super().__init__(given)
        self._usage: Json = {}
        self._plain: Json = {}  # the last event, if its figures were not noted
        self._finish = self._finish_message = ""
        self._grounding = Grounding()
        self._text: list[str] = []  # of the open message
        self._is_text = False  # the last thing said was text: more of it needs no ceremony
        self._seal: Signature | None = None  # of the text before; what cites it comes first
        self._logprobs: list[Json] = []  # of the text that follows
        self._calls = 0
        self._partial: PartialCall | None = None
        self._code: Json | None = None  # what came of the code that is open
        self._own = AnswerParts()
        self._hosted: dict[str, dict[str, str]] = {}  # open calls: the types of items, by keys

    def _event(self, event: ServerSentEvent) -> list[Draft]:
        if self.failure is not None:  # it is told first
            return []
        if event.data == DONE:
            return self._end_of_wire()
        return self._answer(parsed(event.data))

    def _whole(self, answer: Any) -> list[Draft]:
        """One answer, or a list of pieces: the form of a stream that is not SSE."""
        pieces = answer if isinstance(answer, list) else [answer]
        drafts = self._read_each(pieces, self._answer)
        return drafts if self.failure is not None else drafts + self._end_of_wire()

    def _answer(self, data: Any) -> list[Draft]:
        """The drafts of one event."""
        if self._is_text and (text := _plain_text(data)) is not None:  # nearly all of a stream
            self._plain = data
            self._text.append(text)
            self._own.texts.append(text)
            return self._output.text(text)
        if isinstance(data, list) and data and all(map(_is_piece, data)):
            return self._read_each(data, self._answer)
        if not isinstance(data, dict) or any(data.get(name) for name in ERRORS & data.keys()):
            raise error_of(None, data)
        for one in (self._plain, data):
            self._note(one)
        self._plain = {}
        candidate = _first(data.get("candidates"))
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        return self._candidate(candidate, parts if isinstance(parts, list) else [])

    def _note(self, data: Json) -> None:
        """The figures and the model's name, of which the last ones count; a refused prompt."""
        usage = data.get("usageMetadata")
        if isinstance(usage, dict) and has_figures(usage):
            self._usage = usage
        if isinstance(model := data.get("modelVersion"), str):
            self._output.model = model
        if isinstance(feedback := data.get("promptFeedback"), dict) and feedback.get("blockReason"):
            self._finish = BLOCKED
            self._finish_message = str(feedback.get("blockReasonMessage") or "")

    def _candidate(self, candidate: Json, parts: list[Any]) -> list[Draft]:
        self._grounding.take(candidate)
        if isinstance(word := candidate.get("finishReason"), str):
            self._finish = word
            self._finish_message = str(candidate.get("finishMessage") or "")
        self._logprobs += logprobs_of(candidate.get("logprobsResult"))
        steps: list[Callable[[], list[Draft]]] = [] if self._is_text else [self._searches]
        steps += [partial(self._part, part) for part in parts]
        return self._read_each(steps, lambda read: read())

    def _part(self, part: Any) -> list[Draft]:
        """The drafts of one part. Raises ``UpstreamError`` for one of an unknown kind."""
        if not isinstance(part, dict):
            raise UpstreamError(NOT_UNDERSTOOD)
        signature = sealable(part.get("thoughtSignature"))
        if isinstance(text := part.get("text", None if part.keys() - SILENT else ""), str):
            if part.get("thought"):
                return self._thought(text, signature)
            return self._answer_text(text, signature)
        if part.get("thought"):  # a draft of a picture, which is no part of the answer
            return []
        for name, read in self.PARTS.items():
            if isinstance(value := part.get(name), dict):
                if name != FUNCTION_CALL:
                    self._own.add({name: value}, signature)
                return read(self, value, signature)
        raise UpstreamError(NOT_UNDERSTOOD)

    # Text

    def _answer_text(self, text: str, signature: str) -> list[Draft]:
        drafts: list[Draft] = []
        logprobs, self._logprobs = self._logprobs, []
        self._own.add_text(text, signature)
        if text or logprobs:
            if not self._is_text:
                drafts += self._leave()
            self._is_text = self._seal is None and not signature
            self._text.append(text)
            drafts += self._output.text(text, logprobs)
        if signature:
            drafts += self._leave_unless_text(text)
            self._seal = Signature(TEXT, signature, length=len(text))
            self._is_text = False
        return drafts

    def _leave_unless_text(self, text: str) -> list[Draft]:
        """A signature alone signs what was said before; what that is must be over, unless text."""
        return [] if text or self._text else self._leave()

    def _thought(self, text: str, signature: str) -> list[Draft]:
        drafts = self._leave() if text or signature else []
        if text:
            drafts += self._output.reasoning(text)
        if signature:
            self._own.add({"text": text, "thought": True}, signature)
            drafts += self._sealed(Signature(THOUGHT, signature))
        return drafts

    def _sealed(self, signature: Signature) -> list[Draft]:
        return self._output.seal(self._given.seals.seal(signature.json()))

    def _leave(self) -> list[Draft]:
        """What was open is over: its citations, its signature, the end of its code."""
        drafts: list[Draft] = []
        if self._text:
            text, self._text = "".join(self._text), []
            if annotations := self._grounding.annotations(text):
                drafts += self._output.annotate(annotations)
        if self._seal is not None:
            seal, self._seal = self._seal, None
            drafts += self._sealed(seal)
        if self._code is not None:
            code, self._code = self._code, None
            drafts += self._output.end_hosted("code", code)
        self._is_text = False
        return drafts

    # Calls of the client's tools

    def _function_call(self, call: Json, signature: str) -> list[Draft]:
        goes_on = call.get("willContinue") is True
        if self._partial is None and not goes_on and not call.get("partialArgs"):
            return self._call(call.get("name"), call.get("id"), call.get("args"), signature)
        drafts = self._end_partial() if call.get("name") else []
        self._partial = self._partial or PartialCall()
        self._partial.take(call, signature)
        return drafts if goes_on else drafts + self._end_partial()

    def _end_partial(self, *, cut: bool = False) -> list[Draft]:
        partial, self._partial = self._partial, None
        if partial is None or (cut and not partial.name):
            return []
        arguments = partial.arguments
        return self._call(partial.name, partial.id, arguments, partial.signature, cut=cut)

    def _call(
        self, name: Any, call_id: Any, arguments: Any, signature: str, *, cut: bool = False
    ) -> list[Draft]:
        if not isinstance(name, str) or not name:
            raise UpstreamError(NO_NAME)
        drafts = self._leave()
        self._own.add_call(name, call_id, arguments, signature)
        fitting = fitting_id(call_id)
        own = sealable(call_id) if fitting != call_id else ""
        if signature or own:
            drafts += self._sealed(Signature(CALL, signature, call_id=own))
        text = arguments if isinstance(arguments, str) else written(arguments or {})
        self._calls += 1
        text = text.removesuffix("}") if cut else text
        drafts += self._output.call(ToolDelta(self._calls, fitting, name, text))
        return drafts if cut else drafts + self._output.end_call(self._calls)

    # What the provider runs itself

    def _executable_code(self, code: Json, signature: str) -> list[Draft]:  # noqa: ARG002
        drafts = self._leave()
        self._code = {}
        return drafts + self._output.begin_hosted("code", code_item(code.get("code")))

    def _code_result(self, result: Json, signature: str) -> list[Draft]:  # noqa: ARG002
        """What the code wrote; there may be several results."""
        if self._code is None:
            return []
        outputs = self._code.setdefault("outputs", [])
        if isinstance(text := result.get("output"), str) and text:
            outputs.append({"type": "logs", "logs": text})
        if status := FAILED_OUTCOMES.get(str(result.get("outcome"))):
            self._code["status"] = status
        return []

    def _tool_call(self, call: Json, signature: str) -> list[Draft]:  # noqa: ARG002
        drafts = self._leave()
        self._calls += 1
        number = call.get("id") or self._calls
        items = {f"{number} {place}": item for place, item in enumerate(items_of_call(call))}
        self._hosted[str(number)] = {key: item["type"] for key, item in items.items()}
        for key, item in items.items():
            self._grounding.was_shown(item)
            drafts += self._output.begin_hosted(key, item)
        return drafts

    def _tool_response(self, response: Json, signature: str) -> list[Draft]:  # noqa: ARG002
        """The end of the call that it names, or else of the last one; an open text goes on."""
        drafts: list[Draft] = []
        number = str(response.get("id") or next(reversed(self._hosted), ""))
        for key, kind in self._hosted.pop(number, {}).items():
            fields = fields_of_response(kind, response.get("response"))
            drafts += self._output.end_hosted(key, fields)
        return drafts

    def _function_response(self, response: Json, signature: str) -> list[Draft]:
        """The result of a function that was not the client's to run."""
        call = {"toolName": response.get("name"), "id": response.get("id")}
        return self._tool_call(call, signature) + self._tool_response(response, signature)

    def _searches(self) -> list[Draft]:
        drafts: list[Draft] = []
        for item, status in self._grounding.searches():
            drafts += self._leave()
            drafts += self._output.begin_hosted("search", item)
            drafts += self._output.end_hosted("search", {"status": status})
        return drafts

    def _inline_data(self, blob: Json, signature: str) -> list[Draft]:
        media_type, data = sealable(blob.get("mimeType")), blob.get("data")
        if not media_type.startswith("image/") or not isinstance(data, str):
            raise UpstreamError(NO_MEDIA.format(redacted(media_type)))
        drafts = self._leave() + self._output.image(data)
        if signature:
            drafts += self._sealed(Signature(IMAGE, signature, media_type=media_type))
        return drafts

    PARTS: ClassVar[Mapping[str, Callable[[GeminiReader, Json, str], list[Draft]]]] = {
        "functionCall": _function_call,
        "executableCode": _executable_code,
        "codeExecutionResult": _code_result,
        "toolCall": _tool_call,
        "toolResponse": _tool_response,
        "functionResponse": _function_response,
        "inlineData": _inline_data,
    }

    # The end

    def _end_of_wire(self) -> list[Draft]:
        if not self._finish:
            raise truncated()
        has_output = self._output.has_output or self._partial is not None
        reason = incomplete_reason(self._finish, self._finish_message, has_output=has_output)
        drafts = self._last_words(reason) + self._end_partial(cut=reason != GOOD)
        if reason and (words := redacted(self._finish_message)):
            drafts += self._output.refusal(words)
        self._note(self._plain)
        self._output.usage = usage_of(self._usage)
        self._output.side_data = self._own.side_data(is_cut=reason != GOOD)
        return drafts + self._output.finish(reason)

    def _last_words(self, reason: str) -> list[Draft]:
        """Sources without a place, what is open, and the searches that were not shown."""
        drafts: list[Draft] = []
        if self._text:
            text = "".join(self._text)
            notes = self._grounding.annotations(text) + self._grounding.unplaced(text)
            drafts += self._output.annotate(notes) if notes else []
        if reason and self._code == {}:
            self._code["status"] = "incomplete"
        drafts += self._leave()
        for keys in () if reason else self._hosted.values():  # their results were not told
            for key in keys:
                drafts += self._output.end_hosted(key, {})
        return drafts + self._searches()


def _plain_text(data: Any) -> str | None:
    """The text of an event that has nothing else; None for all others."""
    try:
        (candidate,) = data["candidates"]
        is_plain = data.keys() <= PLAIN_EVENT and candidate.keys() <= PLAIN
        if not is_plain or candidate.get("index"):
            return None
        (part,) = candidate["content"]["parts"]
        text = part["text"] if len(part) == 1 else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return text if type(text) is str else None


def _is_piece(value: Any) -> bool:
    return isinstance(value, dict) and "candidates" in value


def _first(candidates: Any) -> Json:
    """The candidate number 0; an empty one if there is none."""
    given = candidates if isinstance(candidates, list) else ()
    return next((one for one in given if isinstance(one, dict) and not one.get("index")), {})
