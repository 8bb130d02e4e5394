"""The ends that a provider leaves out of a stream, and the finished forms of its items (pure).

Rule: what the provider has in its own form of a finished item stands; only what that lacks is taken
from the events before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.items import logprobs_of
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.responses.items import GrowingText, OpenItem, OpenPart
from ws_bridge.upstream.dialects.responses.kinds import (
    PART_EVENTS,
    TEXTS_OF_ITEMS,
    WITHOUT_DONE,
    TextKind,
    in_official_words,
)


def is_at(fields: Json, at: Json) -> bool:
    """Whether an event has all of these fields, with these values."""
    return all(
        type(fields.get(name)) is type(value) and fields[name] == value
        for name, value in at.items()
    )


def placed(draft: Draft, at: Json) -> Draft:
    """The event with these fields: as it is, if it has them."""
    return draft if is_at(draft.fields, at) else Draft(draft.type, draft.fields | at)


def delta_of(kind: TextKind, at: Json, delta: str) -> Draft:
    """A delta that the provider left out."""
    logprobs: Json = {"logprobs": []} if kind.part == "output_text" else {}
    return Draft(f"{kind.stem}.delta", at | {"delta": delta} | logprobs)


def part_end(item: OpenItem, number: str, part: OpenPart, final: Json) -> Iterator[Draft]:
    """The ends of a part and of its text, which the provider left out."""
    if part.text is not None and not part.text.is_done:
        yield from text_end(item, number, part, final)
    part.is_done = True
    if part.is_announced:
        stem = next(stem for stem, (place, _) in PART_EVENTS.items() if place == number)
        at = item.at | {number: part.number}
        yield Draft(f"{stem}.done", at | {"part": part.whole(final or None)})


def text_end(item: OpenItem, number: str, part: OpenPart, final: Json) -> Iterator[Draft]:
    """The end of a part's text, after what its deltas lack of ``final``."""
    assert part.text is not None  # noqa: S101 - the callers have looked
    kind, at = part.text.kind, item.at | {number: part.number}
    if rest := part.text.finish(final.get(kind.name)):
        yield delta_of(kind, at, rest)
    if part.is_announced:
        logprobs = logprobs_of({"logprobs": final.get("logprobs"), "type": part.type})
        yield Draft(f"{kind.stem}.done", at | {kind.name: part.text.text} | logprobs)


def own_text_end(item: OpenItem, text: GrowingText, final: Any) -> Iterator[Draft]:
    """The same for the text of an item."""
    kind = text.kind
    if rest := text.finish(final):
        yield delta_of(kind, item.at, rest)
    if kind.stem not in WITHOUT_DONE:
        named = {"name": item.item.get("name", "")} if item.type == "function_call" else {}
        yield Draft(f"{kind.stem}.done", item.at | {kind.name: text.text} | named)


def filled(item: OpenItem, given: Json) -> Json:
    """The finished item, with what its events had and the provider's form of it lacks."""
    missing: Json = {}
    for name, parts in item.parts.items():
        if parts and not given.get(name):
            missing[name] = [part.whole() for part in parts]
        elif parts and isinstance(given[name], list) and len(parts) == len(given[name]):
            finals = [*map(OpenPart.whole, parts, given[name])]
            if any(final is not own for final, own in zip(finals, given[name], strict=True)):
                missing[name] = finals
    if item.text is not None and item.text.text and not given.get(item.text.kind.name):
        missing[item.text.kind.name] = item.text.text
    official = in_official_words(given)
    if official is not given:  # a status that is no official word is the provider's own
        missing = {
            k: v for k, v in official.items() if v is not None and given.get(k) is None
        } | missing
        if "status" in missing:
            missing["status"] = "completed"
    return {**given, **missing} if missing else given


def built(item: OpenItem, *, is_complete: bool) -> Json:
    """The finished form of an item that the provider did not finish."""
    status = "completed" if is_complete and _is_whole(item) else "incomplete"
    return {**item.item, "status": status} if "status" in item.item else dict(item.item)


def _is_whole(item: OpenItem) -> bool:
    """Whether the arguments of a call are all there."""
    if item.text is None or item.text.kind is not TEXTS_OF_ITEMS.get("function_call"):
        return True
    try:
        orjson.loads(item.text.text or b"{}")
    except orjson.JSONDecodeError:
        return False
    return True
