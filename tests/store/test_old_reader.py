"""Releases side by side on one store: each reads what the other writes.

`dump/old_reader.py` is a frozen copy of the release whose readers took no field that they did not
know.
"""

import base64
import json
from dataclasses import asdict, fields, replace

import pytest
from store.contract import append, collect, events_of, record, rerunnable, taken, with_hole, write
from store.dump import old_reader
from store.dump.kept import client_of, unpacked
from store.opened import expire, opened
from store.test_conversations import entry, new

from ws_bridge.protocol.conversation import entries_of_response
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.sealing import UNSIGNED, Sealer
from ws_bridge.store.base import Lease, Record, Verdict, Write
from ws_bridge.store.redis.codec import RECORD_FIELDS, compress, decode_record, encode_record
from ws_bridge.store.redis.conversations import RedisConversations
from ws_bridge.store.redis.keys import keys_of, partition_of

TTL_SECONDS = 60.0
LATER = {"region": "eu", "deadlines": {"end": 7, "first": None}}  # fields of a release to come


@pytest.fixture
async def store(valkey):
    async with opened(valkey.url) as one:
        yield one


@pytest.fixture
def client(valkey):
    with client_of(valkey) as one:
        yield one


# Fields of today's record that are values of their own: the release before passes them over.
OF_THE_HASH = ("input_makers", "key_name", "entry")


def of_later(kept: Record) -> bytes:
    """The record as a release to come writes it."""
    known = {
        key: value for key, value in asdict(kept).items() if key not in ("unknown", *OF_THE_HASH)
    }
    return compress(json.dumps(known | LATER).encode())


def stored(client, kept: Record) -> dict:
    return json.loads(unpacked(client.get(keys_of(kept.id).input)))


# A writer with one more field


def test_one_more_field_is_refused_by_the_release_before_and_kept_by_this_one():
    kept = rerunnable(ancestors=("resp_1",))
    packed = of_later(kept)
    with pytest.raises(TypeError, match="region"):
        old_reader.unpack_record(packed)
    read = decode_record(packed)
    assert read == replace(kept, unknown=LATER)
    assert json.loads(unpacked(encode_record(read))) == json.loads(unpacked(packed))


async def test_a_field_of_a_later_release_survives_whatever_this_one_does(store, client):
    """Written with its end, with another maker, claimed, taken over, created again."""
    kept = rerunnable()
    events = events_of(kept)
    await store.create(kept, events[:1])
    client.set(keys_of(kept.id).input, of_later(kept), keepttl=True)

    async def of_this_store(one):
        await expire(store, one)

    claim = await taken(store, kept, of_this_store)
    assert claim.record.unknown == LATER
    answered = replace(claim.record, maker="anthropic|")
    [receipt] = await store.append([Write(claim.lease, events[1:3], record=answered)])
    assert receipt.verdict is Verdict.APPENDED
    assert stored(client, kept) == stored(client, kept) | LATER | {"maker": "anthropic|"}
    client.delete(*client.keys(f"*{kept.id}"))  # lost by the store, and created again
    await store.create(answered, events[:1], claim.lease.fence)
    assert stored(client, kept) == stored(client, kept) | LATER | {"maker": "anthropic|"}
    assert await append(store, kept, events[1:], claim.lease.fence) is Verdict.APPENDED
    assert (await store.get(kept.id, kept.owner)).record == answered
    assert await collect(store, kept) == events


async def test_fields_of_a_later_release_in_hashes_and_log_entries_stay(store, client):
    """From the first claim to the end, and read past by every reader."""
    kept = rerunnable()
    events, keys = events_of(kept), keys_of(kept.id)
    await store.create(kept, events[:1])
    client.hset(keys.meta, "zone", "b")
    payload = compress(events[1].text)
    client.xadd(keys.events, {"zone": "b", "e": payload}, id=f"{events[1].number + 1}-0")
    client.hset(keys.meta, "n", events[1].number)
    await expire(store, kept)
    claim = await store.claim(kept.id)
    assert list(claim.events) == events[:2]
    assert await append(store, kept, events[2:], claim.lease.fence) is Verdict.APPENDED
    assert await collect(store, kept) == events
    assert client.hget(keys.meta, "zone") == b"b"


async def test_a_hash_that_lacks_what_has_a_default_is_read(store, client):
    """No lease: it has run out. No word on a successor: it only ends it."""
    kept = record()
    events, keys = events_of(kept), keys_of(kept.id)
    await store.create(kept, events[:2])
    client.hdel(keys.meta, "lx", "rr")
    assert (await store.get(kept.id, kept.owner)).is_overdue
    claim = await store.claim(kept.id)
    assert (claim.may_run, list(claim.events)) == (False, events[:2])


async def test_a_conversation_of_a_later_release_is_read_and_its_fields_stay(store, client):
    """More in an item's list, more in the hash; an older reader takes the first for a spare id."""
    kept = RedisConversations(store.scripts, TTL_SECONDS)
    one = new()
    await kept.create(one)
    tag = f"wb1:{{p{partition_of(one.id)}}}"
    item = {"type": "message", "role": "user", "content": "hi"}
    payload = compress(json.dumps([item, None, None, "spare", {"at": 7}]).encode())
    client.rpush(f"{tag}:ci:{one.id}", b'"later"\n' + payload)
    client.hset(f"{tag}:c:{one.id}", "zone", "b")
    await kept.add(one.id, one.owner, [entry("after")])
    await kept.update(one.id, one.owner, {"a": "b"})
    found = await kept.get(one.id, one.owner)
    assert [(each.id, each.spare) for each in found.entries] == [("later", ""), ("after", "")]
    assert found.metadata == {"a": "b"}
    assert client.lindex(f"{tag}:ci:{one.id}", 0).endswith(payload)
    assert client.hget(f"{tag}:c:{one.id}", "zone") == b"b"
    with pytest.raises(TypeError):
        old_reader.read_conversation(client, one.id, one.owner)


def test_a_seal_with_more_behind_its_summary_is_read_by_both():
    """There stands the signature, of this release or of a later one."""
    signed = Sealer(lambda: (b"1" * 32,)).seal("the summary")
    item = UNSIGNED.seal("the summary")
    mark, _, packed = item["encrypted_content"].partition(".")
    longer = base64.urlsafe_b64decode(packed) + b"\0" * 32
    more = item | {"encrypted_content": f"{mark}.{base64.urlsafe_b64encode(longer).decode()}"}
    for one in (item, more, signed):
        summary = UNSIGNED.open(Chain(None, (one,))).summary
        assert summary.text == "the summary" == old_reader.unseal(one)


# What today's code writes


def same(seen: old_reader.Record, kept: Record) -> bool:
    """Whether the old record has the fields of today's."""
    return all(getattr(seen, name) == getattr(kept, name) for name in seen.__slots__)


def test_a_record_has_the_fields_that_the_old_reader_knows():
    """A field more goes into the hash, or waits until no server of that release runs any more."""
    old = {one.name for one in fields(old_reader.Record)}
    today = {one.name for one in fields(Record)} - {"unknown", *OF_THE_HASH}
    assert old == today == RECORD_FIELDS.keys()


@pytest.mark.parametrize(
    "kept",
    [
        record(),
        rerunnable(),
        record("ü\n\0", input=(), previous_response_id=None, ancestors=("resp_1", "resp_2")),
        record(input=({"role": "user", "content": [{"type": "input_image", "x": "x" * 5000}]},)),
        record(request={"model": "m", "metadata": {"a": "b"}, "n": 2**63, "x": 1.5}),
    ],
)
def test_records_of_today_are_read_by_the_release_before(kept):
    assert same(old_reader.unpack_record(encode_record(kept)), kept)


async def test_responses_of_today_are_read_by_the_release_before(store, client):
    """Running, ended, with a gap, answered by another, claimed, given back, deleted."""

    def seen(kept):
        return old_reader.read_response(client, kept.id, kept.owner)

    running, ended, holed, other, claimed, back, gone = (rerunnable() for _ in range(7))
    logs = {kept.id: events_of(kept, *map(str, range(300))) for kept in (running, ended, other)}
    for kept in (running, ended, other):
        log = logs[kept.id]
        await store.create(kept, log[:1])
        answered = replace(kept, maker="anthropic|") if kept is other else None
        await write(store, kept, *log[1:200], record=answered)
    await write(store, ended, *logs[ended.id][200:])
    for kept, count in ((running, 200), (ended, None), (other, 200)):
        assert [event.text for event in logs[kept.id][:count]] == seen(kept).events
    assert same(seen(running).record, running)
    assert seen(other).record.maker == "anthropic|"
    assert seen(ended).response == logs[ended.id][-1].json()["response"]

    events = events_of(holed)
    await store.create(holed, events[:1])
    hole = with_hole(events, 3)
    await write(store, holed, *hole, has_gap=True)
    assert [event.text for event in (events[0], *hole)] == seen(holed).events

    await store.create(claimed, events_of(claimed)[:2])
    await write(store, claimed, upstream_id="theirs")
    await expire(store, claimed)
    assert (await store.claim(claimed.id)).may_run
    assert (seen(claimed).meta["f"], seen(claimed).meta["up"]) == ("2", "theirs")
    await store.create(back, events_of(back)[:2])
    await store.cancel(back.id, back.owner)
    await store.release(Lease(back.id, 1))
    assert (seen(back).meta["lx"], seen(back).meta["rl"], seen(back).meta["cx"]) == ("0", "1", "1")
    await store.create(gone, events_of(gone)[:2])
    await store.delete(gone.id, gone.owner)
    assert seen(gone) is None


async def test_side_data_is_a_field_that_the_release_before_passes_over(store, client):
    kept = record()
    events, keys = events_of(kept), keys_of(kept.id)
    await store.create(kept)
    await write(store, kept, *events, side_data={"blocks": ["b"]})
    seen = old_reader.read_response(client, kept.id, kept.owner)
    assert [event.text for event in events] == seen.events
    assert same(seen.record, kept)
    assert json.loads(unpacked(client.hget(keys.meta, "side"))) == {"blocks": ["b"]}
    client.hdel(keys.meta, "side")  # as that release ends a response
    assert [one.side_data for one in await store.get_chain(kept.id, kept.owner)] == [None]


async def test_the_makers_of_an_input_are_a_field_that_the_release_before_passes_over(
    store, client
):
    """Also where it claims the response and another maker answers: it writes the record alone."""
    kept, keys_alone = rerunnable(input_makers=("", "anthropic|")), {"unknown", *OF_THE_HASH}
    keys, events = keys_of(kept.id), events_of(kept)
    await store.create(kept, events[:1])
    seen = old_reader.read_response(client, kept.id, kept.owner)
    assert same(seen.record, kept)
    assert (await store.get(kept.id, kept.owner)).record == kept
    rewritten = {key: each for key, each in asdict(kept).items() if key not in keys_alone}
    client.set(keys.input, compress(json.dumps(rewritten).encode()), keepttl=True)
    await expire(store, kept)
    claim = await store.claim(kept.id)
    assert claim.record == kept
    assert await append(store, kept, events[1:], claim.lease.fence) is Verdict.APPENDED
    assert [one.record for one in await store.get_chain(kept.id, kept.owner)] == [kept]
    client.hdel(keys.meta, "im")  # as that release creates a response
    assert (await store.get(kept.id, kept.owner)).record == replace(kept, input_makers=())


async def test_conversations_of_today_are_read_by_the_release_before(store, client):
    kept = RedisConversations(store.scripts, TTL_SECONDS)
    one = replace(new(), metadata={"ü": "\n"}, entries=(entry("a\n"), entry("b", "word " * 500)))
    await kept.create(one)
    item = {"type": "message", "role": "user", "content": "hi"}
    added = entries_of_response("resp_1", [item], [item | {"id": "msg_1"}], "openai|")
    await kept.add(one.id, one.owner, added)
    created_at, metadata, entries = old_reader.read_conversation(client, one.id, one.owner)
    assert (created_at, metadata) == (one.created_at, one.metadata)
    wanted = [*one.entries, *added]
    assert [(each.id, each.item, each.maker, each.response) for each in wanted] == [
        (each.id, each.item, each.maker, each.response) for each in entries
    ]
