"""What a model says, piece by piece → Responses drafts (pure): every reader of a dialect uses it.

Rule 1: reasoning, text and calls end each other; items are added, and done, in index order.
Rule 2: a call stays open until its arguments are a whole JSON object or the answer is over, because
fragments of parallel calls come in any order. What follows an open call waits with its `done` only.
Rule 3: a cut item is `incomplete`, in its `done` event and in the terminal response alike.
Rule 4: the opening drafts come with the first piece: until then another target may be asked.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, INCOMPLETE, Draft
from ws_bridge.protocol.output.items import ITEMS
from ws_bridge.protocol.output.messages import HostedItem, ImageItem, TextItems
from ws_bridge.protocol.output.tool_calls import Mint, ToolCall, ToolCalls, ToolDelta
from ws_bridge.protocol.tools import NO_TOOLS, ToolTable
from ws_bridge.types import Json

Output = TextItems | ToolCall | ImageItem | HostedItem

ID_PREFIXES = {"message": "msg", "reasoning": "rs"}


def mint_id(prefix: str) -> str:
    """A fresh id. litellm keeps reasoning ids of exactly this form away from native providers."""
    unique = uuid.uuid4()
    return f"{prefix}_{unique}" if prefix == "rs" else f"{prefix}_{unique.hex}"


class OutputBuilder:
    """The output of one answer while it grows. Every method returns the drafts of what is new.

    ``model``, ``usage`` (a Responses usage) and ``side_data`` are set by the reader when it learns
    of them; the last draft carries ``side_data`` beside the response, for the publisher alone.
    """

    def __init__(self, tools: ToolTable = NO_TOOLS, mint: Mint = mint_id, model: str = "") -> None:
        self.model = model
        self.usage: Json | None = None
        self.side_data: Json | None = None  # what the maker must get back with the next turn
        self.is_open = False  # the opening drafts were returned
        self._mint = mint
        self._calls = ToolCalls(tools)
        self._items: list[Output] = []  # by output index
        self._output: list[Json] = []  # the items that are done, always the first ones
        self._text_item: TextItems | None = None  # the last item, if it is text that may go on
        self._hosted: dict[str, HostedItem] = {}

    @property
    def has_output(self) -> bool:
        """Whether the model has said anything."""
        return bool(self._items or self._calls.waiting)

    @property
    def text_length(self) -> int:
        """The characters of the text that is open now: where the next piece begins."""
        item = self._text_item
        return item.text_length if item is not None and item.type == "message" else 0

    @property
    def open_text(self) -> str:
        """The text that is open now."""
        item = self._text_item
        return item.open_text if item is not None and item.type == "message" else ""

    def open(self) -> list[Draft]:
        """The response begins, unless it has begun; a piece does it by itself."""
        if self.is_open:
            return []
        self.is_open = True
        response: Json = {"status": "in_progress", "output": [], **self._known_model()}
        return [Draft(kind, {"response": response}) for kind in (CREATED, IN_PROGRESS)]

    # What a model can say

    def text(self, text: str, logprobs: Sequence[Json] = ()) -> list[Draft]:
        """A piece of the answer's text."""
        return self._append("message", "output_text", text, logprobs)

    def refusal(self, text: str) -> list[Draft]:
        """A piece of why the model refuses."""
        return self._append("message", "refusal", text)

    def reasoning(self, text: str) -> list[Draft]:
        """A piece of what the model thinks."""
        return self._append("reasoning", "summary_text", text)

    def seal(self, sealed: str) -> list[Draft]:
        """The reasoning so far as its maker wants it back; an item of its own if none is open."""
        item, drafts = self._open_text_item("reasoning")
        item.seal(sealed)
        return drafts

    def sign(self, blocks: Iterable[Json]) -> list[Draft]:
        """Fragments of signed thinking in the form of litellm's chat chunks."""
        item, drafts = self._open_text_item("reasoning")
        item.sign(blocks)
        return drafts

    def annotate(self, annotations: Iterable[Json]) -> list[Draft]:
        """Annotations of the open text; one without a place is of the text since the last one."""
        item, drafts = self._open_text_item("message")
        return drafts + item.annotate(annotations)

    def end_text(self) -> None:
        """The open text or reasoning is over: the next piece of it begins another item."""
        self._text_item = None

    def image(self, result: str) -> list[Draft]:
        """A picture, base64."""
        drafts = self.open() + self._announce_named()
        drafts += self._add(ImageItem(self._mint("ig"), result))
        return drafts + self._close(self._over())

    def call(self, delta: ToolDelta) -> list[Draft]:
        """A fragment of a call of the client's."""
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

    def end_call(self, index: int) -> list[Draft]:
        """The provider says that the last call of this index is whole."""
        call = self._calls.latest(index)
        if call is None or call.is_over:
            return []
        drafts = [] if call.is_announced else self._announce_named()
        call.is_over = True
        return drafts + self._close(self._over())

    def cut_call(self, index: int) -> list[Draft]:
        """The last call of this index was cut off: it is over, and stays incomplete."""
        call = self._calls.latest(index)
        if call is None or call.is_over:
            return []
        call.is_cut = True
        return self.end_call(index)

    def begin_hosted(self, key: str, item: Json) -> list[Draft]:
        """A call of a tool that the provider runs, with what is known of it; it needs no id."""
        drafts = self._announce_named()
        hosted = HostedItem({"id": self._mint(ITEMS[item["type"]].prefix), **item})
        self._hosted[key] = hosted
        return drafts + self._add(hosted)

    def end_hosted(self, key: str, fields: Json) -> list[Draft]:
        """What came of it; nothing if it is not known, or has ended."""
        hosted = self._hosted.pop(key, None)
        if hosted is None:
            return []
        hosted.end(fields)
        return self._close(self._over())

    def finish(self, incomplete_reason: str = "") -> list[Draft]:
        """Close what is open; the last draft is terminal. A reason: the answer was cut short."""
        drafts = self.open() + self._announce(list(self._calls.waiting))
        drafts += self._close(len(self._items), cut=bool(incomplete_reason))
        response: Json = {
            "status": "incomplete" if incomplete_reason else "completed",
            "output": self._output,
            "usage": self.usage,
            "incomplete_details": {"reason": incomplete_reason} if incomplete_reason else None,
            **self._known_model(),
        }
        kind = INCOMPLETE if incomplete_reason else COMPLETED
        side_data = {"side_data": self.side_data} if self.side_data else {}
        return [*drafts, Draft(kind, {"response": response, **side_data})]

    # How items come and go

    def _known_model(self) -> Json:
        return {"model": self.model} if self.model else {}

    def _append(
        self, type_: str, part: str, text: str, logprobs: Sequence[Json] = ()
    ) -> list[Draft]:
        item = self._text_item
        growing = item.part if item is not None else None
        if growing is not None and growing.name == part and not self._calls.waiting:
            return growing.append_text(text, logprobs)  # nearly all of a stream
        item, drafts = self._open_text_item(type_)
        return drafts + item.append_text(part, text, logprobs)

    def _open_text_item(self, type_: str) -> tuple[TextItems, list[Draft]]:
        """The open item of that type, opened now if need be."""
        drafts = self._announce_named()
        item = self._text_item
        if item is None or item.type != type_ or item.is_sealed:
            item = TextItems(type_, self._mint(ID_PREFIXES[type_]))
            drafts += self._add(item)
            self._text_item = item
        return item, drafts

    def _announce_named(self, calls: Iterable[ToolCall] | None = None) -> list[Draft]:
        calls = self._calls.waiting if calls is None else calls
        return self._announce([call for call in calls if call.name])

    def _announce(self, calls: Iterable[ToolCall]) -> list[Draft]:
        drafts: list[Draft] = []
        for call in calls:
            self._calls.waiting.remove(call)
            call.give_ids(self._mint, self._calls.unique_id(call, self._mint))
            drafts += self._add(call)
        return drafts

    def _add(self, item: Output) -> list[Draft]:
        """A new last item, and with it the end of those that it ends."""
        self._text_item = None
        drafts = self.open()
        for earlier in self._items[len(self._output) :]:
            earlier.is_over = earlier.is_over or earlier.is_whole()
        drafts += self._close(self._over())
        index = len(self._items)
        self._items.append(item)
        return [*drafts, *item.open(index)]

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
            if item is self._text_item:
                self._text_item = None
            drafts += item.close(cut=cut and not item.is_over, last=item is self._items[-1])
            self._output.append(item.item)
        return drafts
