"""Message, reasoning and image items while their text grows.

Rule 1: one part of an item is open at a time; text of another kind ends it and begins the next.
Rule 2: signed reasoning ends as the item's `encrypted_content`, in the form its maker wants back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.half_characters import HalfCharacters
from ws_bridge.protocol.output.items import (
    ITEMS,
    PARTS,
    annotation_added,
    item_added,
    item_done,
    item_states,
    part_added,
    part_done,
)
from ws_bridge.protocol.output.replay import replay_items
from ws_bridge.types import Json

EMPTY: dict[str, Json] = {
    "message": {"role": "assistant", "content": []},
    "reasoning": {"summary": []},
}
LISTS = {"message": "content", "reasoning": "summary"}


class TextPart:
    """One part of an item, while its text grows."""

    def __init__(self, name: str, at: Json, number: int) -> None:
        self.name = name
        self._kind = PARTS[name]
        self._at = {**at, self._kind.number: number}
        self._delta = f"{self._kind.text_events}.delta"
        self._has_logprobs = name == "output_text"
        self._text: list[str] = []
        self._halves = HalfCharacters()
        self._logprobs: list[Json] = []
        self._annotations: list[Json] = []
        self.length = 0  # characters
        self._cited = 0  # where the text ended at the last annotation

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    def open(self) -> Draft:
        """The part begins."""
        return part_added(self._kind, self._at)

    def append_text(self, text: str, logprobs: Sequence[Json]) -> list[Draft]:
        """The next piece of the text; nothing while half of its one character is missing."""
        if self._halves.held or not text.isascii():
            text = self._halves.join(text)
        self._text.append(text)
        self.length += len(text)
        if not text:
            return []
        if not self._has_logprobs:
            return [Draft(self._delta, {**self._at, "delta": text})]
        self._logprobs += logprobs
        return [Draft(self._delta, {**self._at, "delta": text, "logprobs": list(logprobs)})]

    def annotate(self, annotation: Json) -> Draft:
        """One more annotation; a link without a place cites the text since the last one."""
        if annotation.get("type") == "url_citation" and "start_index" not in annotation:
            annotation = {**annotation, "start_index": self._cited, "end_index": self.length}
        self._cited = self.length
        self._annotations.append(annotation)
        return annotation_added(self._at, len(self._annotations) - 1, annotation)

    def close(self) -> Iterator[Draft]:
        """The part ends."""
        if half := self._halves.flush():
            yield from self.append_text(half, ())
        yield from part_done(self._kind, self._at, self.json())

    def json(self) -> Json:
        """The part as it is now."""
        text = "".join(self._text)
        self._text = [text]  # it is asked for several times at its end
        part = {"type": self.name, self._kind.text: text}
        if self._has_logprobs:
            return part | {"annotations": self._annotations, "logprobs": self._logprobs}
        return part


class TextItems:
    """A message or a reasoning item, while it grows."""

    def __init__(self, type_: str, item_id: str) -> None:
        self.type = type_
        self.is_over = False
        self.item: Json = {
            "id": item_id,
            "type": type_,
            "status": "in_progress",
            **EMPTY[type_],
        }
        self._index = -1
        self._sealed = ""
        self._blocks: list[Json] = []
        self._parts: list[TextPart] = []
        self.part: TextPart | None = None  # the open one; None once the item is sealed

    @property
    def text_length(self) -> int:
        """The characters of the open text part; 0 if none is open."""
        part = self._parts[-1] if self._parts else None
        return part.length if part is not None and part.name == "output_text" else 0

    @property
    def open_text(self) -> str:
        """The text of the open text part; "" if none is open."""
        part = self._parts[-1] if self._parts else None
        return part.text if part is not None and part.name == "output_text" else ""

    @property
    def is_sealed(self) -> bool:
        """Whether its maker has signed it: what follows is another item."""
        return bool(self._sealed)

    def open(self, index: int) -> list[Draft]:
        """The item begins."""
        self._index = index
        return [item_added(self.item, index)]

    def append_text(self, name: str, text: str, logprobs: Sequence[Json] = ()) -> list[Draft]:
        """A piece of text for a part of the kind ``name``."""
        part, drafts = self._part(name)
        return drafts + part.append_text(text, logprobs)

    def annotate(self, annotations: Iterable[Json]) -> list[Draft]:
        """Annotations of the text so far."""
        part, drafts = self._part("output_text")
        return [*drafts, *map(part.annotate, annotations)]

    def sign(self, blocks: Iterable[Json]) -> None:
        """Keep fragments of signed or redacted thinking."""
        self._blocks += blocks

    def seal(self, sealed: str) -> None:
        """Keep what its maker wants back: the item's `encrypted_content`."""
        self._sealed = sealed
        self.part = None

    def is_whole(self) -> bool:
        """Where another item begins, this one has ended."""
        return True

    def close(self, *, cut: bool, last: bool) -> Iterator[Draft]:  # noqa: ARG002 - as for a call
        """The item ends."""
        if self._parts:
            yield from self._parts[-1].close()
        self.item = self.item | {"status": "incomplete" if cut else "completed"}
        if self._parts:
            self.item[LISTS[self.type]] = [part.json() for part in self._parts]
        if self._sealed:
            self.item["encrypted_content"] = self._sealed
        elif blocks := signed_blocks(self._blocks):
            self.item["encrypted_content"] = json.dumps(blocks, separators=(",", ":"))
        yield item_done(self.item, self._index)

    def _part(self, name: str) -> tuple[TextPart, list[Draft]]:
        """The open part of that kind, opened now if need be."""
        last = self._parts[-1] if self._parts else None
        if last is not None and last.name == name:
            return last, []
        drafts = list(last.close()) if last is not None else []
        at = {"item_id": self.item["id"], "output_index": self._index}
        part = TextPart(name, at, len(self._parts))
        self._parts.append(part)
        self.part = part
        return part, [*drafts, part.open()]


class ImageItem:
    """A picture in the answer; it comes as one piece."""

    type = "image_generation_call"
    is_over = True

    def __init__(self, item_id: str, result: str) -> None:
        self.item: Json = {
            "id": item_id,
            "type": self.type,
            "status": "completed",
            "result": result,
        }
        self._drafts: list[Draft] = []

    def open(self, index: int) -> list[Draft]:
        """The item and its states, without its end."""
        *drafts, done = replay_items([self.item], index)
        self._drafts = [done]
        return drafts

    def is_whole(self) -> bool:
        """It always is."""
        return True

    def close(self, *, cut: bool, last: bool) -> list[Draft]:  # noqa: ARG002 - as for a call
        """The item ends."""
        return self._drafts


class HostedItem:
    """A call of a tool that the provider runs, from its beginning to its end."""

    def __init__(self, item: Json) -> None:
        self.type: str = item["type"]
        self.is_over = False
        self.item = item
        self._index = -1
        self._published = 0  # of the events that the finished item has

    def open(self, index: int) -> list[Draft]:
        """The item begins."""
        self._index = index
        kind = ITEMS[self.type]
        self._published = 1 + len(kind.states)
        blanks = dict(kind.blank)
        return [
            item_added({**blanks, **self.item, "status": "in_progress"}, index),
            *item_states(self.item, index, kind.states),
        ]

    def end(self, fields: Json) -> None:
        """What came of it."""
        self.item = {**self.item, "status": "completed", **fields}
        self.is_over = True

    def is_whole(self) -> bool:
        """It ends by itself only."""
        return self.is_over

    def close(self, *, cut: bool, last: bool) -> list[Draft]:  # noqa: ARG002 - as for a call
        """The item ends; one whose end did not come has failed."""
        if not self.is_over:
            self.item = {**self.item, "status": "failed"}
        return list(replay_items([self.item], self._index))[self._published :]


def has_content(block: Json) -> bool:
    """Whether a thinking block carries anything to keep."""
    return any(block.get(key) for key in ("thinking", "signature", "data"))


def signed_blocks(fragments: Iterable[Json]) -> list[Json]:
    """Streamed thinking, joined: the signed and the redacted blocks, as their maker reads them."""
    blocks: list[Json] = []
    for fragment in fragments:
        if fragment.get("type") == "redacted_thinking":
            blocks.append(fragment)
            continue
        if not blocks or blocks[-1].get("type") != "thinking" or blocks[-1]["signature"]:
            blocks.append({"type": "thinking", "thinking": "", "signature": ""})
        for key in ("thinking", "signature"):
            blocks[-1][key] += fragment.get(key) or ""
    return [block for block in blocks if block.get("signature") or block.get("data")]
