"""Finished Responses objects → the events that a streaming model would have sent.

For a model that cannot stream, and for a provider's own background mode, which is polled.

Rule 1: the `done` items are the terminal response's output, unchanged.
Rule 2: an item of an unknown type is added and done; its parts get no events.
Rule 3: optional means absent, never null (docs/protocol.md §3.4).
Rule 4: an item without an id gets the same one in all events, and one that no other response has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from ws_bridge.protocol.events import COMPLETED, CREATED, FAILED, IN_PROGRESS, INCOMPLETE, Draft
from ws_bridge.protocol.output.items import (
    ITEMS,
    PARTS,
    UNKNOWN,
    ItemKind,
    annotation_added,
    item_added,
    item_done,
    item_states,
    logprobs_of,
    part_added,
    part_done,
    text_done,
)
from ws_bridge.protocol.output.received import items_of
from ws_bridge.types import Item, Json

TERMINAL_OF = {
    None: COMPLETED,  # some providers leave the status of a finished answer out
    "completed": COMPLETED,
    "incomplete": INCOMPLETE,
}
NOT_YET: Json = {
    "status": "in_progress",
    "output": [],
    "usage": None,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
}


# Optional (docs/protocol.md §3.4); providers and their libraries like to write null there.
NEVER_NULL = frozenset(
    {
        "caller",
        "content",
        "created_by",
        "encrypted_content",
        "logprobs",
        "namespace",
        "phase",
        "summary",
        "status",
    }
)
PART_LISTS = frozenset({"content", "summary"})
REQUIRED_LISTS = {"message": "content", "reasoning": "summary"}


def replay(response: Json, response_id: str = "") -> Iterator[Draft]:
    """The events of a finished response, the last one terminal; ``response`` is not changed.

    ``response_id``: the bridge's own, where it is known: the provider's may be any.
    """
    owner = response_id or str(response.get("id") or "")
    yield from opening(response)
    yield from replay_items(items_of(response.get("output")), 0, owner)
    yield terminal(response, owner)


def opening(response: Json) -> Iterator[Draft]:
    """`created` and `in_progress` as they would have been."""
    for kind in (CREATED, IN_PROGRESS):
        yield Draft(kind, {"response": response | NOT_YET | {"output": []}})


def replay_items(items: Iterable[Item], start_index: int, owner: str = "") -> Iterator[Draft]:
    """The events of finished items, the first of which is number ``start_index`` of its response.

    None of them may be unfinished: its `done` event would be wrong. ``owner`` names the response.
    """
    for index, item in enumerate(items, start_index):
        yield from _item(tidy(item, index, owner), index)


def terminal(response: Json, owner: str = "") -> Draft:
    """The last event, by the status: a cancelled response has failed (docs/protocol.md §2.5)."""
    kind = TERMINAL_OF.get(response.get("status"), FAILED)
    items = enumerate(items_of(response.get("output")))
    output = [tidy(item, index, owner) for index, item in items]
    return Draft(kind, {"response": response | {"output": output}})


def tidy(item: Item, index: int, owner: str) -> Item:
    """The item with an id, and without the nulls that strict clients refuse.

    A missing id is made of its place in the response ``owner``: the same at every call.
    """
    tidied = {key: value for key, value in item.items() if value is not None or _nullable(key)}
    if not tidied.get("id"):
        prefix = ITEMS.get(item.get("type", ""), UNKNOWN).prefix
        named = f"{owner} {index}".encode(errors="replace")
        tidied["id"] = f"{prefix}_{hashlib.sha256(named).hexdigest()[:32]}"
    if needed := REQUIRED_LISTS.get(item.get("type", "")):
        tidied.setdefault(needed, [])
    for name in PART_LISTS & tidied.keys():
        if isinstance(tidied[name], list):
            tidied[name] = [_tidy_part(part) for part in tidied[name]]
    return tidied


def _nullable(key: str) -> bool:
    return key not in NEVER_NULL


def _tidy_part(part: Json) -> Json:
    kind = PARTS.get(part.get("type", ""))
    present = {key: value for key, value in part.items() if value is not None}
    return kind.blank | present if kind else part


# One item


def _item(item: Item, index: int) -> Iterator[Draft]:
    kind = ITEMS.get(item.get("type", ""), UNKNOWN)
    at = {"item_id": item["id"], "output_index": index}
    yield item_added(item | _blanks(item, kind), index)
    yield from item_states(item, index, kind.states)
    for name in ("summary", "content"):
        parts = item.get(name)
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            yield from _part(part, at, number)
    if kind.text is not None:
        yield from _text(item, at, *kind.text)
    yield from item_states(item, index, kind.last_states)
    if (end := _end(item)) in kind.ends and (kind.states or kind.last_states):
        yield from item_states(item, index, (end,))
    yield item_done(item, index)


def _blanks(item: Item, kind: ItemKind) -> Json:
    return {key: list(value) if value == [] else value for key, value in kind.blank if key in item}


def _end(item: Item) -> str:
    """The state an item ended in; MCP items may show it by their error alone."""
    if "status" in item:
        return str(item["status"])
    return "failed" if item.get("error") is not None else "completed"


def _text(item: Item, at: Json, events: str, name: str) -> Iterator[Draft]:
    text = item.get(name)
    if not isinstance(text, str):  # code is null where the provider keeps it to itself
        return
    if text:
        yield Draft(f"{events}.delta", at | {"delta": text})
    yield text_done(item, at)


# One part of an item's content or summary


def _part(part: Json, at: Json, number: int) -> Iterator[Draft]:
    kind = PARTS.get(part.get("type", ""))
    if kind is None:
        at = at | {"content_index": number}
        yield Draft("response.content_part.added", at | {"part": part})
        yield Draft("response.content_part.done", at | {"part": part})
        return
    at = at | {kind.number: number}
    yield part_added(kind, at)
    if part[kind.text]:
        yield Draft(
            f"{kind.text_events}.delta", at | {"delta": part[kind.text]} | logprobs_of(part)
        )
    for place, annotation in enumerate(part.get("annotations") or []):
        yield annotation_added(at, place, annotation)
    yield from part_done(kind, at, part)
