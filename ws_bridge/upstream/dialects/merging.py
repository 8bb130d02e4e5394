"""Neighbouring pieces of text that came in one read, as one chunk (pure).

For OpenAI-style streams that have no reader here: litellm's price is per chunk, so what waits
together is read together. Nothing is merged where nothing waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import orjson

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.frames import NotUnderstoodError, read_frame, write_frame

BOOKS = frozenset({"usage", "error"})
Key = tuple[object, ...] | None


def merged(frames: Sequence[bytes]) -> list[bytes]:
    """The frames of one read, fewer of them; whatever is more than text stays as it is."""
    if len(frames) < 2:
        return list(frames)
    merged: list[bytes] = []
    for key, group in groupby(map(_read, frames), key=itemgetter(0)):
        run = [(chunk, frame) for _, chunk, frame in group]
        if key is None or len(run) == 1:
            merged += [frame for _, frame in run]
        else:
            merged.append(_joined([chunk for chunk, _ in run]))
    return merged


def _joined(chunks: list[Json]) -> bytes:
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    last = chunks[-1]
    choice = last["choices"][0]
    delta = {**choice["delta"], "content": "".join(texts)}
    return write_frame({**last, "choices": [{**choice, "delta": delta}]})


def _read(frame: bytes) -> tuple[Key, Json, bytes]:
    """What must be alike for two chunks to be one, the chunk, its frame; no key: more than text."""
    try:
        chunk = read_frame(frame)
    except NotUnderstoodError:
        chunk = None
    return (None, {}, frame) if chunk is None else (_key(chunk), chunk, frame)


def _key(chunk: Json) -> Key:
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    choice, delta = choices[0], choices[0].get("delta")
    if not isinstance(delta, dict) or not isinstance(delta.get("content"), str):
        return None
    said = _said(delta) - {"role"}
    if said != {"content"} or _said(choice) - {"index"} != {"delta"}:
        return None
    others = {name: chunk[name] for name in _said(chunk) - {"choices", "obfuscation"}}
    if not BOOKS.isdisjoint(others):
        return None
    alike = orjson.dumps([others, delta.get("role")], option=orjson.OPT_SORT_KEYS)
    return (alike, choice.get("index"))


def _said(fields: Json) -> set[str]:
    return {name for name, value in fields.items() if value is not None}
