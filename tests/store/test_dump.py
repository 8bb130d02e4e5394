"""Stores as past releases left them, in the hands of today's store: nothing in them is lost.

`servers/test_dump.py` reads the same dumps with a whole server, and goes on with what is in them.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from store.dump import kept
from store.dump.kept import client_of, unpacked
from store.dump.old_reader import read_conversation, read_response
from store.opened import opened
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary

from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Lease, Verdict, Write
from ws_bridge.store.redis.codec import RECORD_FIELDS, decode_record, encode_record
from ws_bridge.store.redis.conversations import RedisConversations
from ws_bridge.store.redis.keys import keys_of
from ws_bridge.store.redis.store import RedisStore

Json = dict[str, Any]

TTL_SECONDS = 60.0


@dataclass
class Loaded:
    """A dump in a server of its own, byte for byte."""

    node: Node
    dump: Json
    store: RedisStore

    def responses(self, state: str) -> list[Json]:
        return [told for told in self.dump["responses"] if told["state"] == state]

    def owner(self, told: Json) -> str:
        with client_of(self.node) as client:
            return (client.hget(keys_of(told["id"]).meta, "ow") or b"").decode()

    def records(self) -> list[bytes]:
        with client_of(self.node) as client:
            return client.mget(client.keys("wb1:*:i:*"))


@pytest.fixture(params=kept.names())
async def loaded(request):
    dump = kept.load(request.param)
    with Node(valkey_binary()) as node:
        kept.put_in(node, dump["keys"])
        kept.let_leases_run_out(node)
        async with opened(node.url) as store:
            yield Loaded(node, dump, store)


def test_there_is_a_dump():
    assert "3c25b44" in kept.names()


def test_a_dump_that_was_put_in_and_taken_out_is_the_same():
    """But for what is left of each key's life."""
    keys = kept.load(kept.names()[0])["keys"]
    with Node(valkey_binary()) as node:
        kept.put_in(node, keys)
        again = kept.take_out(node)
    assert again.keys() == keys.keys()
    for name, one in again.items():
        assert (one["type"], one["value"]) == (keys[name]["type"], keys[name]["value"])
        assert 0 < one["pttl"] <= keys[name]["pttl"]


async def test_every_response_reads_as_it_did(loaded):
    for told in (*loaded.responses("ended"), *loaded.responses("running")):
        if "body" not in told:
            continue
        owner = loaded.owner(told)
        snapshot = await loaded.store.get(told["id"], owner)
        assert told["body"].encode() == orjson.dumps(snapshot.response)
        assert snapshot.is_terminal == (told["state"] == "ended")
        assert snapshot.record.previous_response_id == told["previous"]
        seen = []
        async with asyncio.timeout(HANG_SECONDS):
            async for batch in loaded.store.read(told["id"], owner):
                seen += [event.text.decode() for event in batch]
                if len(seen) >= len(told["events"]) and not snapshot.is_terminal:
                    break
        assert told["events"] == seen
        chain = await loaded.store.get_chain(told["id"], owner)
        assert chain[-1].record.previous_response_id is None


async def test_every_record_is_written_again_as_it_was(loaded):
    """Nothing is lost when today's code writes what an older release wrote."""
    records = loaded.records()
    assert len(records) > 100
    for packed in records:
        assert json.loads(unpacked(packed)) == json.loads(
            unpacked(encode_record(decode_record(packed)))
        )
        assert json.loads(unpacked(packed)).keys() >= {"id", "owner", "input", "maker"}
        assert decode_record(packed).unknown == {}
        assert RECORD_FIELDS.keys() >= json.loads(unpacked(packed)).keys()


async def test_what_runs_is_claimed_with_all_that_its_writer_knew(loaded):
    for told in loaded.responses("running"):
        claim = await loaded.store.claim(told["id"])
        assert claim.lease == Lease(told["id"], 2)
        assert claim.may_run == (told["what"] in ("again", "own", "own, forgotten", "given back"))
        assert claim.is_cancelled == (told["what"] == "cancel wanted")
        assert bool(claim.upstream_id) == (told["what"] in ("own", "own, forgotten"))
        texts = [event.text.decode() for event in claim.events]
        assert texts == told.get("events", texts)
        assert texts


async def test_tombstones_refuse_their_writers(loaded):
    with client_of(loaded.node) as client:
        for told in loaded.responses("deleted"):
            assert client.hget(keys_of(told["id"]).meta, "st") == b"deleted"
            late = Event("response.in_progress", 9, b'{"type":"response.in_progress"}')
            [receipt] = await loaded.store.append([Write(Lease(told["id"], 1), [late])])
            assert receipt.verdict is Verdict.FENCED


async def test_conversations_read_as_they_did(loaded):
    conversations = RedisConversations(loaded.store.scripts, TTL_SECONDS)
    owner = loaded.owner(loaded.responses("ended")[0])
    for told in loaded.dump["conversations"]:
        found = await conversations.get(told["id"], owner)
        if told["what"] == "deleted":
            assert found is None
            continue
        assert told["body"].encode() == orjson.dumps(found.body())
        listed = [entry.listed() for entry in found.entries]
        assert json.loads(told["items"])["data"] == listed
        assert await conversations.get(told["id"], "somebody else") is None


async def test_the_frozen_reader_reads_the_dump_of_its_own_release(loaded):
    """So that what it refuses, and what it reads, means something."""
    with client_of(loaded.node) as client:
        for told in loaded.dump["responses"]:
            seen = read_response(client, told["id"], loaded.owner(told))
            if told["state"] == "deleted":
                assert seen is None
                continue
            texts = [text.decode() for text in seen.events]
            assert told.get("events", texts) == texts
            snapshot = await loaded.store.get(told["id"], seen.record.owner)
            known = {name: getattr(snapshot.record, name) for name in seen.record.__slots__}
            assert seen.record == type(seen.record)(**known)
        owner = loaded.owner(loaded.responses("ended")[0])
        for told in loaded.dump["conversations"]:
            seen = read_conversation(client, told["id"], owner)
            assert (seen is None) == (told["what"] == "deleted")
