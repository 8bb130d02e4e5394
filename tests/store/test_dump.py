"""Stores as past releases left them, in the hands of today's store: nothing in them is lost.

`servers/test_dump.py` reads the same dumps with a whole server, and goes on with what is in them.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from store.dump import ends, kept
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
        return [entry for entry in self.dump["responses"] if entry["state"] == state]

    def owner(self, entry: Json) -> str:
        with client_of(self.node) as client:
            return (client.hget(keys_of(entry["id"]).meta, "ow") or b"").decode()

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
    for entry in (*loaded.responses("ended"), *loaded.responses("running")):
        if "body" not in entry:
            continue
        owner = loaded.owner(entry)
        snapshot = await loaded.store.get(entry["id"], owner)
        assert entry["body"].encode() == orjson.dumps(snapshot.response)
        assert snapshot.is_terminal == (entry["state"] == "ended")
        assert snapshot.record.previous_response_id == entry["previous"]
        seen = []
        async with asyncio.timeout(HANG_SECONDS):
            async for batch in loaded.store.read(entry["id"], owner):
                seen += [event.text.decode() for event in batch]
                if len(seen) >= len(entry["events"]) and not snapshot.is_terminal:
                    break
        assert entry["events"] == seen
        chain = await loaded.store.get_chain(entry["id"], owner)
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
    for entry in loaded.responses("running"):
        claim = await loaded.store.claim(entry["id"])
        assert claim.lease == Lease(entry["id"], 2)
        assert claim.may_run == (entry["what"] in ("again", "own", "own, forgotten", "given back"))
        assert claim.is_cancelled == (entry["what"] == "cancel wanted")
        assert bool(claim.upstream_id) == (entry["what"] in ("own", "own, forgotten"))
        texts = [event.text.decode() for event in claim.events]
        assert texts == entry.get("events", texts)
        assert texts


async def test_tombstones_refuse_their_writers(loaded):
    with client_of(loaded.node) as client:
        for entry in loaded.responses("deleted"):
            assert client.hget(keys_of(entry["id"]).meta, "st") == b"deleted"
            late = Event("response.in_progress", 9, b'{"type":"response.in_progress"}')
            [receipt] = await loaded.store.append([Write(Lease(entry["id"], 1), [late])])
            assert receipt.verdict is Verdict.FENCED


async def test_conversations_read_as_they_did(loaded):
    conversations = RedisConversations(loaded.store.scripts, TTL_SECONDS)
    owner = loaded.owner(loaded.responses("ended")[0])
    for entry in loaded.dump["conversations"]:
        found = await conversations.get(entry["id"], owner)
        if entry["what"] == "deleted":
            assert found is None
            continue
        assert entry["body"].encode() == orjson.dumps(found.body())
        listed = [entry.listed() for entry in found.entries]
        assert json.loads(entry["items"])["data"] == listed
        assert await conversations.get(entry["id"], "somebody else") is None


async def test_side_data_reads_as_it_did():
    """Plain and encrypted, and of a response that has none: as the release that first had it."""
    dump = ends.load_ends()
    *_, last = dump["responses"]
    with Node(valkey_binary()) as node:
        kept.put_in(node, dump["keys"])
        async with opened(node.url, codec=ends.CODEC) as store:
            chain = await store.get_chain(last["id"], last["owner"])
            told = [(one.record.id, one.side_data) for one in reversed(chain)]
            assert [(each["id"], each["side_data"]) for each in dump["responses"]] == told
            for each in dump["responses"]:
                snapshot = await store.get(each["id"], each["owner"])
                assert each["body"].encode() == orjson.dumps(snapshot.response)
        with client_of(node) as client:
            client.hset(keys_of(last["id"]).meta, "side", b"a later release's form")
            seen = read_response(client, dump["responses"][0]["id"], last["owner"])
            assert seen.response == json.loads(dump["responses"][0]["body"])
        async with opened(node.url, codec=ends.CODEC) as store:
            newest, *_ = await store.get_chain(last["id"], last["owner"])
            assert newest.side_data is None
            assert newest.response == json.loads(last["body"])


async def test_the_frozen_reader_reads_the_dump_of_its_own_release(loaded):
    """So that what it refuses, and what it reads, means something."""
    with client_of(loaded.node) as client:
        for entry in loaded.dump["responses"]:
            seen = read_response(client, entry["id"], loaded.owner(entry))
            if entry["state"] == "deleted":
                assert seen is None
                continue
            texts = [text.decode() for text in seen.events]
            assert entry.get("events", texts) == texts
            snapshot = await loaded.store.get(entry["id"], seen.record.owner)
            known = {name: getattr(snapshot.record, name) for name in seen.record.__slots__}
            assert seen.record == type(seen.record)(**known)
        owner = loaded.owner(loaded.responses("ended")[0])
        for entry in loaded.dump["conversations"]:
            seen = read_conversation(client, entry["id"], owner)
            assert (seen is None) == (entry["what"] == "deleted")
