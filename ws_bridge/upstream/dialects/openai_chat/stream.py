"""The reader of `chat.completion.chunk` in every form that providers write it.

Rule 1: of several choices only the first is read.
Rule 2: the answer ends at [DONE] or at the end of the wire, by its finish reason: usage and errors
may come after that.
Rule 3: what belongs to a text or a thought (sources, signatures) is told before it is closed.
Rule 4: a call of a tool that the provider ran is never the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.tool_calls import ToolDelta
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.entries import DATA_URL
from ws_bridge.upstream.dialects.event_reader import DONE, EventReader, ServerSentEvent, parsed
from ws_bridge.upstream.dialects.openai_chat import hosted_calls
from ws_bridge.upstream.dialects.openai_chat.call_ids import for_client
from ws_bridge.upstream.dialects.openai_chat.chunk_errors import check_for_error
from ws_bridge.upstream.dialects.openai_chat.citations import SOURCE_LISTS, Citations
from ws_bridge.upstream.dialects.openai_chat.ends import incomplete_reason
from ws_bridge.upstream.dialects.openai_chat.file_annotations import read_files, side_data_of
from ws_bridge.upstream.dialects.openai_chat.logprobs import logprobs_of
from ws_bridge.upstream.dialects.openai_chat.thoughts import EXTRAS, ThoughtSeal, part_text
from ws_bridge.upstream.dialects.openai_chat.usage import usage_of
from ws_bridge.upstream.dialects.openai_chat.variants import variant_of
from ws_bridge.upstream.errors import truncated
from ws_bridge.upstream.provider_errors import error_of

Read = Callable[["ChatReader", Any], list[Draft]]
# What stands in a chunk that only adds text, which nearly all do: nothing else has to be looked at.
PLAIN_CHUNK = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "system_fingerprint"),
        *("service_tier", "obfuscation", "provider"),
    }
)
PLAIN_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs", "native_finish_reason"})
PLAIN_DELTA = frozenset({"content", "role"})
OWN_CALL = "xs_call_"  # xAI's ids of the calls that it runs itself


class ChatReader(EventReader):
    """A ``StreamReader``."""

    def __init__(self, given: ReaderInput) -> None:
        super().__init__(given)
        variant = variant_of(given.provider)
        self._always_ends, self._remembers_files = variant.always_ends, variant.remembers_files
        self._seal = ThoughtSeal(variant.reasoning)
        self._citations = Citations()
        self._files: dict[str, Json] = {}  # that the provider has read, by their digests
        self._hosted: dict[str, Json] = {}  # those that run, by the provider's number
        self._finish = self._native = ""

    def _event(self, event: ServerSentEvent) -> list[Draft]:
        if event.data.startswith(DONE):
            return self._end(has_own_end=True)
        chunk = parsed(event.data)
        if not isinstance(chunk, dict):
            if event.name == "error" or isinstance(chunk, str):
                raise error_of(None, chunk)
            return []
        may_be_plain = not event.name and self._output.is_open and not self._seal.is_open
        if may_be_plain and (text := _plain_text(chunk)):
            return self._output.text(text)
        check_for_error(chunk, event.name)
        return self._chunk(chunk)

    def _whole(self, answer: Json) -> list[Draft]:
        if not isinstance(answer, dict) or "choices" not in answer:
            raise error_of(None, answer)
        check_for_error(answer)
        drafts = self._chunk(answer)
        try:
            return drafts + self._end(has_own_end=True)
        except UpstreamError as failure:
            if not drafts:
                raise
            self.failure = failure
            return drafts

    def _end_of_wire(self) -> list[Draft]:
        return self._end(has_own_end=False)

    def _chunk(self, chunk: Json) -> list[Draft]:
        model, usage = chunk.get("model"), chunk.get("usage")
        if model and isinstance(model, str):
            self._output.model = model
        if usage:
            self._output.usage = usage_of(usage) or self._output.usage
        if any(name in chunk for name in SOURCE_LISTS):
            self._citations.take_sources(chunk)
        if extra := chunk.get("x_groq"):
            self._groq(extra)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):
                return self._choice(choice)
        return []

    def _groq(self, extra: Any) -> None:
        """Groq's own figures, the same as the usage where there is one, and errors of its."""
        if isinstance(extra, dict):
            if error := extra.get("error"):
                raise error_of(None, {"error": error})
            self._output.usage = self._output.usage or usage_of(extra.get("usage"))

    def _choice(self, choice: Json) -> list[Draft]:
        if error := choice.get("error"):
            raise error_of(None, {"error": error})
        delta = self._delta(choice)
        drafts = self._pieces(delta, choice.get("logprobs"))
        if finish := choice.get("finish_reason"):
            self._finish = str(finish)
            self._native = str(choice.get("native_finish_reason") or "")
        if usage := choice.get("usage"):
            self._output.usage = usage_of(usage) or self._output.usage
        return drafts

    def _delta(self, choice: Json) -> Json:
        """What the choice says: in a delta, in a message, or as text of the older form."""
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict) and (delta or self._output.has_output):
            return delta
        if isinstance(message, dict):  # some repeat the whole message beside each delta
            return message
        text = choice.get("text")
        return {"content": text} if isinstance(text, str) and "delta" not in choice else {}

    # What a delta can have, in the order in which it is told

    def _pieces(self, delta: Json, logprobs: Any) -> list[Draft]:
        drafts: list[Draft] = []
        if thought := self._seal.take(delta):
            drafts += self._thought(thought)
        drafts += self._named(self.BEFORE_TEXT, delta)
        content = delta.get("content")
        if isinstance(content, str):
            drafts += self._text(content, logprobs) if content else []
        elif content:
            drafts += self._parts(content)
        return drafts + self._named(self.AFTER_TEXT, delta)

    def _named(self, readers: Mapping[str, Read], delta: Json) -> list[Draft]:
        drafts: list[Draft] = []
        for name, read in readers.items():
            if value := delta.get(name):
                drafts += read(self, value)
        return drafts

    def _text(self, text: str, logprobs: Any = None) -> list[Draft]:
        tokens = logprobs_of(logprobs) if logprobs else ()
        if self._seal.is_open:
            return self._close_thought() + self._output.text(text, tokens)
        return self._output.text(text, tokens)

    def _thought(self, text: str) -> list[Draft]:
        return self._close_text() + self._output.reasoning(text)

    def _parts(self, content: Any) -> list[Draft]:
        """Content in a list: texts, thoughts, pictures; what has no text says nothing."""
        drafts: list[Draft] = []
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str):
                drafts += self._text(part) if part else []
            elif not isinstance(part, dict):
                continue
            elif part.get("type") == "thinking":
                self._seal.note("thinking")
                drafts += self._thought(thought) if (thought := part_text(part)) else []
            elif part.get("type") == "image_url":
                drafts += self._images([part])
            elif isinstance(part.get("refusal"), str):
                drafts += self._refusal(part["refusal"])
            elif text := part_text(part):
                drafts += self._text(text)
        return drafts

    def _refusal(self, text: Any) -> list[Draft]:
        if not isinstance(text, str):
            return []
        return self._close_thought() + self._output.refusal(text)

    def _annotations(self, given: Any) -> list[Draft]:
        self._citations.take_annotations(given)
        if self._remembers_files:
            self._files |= read_files(given)
        return []

    def _images(self, given: Any) -> list[Draft]:
        drafts: list[Draft] = []
        for image in given if isinstance(given, list) else ():
            address = image.get("image_url") if isinstance(image, dict) else None
            address = address.get("url") if isinstance(address, dict) else address
            if not isinstance(address, str):
                continue
            if found := DATA_URL.match(address):
                drafts += self._close() + self._output.image(address[found.end() :])
            else:  # a link is no picture that an item could hold
                drafts += self._text(f"![image]({address})")
        return drafts

    def _tool_calls(self, given: Any) -> list[Draft]:
        drafts: list[Draft] = []
        for place, call in enumerate(given if isinstance(given, list) else ()):
            if not isinstance(call, dict):
                continue
            index = call["index"] if type(call.get("index")) is int else place
            function = call.get("function")
            drafts += self._call(index, call, function if isinstance(function, dict) else {})
        return drafts

    def _call(self, index: int, call: Json, function: Json) -> list[Draft]:
        call_id, kind = call.get("id"), str(call.get("type") or "function")
        call_id = call_id if isinstance(call_id, str) else ""
        name = function.get("name")
        if call_id.startswith(OWN_CALL) or (kind.endswith("_call") and kind != "function_call"):
            tool = name if isinstance(name, str) and name else kind.removesuffix("_call")
            return self._own_call(f"call {index} {call_id}", tool, function)
        if not (call_id or name or function.get("arguments")):
            return []
        shown = for_client(call_id) if call_id else None
        if shown and isinstance(extra := call.get(EXTRAS), dict):
            self._seal.add_extra(shown, extra)
        name, arguments = name if isinstance(name, str) else None, function.get("arguments")
        delta = ToolDelta(index, shown, name, _arguments(arguments))
        return self._close() + self._output.call(delta)

    def _own_call(self, key: str, tool: str, function: Json) -> list[Draft]:
        """A call that the provider ran; its result is in the text that follows."""
        if key in self._hosted:
            return []
        item = hosted_calls.begun(tool, function.get("arguments"), self._given.provider)
        return self._begin(key, item) + self._output.end_hosted(key, {})

    def _function_call(self, given: Any) -> list[Draft]:
        """The form before `tool_calls`: one call, without an id."""
        return self._call(0, {}, given) if isinstance(given, dict) else []

    def _executed_tools(self, given: Any) -> list[Draft]:
        """Groq's: each tool is told when it starts, and again with its output."""
        drafts: list[Draft] = []
        for place, tool in enumerate(given if isinstance(given, list) else ()):
            if not isinstance(tool, dict):
                continue
            key = f"executed {tool.get('index', place)}"
            if key not in self._hosted:
                name = str(tool.get("name") or tool.get("type") or "tool")
                server = str(tool.get("server_label") or self._given.provider)
                item = hosted_calls.begun(name, tool.get("arguments"), server)
                drafts += self._begin(key, item)
            if tool.get("output") is not None:
                fields = hosted_calls.ended(self._hosted[key], tool)
                drafts += self._output.end_hosted(key, fields)
        return drafts

    def _steps(self, given: Any) -> list[Draft]:
        """Perplexity's: what it thought before each search, and the search."""
        drafts: list[Draft] = []
        for step in given if isinstance(given, list) else ():
            if not isinstance(step, dict):
                continue
            if isinstance(thought := step.get("thought"), str) and thought:
                drafts += self._thought(thought)
            if (ran := hosted_calls.of_step(step)) is not None:
                key = f"step {len(self._hosted)}"
                drafts += self._begin(key, ran[0]) + self._output.end_hosted(key, ran[1])
        return drafts

    def _begin(self, key: str, item: Json) -> list[Draft]:
        self._hosted[key] = item
        return self._close() + self._output.begin_hosted(key, item)

    def _audio(self, given: Any) -> list[Draft]:
        transcript = given.get("transcript") if isinstance(given, dict) else None
        return self._text(transcript) if isinstance(transcript, str) and transcript else []

    BEFORE_TEXT: ClassVar[Mapping[str, Read]] = {
        "executed_tools": _executed_tools,
        "reasoning_steps": _steps,
    }
    AFTER_TEXT: ClassVar[Mapping[str, Read]] = {
        "refusal": _refusal,
        "audio": _audio,
        "annotations": _annotations,
        "images": _images,
        "tool_calls": _tool_calls,
        "function_call": _function_call,
    }

    # What is told before something ends

    def _close(self) -> list[Draft]:
        return self._close_thought() + self._close_text()

    def _close_thought(self) -> list[Draft]:
        if not self._seal.is_open:
            return []
        values = self._seal.values()
        return self._output.seal(self._given.seals.seal(values)) if values else []

    def _close_text(self) -> list[Draft]:
        if not self._citations or not self._output.text_length:
            return []
        return self._output.annotate(self._citations.placed(self._output.open_text))

    def _end(self, *, has_own_end: bool) -> list[Draft]:
        """The last drafts. Raises ``UpstreamError`` if the answer failed or was cut off."""
        is_whole = has_own_end and self._output.has_output
        self._output.side_data = side_data_of(self._files)
        if self._finish:
            reason = incomplete_reason(self._finish, self._native, is_whole=is_whole)
            return self._close() + self._output.finish(reason)
        if self._always_ends or not is_whole:
            raise truncated()
        drafts = self._close() + self._output.finish()
        if any(map(_is_cut, drafts[-1].fields["response"]["output"])):
            raise truncated()
        return drafts


def _plain_text(chunk: Json) -> str:
    """The text of a chunk that has nothing else; "" for every other one."""
    choices = chunk.get("choices")
    if not (type(choices) is list and len(choices) == 1 and chunk.keys() <= PLAIN_CHUNK):
        return ""
    choice = choices[0]
    if type(choice) is not dict or not choice.keys() <= PLAIN_CHOICE or chunk.get("usage"):
        return ""
    delta = choice.get("delta")
    if type(delta) is not dict or not delta.keys() <= PLAIN_DELTA:
        return ""
    if choice.get("finish_reason") or choice.get("logprobs") or choice.get("index"):
        return ""
    text = delta.get("content")
    return text if type(text) is str else ""


def _is_cut(item: Json) -> bool:
    """Whether an item is a call whose arguments are no JSON."""
    try:
        orjson.loads(item.get("arguments", "{}"))
    except orjson.JSONDecodeError:
        return True
    return False


def _arguments(given: Any) -> str:
    if isinstance(given, str):
        return given
    return hosted_calls.as_text(given) if isinstance(given, dict) else ""
