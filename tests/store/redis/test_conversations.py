"""Conversations on a server that many processes share: what the contract does not know of.

The contract itself is run on each kind of server by ``test_conversations``.
"""

import asyncio
import json
import secrets

import orjson
import pytest
from store.opened import opened
from store.test_conversations import TTL_SECONDS, created, entry, new
from support.hang import HANG_SECONDS
from support.tcp_proxy import Proxy

from ws_bridge.errors import ConversationFull, StoreUnavailable
from ws_bridge.protocol.conversation import entries_of_response
from ws_bridge.store.conversations import ConversationLimits
from ws_bridge.store.redis.codec import compress, decompress
from ws_bridge.store.redis.conversations import RedisConversations
from ws_bridge.store.redis.keys import PREFIX, partition_of

ITEM = {"type": "message", "role": "user", "content": "hi"}


def over(store):
    return RedisConversations(store.scripts, TTL_SECONDS)


@pytest.fixture
async def store(valkey):
    async with opened(valkey.url) as one:
        yield one


async def test_what_one_process_adds_the_other_has(valkey, store):
    async with opened(valkey.url) as other:
        here, there = over(store), over(other)
        one = await created(here, entry("a"))
        assert await there.add(one.id, "alice", [entry("b")])
        assert await here.add(one.id, "alice", [entry("c")])
        for kept in (here, there):
            ids = [each.id for each in (await kept.get(one.id, "alice")).entries]
            assert ids == ["a", "b", "c"]
        assert await there.delete(one.id, "alice")
        assert await here.get(one.id, "alice") is None


async def test_every_key_expires_and_a_deleted_one_leaves_none(store):
    kept = over(store)
    one, empty = await created(kept, entry("a")), await created(kept)
    await kept.add(empty.id, "alice", [entry("a")])
    for each in (one, empty):
        keys = await store._client.keys(f"{PREFIX}:*:{each.id}")
        assert len(keys) == 3
        for key in keys:
            assert 0 < await store._client.pttl(key) <= TTL_SECONDS * 1000
        assert await kept.delete(each.id, "alice")
        assert await store._client.keys(f"*{each.id}*") == []


async def test_large_items_are_kept_compressed(store):
    kept = over(store)
    one = await created(kept, entry("a", "word " * 20_000))
    [key] = await store._client.keys(f"{PREFIX}:*:ci:{one.id}")
    assert await store._client.memory_usage(key) < 10_000


async def test_an_addition_whose_answer_was_lost_is_there_once(valkey):
    """Whoever repeats it: the client of the store does so by itself, once."""
    entries = entries_of_response("resp_1", [ITEM], [{**ITEM, "id": "msg_1"}], "openai|")
    async with Proxy(valkey.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        kept = over(store)
        one = new()
        for step in (lambda: kept.create(one), lambda: kept.add(one.id, "alice", entries)):
            await step()  # its script is known to the server
            proxy.swallow_answers(2, of=b"EVALSHA")
            with pytest.raises(StoreUnavailable):
                await step()
            async with asyncio.timeout(HANG_SECONDS):
                await step()
        assert proxy.swallowed == 4
        assert (await kept.get(one.id, "alice")).entries == entries


async def test_a_server_that_is_away_makes_nothing_unknown(valkey):
    async with Proxy(valkey.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        kept = over(store)
        one = await created(kept, entry("a"))
        proxy.refuse()
        calls = (
            kept.create(new()),
            kept.get(one.id, "alice"),
            kept.update(one.id, "alice", {}),
            kept.add(one.id, "alice", [entry("b")]),
            kept.remove(one.id, "alice", "a"),
            kept.delete(one.id, "alice"),
        )
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call


def item_of(values, name=b'"x"'):
    return name + b"\n" + compress(json.dumps(values).encode())


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b'"x"',
        b'"x"\nzzz',
        b'"x"\nr{',
        *map(item_of, ([], {}, None, ["item"], [ITEM, 7], [ITEM, None, {}])),
        item_of([ITEM], b"7"),
        item_of([ITEM], b"x"),
    ],
)
async def test_a_conversation_with_an_item_that_cannot_be_read_is_unknown(store, caplog, kept):
    """A list with a hole would be another conversation. It can still be deleted."""
    conversations = over(store)
    one = await created(conversations, entry("a"))
    tag = f"{PREFIX}:{{p{partition_of(one.id)}}}"
    await store._client.rpush(f"{tag}:ci:{one.id}", kept)
    assert await conversations.get(one.id, "alice") is None
    assert f"read_broken id={one.id} reason=" in caplog.text
    assert await conversations.delete(one.id, "alice")


@pytest.mark.parametrize(
    ("field", "value"),
    [("cr", "soon"), ("cr", "9" * 5000), ("cr", None), ("md", "{"), ("md", "[]"), ("md", "7")],
)
async def test_a_conversation_whose_own_fields_cannot_be_read_is_unknown(store, field, value):
    conversations = over(store)
    one = await created(conversations)
    key = f"{PREFIX}:{{p{partition_of(one.id)}}}:c:{one.id}"
    if value is None:
        await store._client.hdel(key, field)
    else:
        await store._client.hset(key, field, value)
    assert await conversations.get(one.id, "alice") is None


async def test_what_a_conversation_lacks_has_its_default(store):
    """Its metadata, and who made an item."""
    conversations = over(store)
    one = await created(conversations)
    tag = f"{PREFIX}:{{p{partition_of(one.id)}}}"
    await store._client.hdel(f"{tag}:c:{one.id}", "md")
    await store._client.rpush(f"{tag}:ci:{one.id}", item_of([ITEM]))
    found = await conversations.get(one.id, "alice")
    assert (found.metadata, [one.item for one in found.entries]) == ({}, [ITEM])
    assert found.entries[0].maker is found.entries[0].response is None


# No step is longer for a larger conversation


@pytest.mark.catalogue("A6")
async def test_one_step_reads_no_more_than_a_page(store):
    kept = over(store)
    large = [entry(f"{number:04}", secrets.token_hex(30_000)) for number in range(200)]
    small = [entry(f"{number:04}") for number in range(1000)]
    for entries in (large, small):
        one = await created(kept, *entries)
        sizes = []
        start = 0
        while page := (await kept._page(one.id, "alice", start)).entries:
            sizes.append((len(page), sum(map(len, page))))
            start += len(page)
        assert start == len(entries)
        assert all(count <= 128 and size < 2**20 + 10**5 for count, size in sizes)
        assert len(sizes) > 5
        assert (await kept.get(one.id, "alice")).entries == tuple(entries)


# What an earlier release has written: it knows the list only


async def added_of_old(store, one, *entries):
    """As its script has done it."""
    tag = f"{PREFIX}:{{p{partition_of(one.id)}}}"
    for each in entries:
        name = orjson.dumps(each.id)
        payload = compress(orjson.dumps([each.item, each.maker, each.response]))
        await store._client.rpush(f"{tag}:ci:{one.id}", name + b"\n" + payload)


@pytest.mark.catalogue("A6")
async def test_items_that_an_earlier_release_has_added_are_known_and_counted(store):
    kept = over(store)
    old = [entry(f"{number:04}", "x" * 2000) for number in range(300)]
    one = await created(kept, entry("first"))
    await added_of_old(store, one, *old)
    again, other = old[7], entry(old[7].id, "other words", spare="spare")
    assert await kept.add(one.id, "alice", [again, other, entry("last")]) == [
        again.id,
        "spare",
        "last",
    ]
    found = await kept.get(one.id, "alice")
    assert [each.id for each in found.entries] == [
        "first",
        *(each.id for each in old),
        "spare",
        "last",
    ]
    assert found.size > 300 * len(compress(orjson.dumps(ITEM)))
    kept.limits = ConversationLimits(items=303)
    with pytest.raises(ConversationFull):
        await kept.add(one.id, "alice", [entry("more")])


async def test_items_that_an_earlier_release_has_taken_out_are_gone(store):
    kept = over(store)
    one = await created(kept, entry("a"), entry("b"), entry("c"))
    await store._client.lpop(f"{PREFIX}:{{p{partition_of(one.id)}}}:ci:{one.id}")
    assert await kept.add(one.id, "alice", [entry("a"), entry("c")]) == ["a", "c"]
    assert [each.id for each in (await kept.get(one.id, "alice")).entries] == ["b", "c", "a"]


async def test_an_earlier_release_reads_what_this_one_writes(store):
    """An entry is a name, a newline and a payload, in the order of the list."""
    kept = over(store)
    entries = entries_of_response("resp_1", [ITEM], [{**ITEM, "id": "m"}], "openai|")
    one = await created(kept, *entries)
    listed = await store._client.lrange(f"{PREFIX}:{{p{partition_of(one.id)}}}:ci:{one.id}", 0, -1)
    for kept_as, each in zip(listed, entries, strict=True):
        name, _, payload = kept_as.partition(b"\n")
        assert orjson.loads(name) == each.id
        assert orjson.loads(decompress(payload)) == [each.item, each.maker, each.response]
