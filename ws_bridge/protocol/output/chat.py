"""Chat chunks → Responses drafts (pure; no litellm type in its signature).

Rule 1: reasoning, text and calls end each other; items are added, and done, in index order.
Rule 2: a call stays open until its arguments are a whole JSON object or the answer is over, because
fragments of parallel calls come in any order. What follows an open call waits with its `done` only.
Rule 3: a cut item is `incomplete`, in its `done` event and in the terminal response alike.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, INCOMPLETE, Draft
from ws_bridge.protocol.output.messages import ImageItem, TextItems, has_content
from ws_bridge.protocol.output.tool_calls import Mint, ToolCall, ToolCalls, ToolDelta
from ws_bridge.types import Json

__all__ = ["ChatTranslator", "Chunk", "ToolDelta"]

Output = TextItems | ToolCall | ImageItem

INCOMPLETE_REASONS = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
}
ID_PREFIXES = {"message": "msg", "reasoning": "rs"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chat chunk, of any dialect, reduced to what a Responses event can carry.

    ``thinking_blocks`` are Anthropic's signed or redacted blocks as litellm hands them out;
    ``annotations`` are Responses annotations (`url_citation`, `file_citation`, ...);
    ``images`` are base64 strings (no data: prefix); ``logprobs`` are Responses logprobs;
    ``usage`` is a Responses usage object.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    thinking_blocks: tuple[Json, ...] = ()
    tool_calls: tuple[ToolDelta, ...] = ()
    annotations: tuple[Json, ...] = ()
    images: tuple[str, ...] = ()
    logprobs: tuple[Json, ...] = ()
    finish_reason: str | None = None
    usage: Json | None = None
    model: str | None = None


def mint_id(prefix: str) -> str:
    """A fresh id. litellm keeps reasoning ids of exactly this form away from native providers."""
    unique = uuid.uuid4()
    return f"{prefix}_{unique}" if prefix == "rs" else f"{prefix}_{unique.hex}"


class ChatTranslator:
    """The chunks of one answer, in order → its drafts. Nothing here fails on any chunk."""

    def __init__(
        self,
        custom_tools: frozenset[str] = frozenset(),
        mint: Mint = mint_id,
        model: str | None = None,
    ) -> None:
        self._custom_tools = custom_tools
        self._mint = mint
        self._model = model
        self._usage: Json | None = None
        self._finish_reason: str | None = None
        self._calls = ToolCalls()
        self._items: list[Output] = []  # by output index
        self._output: list[Json] = []  # the items that are done, always the first ones
        self._text_item: TextItems | None = (
            None  # the last item, where it is reasoning or a message
        )

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None: the stream was cut before that."""
        return self._finish_reason

    def open(self) -> list[Draft]:
        """The response begins."""
        response: Json = {"status": "in_progress", "output": [], **self._known_model()}
        return [Draft(kind, {"response": response}) for kind in (CREATED, IN_PROGRESS)]

    def take(self, chunk: Chunk) -> list[Draft]:
        """The drafts of one chunk."""
        self._note(chunk)
        drafts: list[Draft] = []
        if chunk.reasoning or chunk.thinking_blocks:
            drafts += self._add_reasoning(chunk)
        if chunk.text:
            drafts += self._add_text("message", "output_text", chunk.text, chunk.logprobs)
        if chunk.refusal:
            drafts += self._add_text("message", "refusal", chunk.refusal)
        if chunk.annotations:
            drafts += self._annotate(chunk.annotations)
        for delta in chunk.tool_calls:
            drafts += self._call(delta)
        for image in chunk.images:
            drafts += self._image(image)
        return drafts

    def finish(self) -> list[Draft]:
        """Close what is open; the last draft is terminal."""
        drafts = self._announce(list(self._calls.waiting))
        reason = INCOMPLETE_REASONS.get((self._finish_reason or "").lower())
        drafts += self._close(len(self._items), cut=reason is not None)
        response: Json = {
            "status": "incomplete" if reason else "completed",
            "output": self._output,
            "usage": self._usage,
            "incomplete_details": {"reason": reason} if reason else None,
            **self._known_model(),
        }
        drafts.append(Draft(INCOMPLETE if reason else COMPLETED, {"response": response}))
        return drafts

    def _known_model(self) -> Json:
        return {"model": self._model} if self._model else {}

    def _note(self, chunk: Chunk) -> None:
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        self._finish_reason = chunk.finish_reason or self._finish_reason

    # What a chunk can carry

    def _add_text(
        self, type_: str, kind: str, text: str, logprobs: Sequence[Json] = ()
    ) -> list[Draft]:
        item, drafts = self._open_text_item(type_)
        drafts += item.append_text(kind, text, logprobs)
        return drafts

    def _add_reasoning(self, chunk: Chunk) -> list[Draft]:
        blocks = [block for block in chunk.thinking_blocks if has_content(block)]
        if not chunk.reasoning and not blocks:
            return []
        item, drafts = self._open_text_item("reasoning")
        item.sign(blocks)
        if chunk.reasoning:
            drafts += item.append_text("summary_text", chunk.reasoning)
        return drafts

    def _annotate(self, annotations: Iterable[Json]) -> list[Draft]:
        item, drafts = self._open_text_item("message")
        return drafts + item.annotate(annotations)

    def _image(self, result: str) -> list[Draft]:
        drafts = self._announce_named()
        image = ImageItem(self._mint("ig"), result)
        drafts += self._add(image, image.open)
        return drafts + self._close(self._over())

    def _call(self, delta: ToolDelta) -> list[Draft]:
        call = self._calls.of(delta)
        if not call.is_announced:
            call.buffer(delta)
            if not call.is_ready:
                return []
            waiting = self._calls.waiting
            return self._announce_named(waiting[: waiting.index(call) + 1])
        if call.is_over:  # its arguments are whole; what comes now is blank or nonsense
            return []
        drafts = call.append(delta.arguments)
        if call is not self._items[-1] and call.is_whole():
            call.is_over = True
            drafts += self._close(self._over())
        return drafts

    # How items come and go

    def _open_text_item(self, type_: str) -> tuple[TextItems, list[Draft]]:
        """The open item of that type, opened now if need be."""
        item = self._text_item
        if item is not None and item.type == type_ and not self._calls.waiting:
            return item, []
        drafts = self._announce_named()
        item = self._text_item
        if item is None or item.type != type_:
            item = TextItems(type_, self._mint(ID_PREFIXES[type_]))
            drafts += self._add(item, item.open)
            self._text_item = item
        return item, drafts

    def _announce_named(self, calls: Iterable[ToolCall] | None = None) -> list[Draft]:
        calls = self._calls.waiting if calls is None else calls
        return self._announce([call for call in calls if call.name])

    def _announce(self, calls: Iterable[ToolCall]) -> list[Draft]:
        drafts: list[Draft] = []
        for call in calls:
            self._calls.waiting.remove(call)
            custom = call.name in self._custom_tools
            item_id = self._mint("ctc" if custom else "fc")
            call_id = self._calls.unique_id(call, self._mint)
            opening = partial(call.announce, item_id=item_id, call_id=call_id, custom=custom)
            drafts += self._add(call, opening)
        return drafts

    def _add(self, item: Output, opening: Callable[[int], Iterable[Draft]]) -> list[Draft]:
        """A new last item, and with it the end of those that it ends."""
        self._text_item = None
        for earlier in self._items[len(self._output) :]:
            earlier.is_over = earlier.is_over or earlier.is_whole()
        drafts = self._close(self._over())
        index = len(self._items)
        self._items.append(item)
        return [*drafts, *opening(index)]

    def _over(self) -> int:
        """The index of the first item that still goes on."""
        index = len(self._output)
        while index < len(self._items) and self._items[index].is_over:
            index += 1
        return index

    def _close(self, end: int, *, cut: bool = False) -> list[Draft]:
        """The items before ``end`` are done."""
        drafts: list[Draft] = []
        for item in self._items[len(self._output) : end]:
            drafts += item.close(cut=cut and not item.is_over, last=item is self._items[-1])
            self._output.append(item.item)
        return drafts
