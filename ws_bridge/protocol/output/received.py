"""Validate a provider's output: valid items pass, the rest is left out.

Rule 1: what passes here can be published, stored, read back, sent to a model and shown, without a
check anywhere else: a type is a word, parts are objects, and nothing is nested without end.
Rule 2: unknown types and fields pass: new ones are the provider's to make.
"""

from __future__ import annotations

from typing import Any

from ws_bridge.types import Item, Json

DEEPEST = 128  # objects and lists inside of each other; copies and writers of JSON end at some 250
TEXTS = ("id", "call_id", "name", "status", "role")
PARTS = ("content", "summary")
CONTAINERS = (dict, list)


def items_of(output: Any) -> list[Item]:
    """The items of a response's ``output``, in order; [] if that is no list."""
    return [item for item in output if is_item(item)] if isinstance(output, list) else []


def has_items(response: Any) -> bool:
    """Whether a provider's response object has output items."""
    return isinstance(response, dict) and bool(items_of(response.get("output")))


def with_items(response: Any, items: list[Item]) -> Json:
    """The object with that output; a new one if it is none."""
    return (response if isinstance(response, dict) else {}) | {"output": items}


def is_item(item: Any) -> bool:
    """Whether it is a valid output item: it can be published and continued from."""
    return (
        isinstance(item, dict)
        and isinstance(item.get("type", ""), str)
        and all(item.get(name) is None or isinstance(item[name], str) for name in TEXTS)
        and all(_are_parts(item.get(name)) for name in PARTS)
        and is_shallow(item)
    )


def _are_parts(parts: Any) -> bool:
    if not isinstance(parts, list):
        return parts is None or isinstance(parts, str)
    return all(isinstance(part, dict) and _is_part(part) for part in parts)


def _is_part(part: Json) -> bool:
    texts = (part.get(name) for name in ("text", "refusal"))
    lists = (part.get(name) for name in ("annotations", "logprobs"))
    return (
        isinstance(part.get("type", ""), str)
        and all(text is None or isinstance(text, str) for text in texts)
        and all(entries is None or isinstance(entries, list) for entries in lists)
    )


def is_shallow(value: Any) -> bool:
    """Whether nothing in it is nested too deep to be copied and written."""
    level = [value] if isinstance(value, CONTAINERS) else []
    for _ in range(DEEPEST):
        if not level:
            return True
        inner = (node.values() if isinstance(node, dict) else node for node in level)
        level = [each for values in inner for each in values if isinstance(each, CONTAINERS)]
    return not level
