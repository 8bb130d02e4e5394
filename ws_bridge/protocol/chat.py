"""Chat chunks → Responses drafts (pure; no litellm type in its signature).

Rule 1: reasoning, text and calls end each other; items are added, and done, in index order.
Rule 2: a call stays open until its arguments are a whole JSON object or the answer is over, because
fragments of parallel calls come in any order. What follows an open call waits with its `done` only.
Rule 3: what was cut off says so, in the item's `done` and in the terminal response alike.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ws_bridge.protocol.calls import Call, Calls
from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, INCOMPLETE, Draft
from ws_bridge.protocol.replay import (
    PARTS,
    annotation_added,
    item_added,
    item_done,
    part_added,
    part_done,
    replay_items,
)
