"""Side data: what a turn's maker must get back, and no item that clients see has a place for.

It is a JSON object in a form that only its maker's dialect knows. A turn without it is told to its
maker by its items, as to all others.

Rule: what is kept can be stored, read back and copied, and takes a bounded part of a store.
"""

from __future__ import annotations

from typing import Any

import orjson

from ws_bridge.protocol.output.received import is_shallow

# Bytes of JSON that are kept of one turn. A chain is read with the side data of all its turns, and
# sent with it: as much as the words of a very long answer; a file that a tool has made is more.
MAX_SIDE_DATA = 2**20


def is_side_data(value: Any) -> bool:
    """Whether it is an object that can be copied."""
    return isinstance(value, dict) and is_shallow(value)


def side_data_size(side_data: Any) -> int:
    """Its bytes as JSON: 0 for None, -1 for what could not be stored and read back."""
    if side_data is None:
        return 0
    if not is_side_data(side_data):
        return -1
    try:
        return len(orjson.dumps(side_data))
    except TypeError:  # half a character, or a number beyond all
        return -1
