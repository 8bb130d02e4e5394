"""A small dump beside the large ones: ended responses of a chain, with and without side data.

It is made through the store alone, so that a provider need not give side data in every form: in
plain values, and in values that are encrypted with ``SECRET``.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from store.contract import events_of, record, write
from store.dump.kept import take_out
from store.opened import opened
from support.redis_servers import Node, valkey_binary

from ws_bridge.store.base import Record
from ws_bridge.store.redis.cipher import PLAIN, Cipher
from ws_bridge.store.redis.codec import Codec

Json = dict[str, Any]

PATH = Path(__file__).parent / "ends.json"
SECRET = b"a secret of the dump: 32 letters"
CODEC = Codec(Cipher((SECRET, PLAIN)))  # reads both, and encrypts what it writes
SIDE_DATA: tuple[Json | None, ...] = (
    {"blocks": [{"type": "server_tool_use", "id": "srvtoolu_1", "input": {"query": "ü\u2028"}}]},
    None,
    {"container": {"id": "container_1"}, "blocks": ["encrypted result " * 100], "n": 2**53},
)
DAY_SECONDS = 86_400.0


async def play_ends(release: str) -> Json:
    """The dump of the code that runs this: each response continues the one before."""
    turns: list[Json] = []
    parent: Record | None = None
    with Node(valkey_binary()) as node:
        for side_data in SIDE_DATA:
            codec = {"codec": CODEC} if len(turns) == len(SIDE_DATA) - 1 else {}
            async with opened(node.url, ttl_seconds=DAY_SECONDS, **codec) as store:
                kept = record(previous_response_id=None)
                if parent is not None:
                    known = (parent.id, *parent.ancestors)
                    kept = replace(kept, previous_response_id=parent.id, ancestors=known)
                await store.create(kept)
                await write(store, kept, *events_of(kept), side_data=side_data)
                snapshot = await store.get(kept.id, kept.owner)
            assert snapshot is not None
            body = orjson.dumps(snapshot.response).decode()
            turns.append({"id": kept.id, "owner": kept.owner, "body": body, "side_data": side_data})
            parent = kept
        return {"release": release, "responses": turns, "keys": take_out(node)}


def load_ends() -> Json:
    """The dump."""
    dump: Json = json.loads(PATH.read_text(encoding="utf-8"))
    return dump


def save_ends(dump: Json) -> Path:
    """Write the dump; its path."""
    PATH.write_text(json.dumps(dump, indent=1) + "\n", encoding="utf-8")
    return PATH
