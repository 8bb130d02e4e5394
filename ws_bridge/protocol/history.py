"""A chain of turns → the input items of the next one.

Rule 1: full items, never text only: reasoning, calls, images and refusals are history too.
Rule 2: every tool output answers an open call of the chain, checked here and nowhere else.
Rule 3: what only its maker can read (encrypted reasoning, provider-side ids) goes back to its maker
only; elsewhere it is translated or dropped cleanly.
Rule 4: where a summary sealed here stands, it is sent instead of what lies before it, but for the
newest items: the next turn sees what the turn of the summary saw. Other seals of this bridge are
never sent: the newest one covers them, or they cannot be opened.
Rule 5: where a turn has side data, its maker gets that in the place of the turn's answer, as one
item `PROVIDER_TURN`; all others, and a chain in which not all of the answer is sent, get the items.
No client, provider or store can bring such an item along.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.compaction import own_seal, summary_message
from ws_bridge.protocol.json_limits import CONTAINERS, weigh
from ws_bridge.types import Item, Json

CALLS = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
    }
)
ANSWERED_BY_CLIENT = frozenset({"function_call", "custom_tool_call"})
# A search's call; it may be answered as a function's call is.
SEARCH = "tool_search_call"
# Calls that a provider ran itself, though their items are a client's: xAI's searches.
PROVIDER_CALL_IDS = ("xs_call_",)
# Outputs that name their call by `call_id`; a local shell's output names it by `id`.
OUTPUTS = frozenset(f"{call}_output" for call in CALLS - {"local_shell_call"})
# Made by a provider's own tools; no other provider can read or verify them.
PROVIDER_ONLY = frozenset(
    {
        "code_interpreter_call",
        "compaction",
        "file_search_call",
        "image_generation_call",
        "item_reference",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "reasoning",
        "web_search_call",
    }
)
# One item for a turn's whole output: `side_data`, and the `items` that clients see. Never stored.
PROVIDER_TURN = "provider_turn"
# In a chain's list of items the answer of a turn whose maker gave side data and no items.
_NO_ITEM: Item = {"type": PROVIDER_TURN}
# Older releases, and litellm, put Gemini's signature into the id of a call. It is read for ever.
SIGNED_CALL_ID = re.compile(r"(.+?)__thought__([A-Za-z0-9+/_-]+={0,2})", re.DOTALL)
SEAL_MARK = "wsr1."  # how the bridge's seals of reasoning begin; in clients' histories for ever


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished response of a chain: what went in, what came out, who made it."""

    id: str
    input: tuple[Item, ...]
    output: tuple[Item, ...]
    maker: str  # `Target.maker` of the deployment that wrote `output`
    parent: Turn | None = None
    side_data: Json | None = None  # what the maker must get back; no client sees it
    input_makers: tuple[str, ...] = ()  # of its first items; "": the client wrote it, as all others
    provider_calls: frozenset[str] = frozenset()  # ids of calls that the maker ran itself
    size: int = field(default=-1, compare=False)  # bytes of memory; -1: it was not weighed

    def weight(self, enough: float = math.inf) -> int:
        """Bytes of memory that its items and side data take; see ``weigh``."""
        if self.size >= 0:
            return self.size
        parts = (self.input, self.output, self.side_data or ())
        return sum(weigh(part, enough) for part in parts)

    def weighed(self) -> Turn:
        """It, with its weight known."""
        return replace(self, size=self.weight())

    def lineage(self) -> list[Turn]:
        """The turns from the oldest to this one."""
        turns: list[Turn] = []
        turn: Turn | None = self
        while turn is not None:
            turns.append(turn)
            turn = turn.parent
        return turns[::-1]


# The turn whose output an item is of, its maker (None: the client wrote it), and the item.
_Placed = tuple[Turn | None, str | None, Item]


@dataclass(frozen=True, slots=True)
class Summary:
    """The newest summary of a chain: its seal, as it stands in the item, and what is in it."""

    sealed: str
    text: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Earlier turns and the input of the turn to come."""

    parent: Turn | None
    input: tuple[Item, ...]
    summary: Summary | None = None  # `sealing.Sealer.open` finds it
    input_makers: tuple[str, ...] = ()  # see `Turn`

    def items_with_maker(self) -> Iterator[tuple[str | None, Item]]:
        """All items in order, each with its maker (None: the client wrote it)."""
        for _, maker, item in self._items():
            if item is not _NO_ITEM:
                yield maker, item

    def _items(self) -> Iterator[_Placed]:
        """All items in order, each with the turn whose output it is of, and its maker."""
        for turn in self.parent.lineage() if self.parent else ():
            for maker, item in with_makers(turn.input, turn.input_makers):
                if item.get("type") != PROVIDER_TURN:
                    yield None, maker, item
            for item in _answer_of(turn):
                yield turn, turn.maker, item
        for maker, item in with_makers(self.input, self.input_makers):
            yield None, maker, item

    def items_for(self, maker: str) -> list[Item]:
        """The items as the deployment ``maker`` may see them: deep copies, ready to send."""
        fitted: list[Item] = []
        signed: set[str] = set()  # ids of other makers' calls that have a signature in them
        for turn, group in groupby(self._window(), key=itemgetter(0)):
            placed = [(by, item) for _, by, item in group]
            given: Json | None = None
            if turn is not None and turn.maker != maker:
                placed = [(by, item) for by, item in placed if not _is_run_by(turn, item)]
            elif turn is not None and turn.side_data is not None:
                answer = [item for _, item in placed if not own_seal(item)]
                if _is_whole(answer, turn):
                    items = [item for item in answer if item is not _NO_ITEM]
                    given = {"side_data": turn.side_data, "items": items}
                    placed = [(by, item) for by, item in placed if own_seal(item)]
            left = [(by, item) for by, item in placed if item is not _NO_ITEM]
            signed |= {
                key for by, item in left if by not in (None, maker) and (key := _signed_id(item))
            }
            adapted = (self._adapted(item, by, maker) for by, item in left)
            fitted += [item for item in adapted if item is not None]
            if given is not None:
                fitted.append({"type": PROVIDER_TURN, **copy_json(given)})
        for item in fitted if signed else ():
            if item.get("call_id") in signed:
                item["call_id"] = unsigned_id(item["call_id"])
        return fitted

    def summarizable(self) -> list[Item]:
        """The items that a new summary would replace; [] if only an earlier summary would be."""
        items = [item for _, _, item in self._window()]
        older = items[: newest_start(items)]
        return [item for item in older if item is not _NO_ITEM and not own_seal(item)]

    def with_summary(self, item: Item, text: str) -> Chain:
        """The chain with one more item at its end: a summary of all that comes before it."""
        return replace(self, input=(*self.input, item), summary=Summary(own_seal(item), text))

    def _window(self) -> list[_Placed]:
        """The items to send: the last summary, the newest items before it, and all after it."""
        tagged = list(self._items())
        for place in reversed(range(len(tagged)) if self.summary else ()):
            if self._is_summary(tagged[place][2]):
                before = tagged[:place]
                kept = before[newest_start([item for _, _, item in before]) :]
                return [tagged[place], *kept, *tagged[place + 1 :]]
        return tagged

    def _is_summary(self, item: Item) -> bool:
        return self.summary is not None and own_seal(item) == self.summary.sealed

    def _adapted(self, item: Item, by: str | None, maker: str) -> Item | None:
        if not own_seal(item):
            return _adapted(item, by, maker)
        return (
            summary_message(self.summary.text) if self.summary and self._is_summary(item) else None
        )

    def weight(self, enough: float = math.inf) -> int:
        """Bytes of memory that the items take; see ``weigh``."""
        turns = self.parent.lineage() if self.parent else ()
        return weigh(self.input, enough) + sum(turn.weight(enough) for turn in turns)

    def count(self) -> int:
        """The number of all items, including those that a summary replaces."""
        turns = self.parent.lineage() if self.parent else ()
        return len(self.input) + sum(len(turn.input) + len(turn.output) for turn in turns)

    def check_calls(self, provider_calls: Collection[str] = ()) -> None:
        """Every tool output answers a call, every call of an earlier turn is answered.

        ``provider_calls``: the ids of calls of the input that a provider ran itself. Raises
        ``InvalidRequest`` with OpenAI's words, ``param`` "input".
        """
        calls: dict[str, str] = {}
        answered: set[str] = set()
        for turn, _, item in self._items():
            kind, call_id = item.get("type"), item.get("call_id")
            if kind in CALLS or kind == SEARCH:
                calls[str(call_id)] = str(kind)
                if str(call_id) in provider_calls or _is_run_by(turn, item):
                    answered.add(str(call_id))
            elif kind in OUTPUTS:
                answered.add(str(call_id))
                if str(call_id) not in calls:
                    raise _orphan(str(kind), str(call_id))
        for call_id, kind in calls.items():
            if kind in ANSWERED_BY_CLIENT and call_id not in answered:
                raise InvalidRequest(
                    f"No tool output found for {_kind_words(kind)} {call_id}.", param="input"
                )


def with_makers(items: Sequence[Item], makers: Sequence[str]) -> Iterator[tuple[str | None, Item]]:
    """A turn's input with who made each item; None: the client wrote it."""
    for place, item in enumerate(items):
        yield (makers[place] or None) if place < len(makers) else None, item


def _is_run_by(turn: Turn | None, call: Item) -> bool:
    """Whether a provider ran the call itself; ``turn`` made it, if that is known."""
    call_id = str(call.get("call_id"))
    is_known = turn is not None and call_id in turn.provider_calls
    return is_known or call_id.startswith(PROVIDER_CALL_IDS)


def unsigned_id(call_id: str) -> str:
    """A call's id without the signature that an older release put into it."""
    found = SIGNED_CALL_ID.fullmatch(call_id)
    return found[1] if found else call_id


def _signed_id(call: Item) -> str:
    """The id of a call if a signature is in it, else ""."""
    call_id = str(call.get("call_id") or "")
    return call_id if unsigned_id(call_id) != call_id else ""


def newest_start(items: Sequence[Item]) -> int:
    """The index of the newest items: those that the client sent after the model's last one.

    If it answers calls, the turn that made them comes with it.
    """
    place = len(items)
    while place and not _is_by_model(items[place - 1]):
        place -= 1
    unmet = {_answered(item) for item in items[place:]} - {None}
    if not unmet:
        return place
    while place and unmet:
        place -= 1
        unmet -= {items[place].get("call_id"), items[place].get("id")}
        unmet |= {_answered(items[place])} - {None}
    while place and _is_by_model(items[place - 1]) and items[place - 1].get("type") != "compaction":
        place -= 1
    return place


def _is_by_model(item: Item) -> bool:
    if item.get("type") == "message":
        return item.get("role") == "assistant"
    return not _is_answer(item)


def _is_answer(item: Item) -> bool:
    kind = str(item.get("type"))
    return kind.endswith("_output") or kind == "mcp_approval_response"


def _answered(item: Item) -> Any:
    """The call (or request for approval) that an item answers; None if it answers none."""
    if not _is_answer(item):
        return None
    return item.get("call_id") or item.get("approval_request_id") or item.get("id")


def _orphan(kind: str, call_id: str) -> InvalidRequest:
    call = _kind_words(kind.removesuffix("_output")).replace("function call", "tool call")
    output = _kind_words(kind)
    return InvalidRequest(f"No {call} found for {output} with call_id {call_id}.", param="input")


def _kind_words(kind: str) -> str:
    return kind.replace("_", " ")


def unfolded(items: Iterable[Item]) -> Iterator[Item]:
    """The items of a chain without side data, for those who cannot read it."""
    for item in items:
        if item.get("type") == PROVIDER_TURN:
            yield from item["items"]
        else:
            yield item


def _native(items: Iterable[Item]) -> Iterator[Item]:
    """The items that are not called what only `Chain.items_for` makes."""
    return (item for item in items if item.get("type") != PROVIDER_TURN)


def _answer_of(turn: Turn) -> list[Item]:
    """What a chain continues from of a turn's output; ``_NO_ITEM`` where only side data is left."""
    items = list(_native(_finished(turn.output)))
    is_silent = turn.side_data is not None and all(map(own_seal, items))
    return [*items, _NO_ITEM] if is_silent else items


def _is_whole(answer: Sequence[Item], turn: Turn) -> bool:
    """Whether it is all that the turn's maker has said, with no call that was cut."""
    is_cut = any(map(_is_unfinished_call, turn.output))
    whole = [item for item in _answer_of(turn) if not own_seal(item)]
    return bool(answer) and not is_cut and list(answer) == whole


def _finished(output: Sequence[Item]) -> Iterator[Item]:
    """The items a chain continues from: without cut calls, and without thoughts at the end."""
    last = len(output)
    while last and output[last - 1].get("type") == "reasoning":
        last -= 1
    if 0 < last < len(output) and _signs(output[last]):
        last += 1
    return (item for item in output[:last] if not _is_unfinished_call(item))


def _signs(reasoning: Item) -> bool:
    """Whether it has no thought of its own: the bridge sealed in it what signs the words before."""
    sealed = reasoning.get("encrypted_content")
    is_sealed = isinstance(sealed, str) and sealed.startswith(SEAL_MARK)
    return is_sealed and not (reasoning.get("summary") or reasoning.get("content"))


def _is_unfinished_call(item: Item) -> bool:
    return item.get("type") in CALLS and item.get("status") == "incomplete"


def copy_json(value: Any) -> Any:
    """A deep copy of parsed JSON, ten times faster than ``copy.deepcopy``."""
    if type(value) is dict:
        return {
            key: copy_json(each) if type(each) in CONTAINERS else each
            for key, each in value.items()
        }
    return [copy_json(each) if type(each) in CONTAINERS else each for each in value]


def _adapted(item: Item, by: str | None, maker: str) -> Item | None:
    """A copy of the item for ``maker``, or None where other makers cannot read it."""
    fitted: Item = copy_json(item)
    if by is None or by == maker:
        return fitted
    if fitted.get("type") in PROVIDER_ONLY:
        return None
    for key in ("id", "encrypted_content", "status"):
        fitted.pop(key, None)
    return fitted


def input_items(response_id: str, items: Iterable[Item]) -> list[Item]:
    """Items as `GET …/input_items` lists them: each with an id, minted from its place if need be.

    ``response_id`` is the response whose input they are; the same call gives the same ids.
    """
    return [_listed(item, listed_id(response_id, index, item)) for index, item in enumerate(items)]


def listed_id(response_id: str, index: int, item: Item) -> str:
    """The id under which an item without one is listed."""
    prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}.get(item["type"], "item")
    return f"{prefix}_{response_id.removeprefix('resp_')}_{index}"


def _listed(item: Item, spare: str) -> Item:
    listed = {**item, "id": item.get("id") or spare}
    if listed["type"] == "message":
        listed.setdefault("status", "completed")
        if isinstance(listed.get("content"), str):
            kind = "output_text" if listed.get("role") == "assistant" else "input_text"
            part: Json = {"type": kind, "text": listed["content"]}
            if kind == "output_text":
                part |= {"annotations": [], "logprobs": []}
            listed["content"] = [part]
    return listed
