"""Fragments of tool calls → calls: the call of each fragment, and the text of each call.

Rule 1: a call is announced once its name is known whole, that is with its first argument; a call
whose arguments become an object of its own type, once they are whole.
Rule 2: a call id is unique in its response; where the provider gives none, or one twice, it is
minted. Announced, it never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.half_characters import HalfCharacters
from ws_bridge.protocol.output.items import ITEMS, item_added, item_done, text_done
from ws_bridge.protocol.output.tool_arguments import ArgumentReader, CustomInput, JsonArguments
from ws_bridge.protocol.tools import ClientTool, ToolTable, fields_of
from ws_bridge.types import Json

Mint = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """A fragment of one tool call of a chat chunk."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class ToolCall:
    """One tool call; it has no place in the output until it is announced."""

    type = "function_call"

    def __init__(self, call_id: str | None, tools: ToolTable) -> None:
        self.id = call_id  # the provider's
        self.name = ""  # as the provider calls it
        self.is_over = False
        self.is_cut = False  # it was cut off before the answer ended
        self.item: Json = {}
        self._tools = tools
        self._mint: Mint = str
        self._call_id = ""  # as clients see it
        self._early: list[str] = []  # fragments from before the announcement
        self._emitted: list[str] = []
        self._halves = HalfCharacters()
        self._has_arguments = False
        self._reader: ArgumentReader = JsonArguments()
        self._at: Json = {}
        self._delta = self._text = ""

    @property
    def is_announced(self) -> bool:
        """Whether clients know of the call."""
        return bool(self.item)

    @property
    def is_ready(self) -> bool:
        """Whether the name is whole: arguments come after it."""
        if not self.name or not self._has_arguments:
            return False
        return self.tool.is_text or self._reader.is_whole()

    @property
    def tool(self) -> ClientTool:
        """The client's tool."""
        return self._tools.by_flat_name(self.name)

    def buffer(self, delta: ToolDelta) -> None:
        """Take a fragment before the announcement; names may be in pieces, or repeated."""
        self.id = self.id or delta.id
        if delta.name and delta.name != self.name:
            self.name += delta.name
        self._has_arguments = self._has_arguments or bool(delta.arguments)
        self._early.append(delta.arguments)
        self._reader.append(delta.arguments)

    def give_ids(self, mint: Mint, call_id: str) -> None:
        """The ids that clients see."""
        self._mint, self._call_id = mint, call_id

    def open(self, index: int) -> Iterator[Draft]:
        """The item begins, with what was learned of its text."""
        tool, text = self.tool, "".join(self._early)
        fields = None if tool.is_text else fields_of(tool.kind, text)
        self._at = {"output_index": index}
        if fields is not None:
            self.type, self.is_over = tool.call, True
            self.item = self._begun(fields)
            yield item_added(self.item, index)
            return
        is_custom = tool.kind == "custom"
        self.type = "custom_tool_call" if is_custom else "function_call"
        events, self._text = ITEMS[self.type].text or ("", "")
        self._delta = f"{events}.delta"
        self._reader = CustomInput() if is_custom else JsonArguments()
        space = {"namespace": tool.namespace} if tool.namespace else {}
        name = tool.name if tool.is_text else tool.flat
        self.item = self._begun({"name": name, **space, self._text: ""})
        self._at = {"item_id": self.item["id"], "output_index": index}
        yield item_added(self.item, index)
        yield from self.append(text)

    def _begun(self, fields: Json) -> Json:
        ids = {"id": self._mint(ITEMS[self.type].prefix), "call_id": self._call_id}
        return {"type": self.type, "status": "in_progress", **ids, **fields}

    def append(self, fragment: str) -> list[Draft]:
        """The drafts of one fragment of the text; none while it must wait."""
        if not self._delta:  # an object: it is whole
            return []
        self._has_arguments = self._has_arguments or bool(fragment)
        return self._emit(self._reader.append(fragment)) if fragment else []

    def is_whole(self) -> bool:
        """Whether nothing more can come."""
        is_object = self.is_announced and not self._delta
        return is_object or (self._has_arguments and self._reader.is_whole())

    def close(self, *, cut: bool, last: bool) -> Iterator[Draft]:
        """The item ends; ``cut``: the answer was cut off, ``last``: no item came after this one."""
        if not self._delta:
            self.item = self.item | {"status": "completed"}
            yield item_done(self.item, self._at["output_index"])
            return
        # An empty call before other items was not cut off: it has no arguments.
        cut = self.is_cut or (cut and (last or self._has_arguments) and not self.is_whole())
        yield from self._emit(self._reader.flush(cut=cut))
        yield from self._emit(self._halves.flush())
        status = "incomplete" if cut else "completed"
        self.item = self.item | {"status": status, self._text: "".join(self._emitted)}
        yield text_done(self.item, self._at)
        yield item_done(self.item, self._at["output_index"])

    def starts_another_call(self, delta: ToolDelta) -> bool:
        """Whether a fragment at this call's index, without a telling id, is another call's."""
        if not delta.name or not self._has_arguments:
            return False
        return delta.name != self.name or (bool(delta.arguments) and self.is_whole())

    def _emit(self, text: str) -> list[Draft]:
        text = self._halves.join(text)
        if not text:
            return []
        self._emitted.append(text)
        return [Draft(self._delta, {**self._at, "delta": text})]


class ToolCalls:
    """All calls of one answer, found by what their fragments carry."""

    def __init__(self, tools: ToolTable) -> None:
        self._tools = tools
        self._at_index: dict[int, ToolCall] = {}
        self._known: dict[tuple[int, str], ToolCall] = {}
        self._ids: set[str] = set()
        self.waiting: list[ToolCall] = []  # not announced yet, in order of arrival

    def of(self, delta: ToolDelta) -> ToolCall:
        """The call a fragment belongs to, a new one where it is the first."""
        call = self._find(delta) or self._new(delta)
        self._at_index[delta.index] = call
        if delta.id:
            self._known[delta.index, delta.id] = call
        return call

    def latest(self, index: int) -> ToolCall | None:
        """The last call of an index."""
        return self._at_index.get(index)

    def unique_id(self, call: ToolCall, mint: Mint) -> str:
        """The call's id, as clients will answer it."""
        call_id = call.id if call.id and call.id not in self._ids else mint("call")
        self._ids.add(call_id)
        return call_id

    def _find(self, delta: ToolDelta) -> ToolCall | None:
        if delta.id and (known := self._known.get((delta.index, delta.id))):
            return known
        latest = self._at_index.get(delta.index)
        if latest is None or (delta.id and latest.id):
            return None
        return None if latest.starts_another_call(delta) else latest

    def _new(self, delta: ToolDelta) -> ToolCall:
        call = ToolCall(delta.id, self._tools)
        self.waiting.append(call)
        return call
