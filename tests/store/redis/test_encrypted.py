"""A store whose values are encrypted, and one with values that no server has written."""

import asyncio
import logging
import secrets
import zlib
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from store.contract import (
    OWNERS,
    StoreContract,
    append,
    collect,
    events_of,
    finished,
    hold,
    record,
    taken,
    write,
)
from store.opened import expire as let_run_out
from store.opened import opened
from store.test_conversations import (
    TTL_SECONDS,
    ConversationsContract,
    created,
    entry,
    pass_on_server,
)
from support.redis_servers import Node, valkey_binary

from ws_bridge.errors import ConfigError
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.store.base import Verdict
from ws_bridge.store.redis import commands
from ws_bridge.store.redis.cipher import PLAIN, Cipher
from ws_bridge.store.redis.codec import ENCRYPTED, Codec, decompress, encode_entries, encode_record
from ws_bridge.store.redis.conversations import RedisConversations
from ws_bridge.store.redis.health import SHARED_KEY
from ws_bridge.store.redis.keys import idempotency_key, keys_of
from ws_bridge.store.redis.ledger import FIRST_DAY_KEY
from ws_bridge.store.redis.scripts import HOLD

ONE, TWO = b"1" * 32, b"2" * 32


@pytest.fixture(scope="module")
def node():
    """A server of these tests alone: whether its values are encrypted is the whole server's."""
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture
def fresh(node):
    node.wipe()
    return node


@asynccontextmanager
async def with_secrets(node, *known):
    async with opened(node.url, codec=Codec(Cipher(known))) as store:
        yield store


def conversations(store):
    return RedisConversations(store.scripts, TTL_SECONDS, store._codec, OWNERS)


class TestEncrypted(StoreContract):
    """All that a store promises."""

    @pytest.fixture
    async def store(self, node):
        async with with_secrets(node, ONE) as one:
            yield one

    @pytest.fixture
    def expire(self, store):
        async def of_this_store(kept):
            await let_run_out(store, kept)

        return of_this_store


class TestEncryptedConversations(ConversationsContract):
    """The same of conversations."""

    @pytest.fixture
    async def store(self, node):
        async with with_secrets(node, ONE) as one:
            yield one

    @pytest.fixture
    def kept(self, store):
        return conversations(store)

    @pytest.fixture
    def let_pass(self, store):
        async def turn(conversation, seconds):
            await pass_on_server(store._client, conversation, seconds)

        return turn


async def one_of_each(store, canary, owner="alice"):
    """A finished response, one that runs, and a conversation, all of them full of the canary."""
    items = [{"type": "message", "role": "user", "content": canary}]
    done = record(owner, input=tuple(items))
    makers = {"request": {"instructions": canary}, "input_makers": (canary,)}
    runs = record(owner, input=tuple(items), **makers)
    for one in (done, runs, record(owner, key_name=canary, entry=canary)):
        await store.create(one)
    events = events_of(done, canary, canary)
    await write(store, done, *events, side_data={"a": canary})
    await append(store, runs, events_of(runs, canary, canary)[:-1])
    kept = conversations(store)
    one = await created(kept, entry("a", canary), owner=owner, metadata={"k": canary})
    await kept.add(one.id, owner, [entry("b", canary)])
    return done, runs, one


async def values_of(store):
    """Every value of the server that has content, each as it is kept."""
    client = store._client
    found = []
    for key in set(await client.keys("*")) - {FIRST_DAY_KEY.encode()}:  # a day is no content
        kind = await client.type(key)
        if kind == b"string":
            found.append(await client.get(key))
        elif kind == b"hash":
            found += [value for value in await client.hmget(key, "md", "side", "im", "pa") if value]
        elif kind == b"list":
            found += [one.partition(b"\n")[2] for one in await client.lrange(key, 0, -1)]
        elif kind == b"stream":
            found += [fields[b"e"] for _, fields in await client.xrange(key)]
    return found


@pytest.mark.catalogue("A14")
async def test_no_content_is_in_the_store_in_plain_text(fresh):
    canary = "canary-" + secrets.token_hex(8)
    async with with_secrets(fresh, ONE) as store:
        await one_of_each(store, canary)
        values = await values_of(store)
        assert len(values) >= 10
        assert [value for value in values if value[:1] != ENCRYPTED] == []
        assert [value for value in values if canary.encode() in value] == []
    fresh.wipe()
    async with with_secrets(fresh) as store:  # and without a secret all of it is
        await one_of_each(store, canary)
        values = await values_of(store)
        clear = [value if value[:1] == b"{" else decompress(value) for value in values]
        assert sum(canary.encode() in value for value in clear) >= 9


async def read_back(store, done, runs, one):
    snapshot, running = await store.get(done.id, "alice"), await store.get(runs.id, "alice")
    assert snapshot is not None
    assert (snapshot.record, running.record) == (done, runs)
    [chained] = await store.get_chain(done.id, "alice")
    assert chained.side_data == {"a": "canary"}
    assert snapshot.is_terminal
    assert await collect(store, done) == events_of(done, "canary", "canary")
    found = await conversations(store).get(one.id, "alice")
    assert found.metadata == {"k": "canary"}
    assert [each.item["content"] for each in found.entries] == ["canary", "canary"]


@pytest.mark.catalogue("A14")
@pytest.mark.parametrize(
    ("writer", "readers"),
    [
        ((), [(PLAIN, ONE), (ONE,)]),  # turned on, one server after the other
        ((PLAIN, ONE), [(), (ONE,), (PLAIN, ONE)]),
        ((ONE,), [(PLAIN, ONE), (TWO, ONE), (ONE, TWO)]),  # another secret; turned off
        ((TWO, ONE), [(TWO,), (PLAIN, TWO), (ONE, TWO)]),
    ],
)
async def test_what_was_written_with_any_of_the_secrets_or_none_is_read(fresh, writer, readers):
    async with with_secrets(fresh, *writer) as store:
        kept = await one_of_each(store, "canary")
        for known in readers:
            async with with_secrets(fresh, *known) as other:
                await read_back(other, *kept)
                assert other.shared_key() == store.shared_key()
                await one_of_each(other, "canary")
        await read_back(store, *kept)


@pytest.mark.catalogue("A14")
@pytest.mark.parametrize("known", [(), (PLAIN,), (TWO,), (TWO, PLAIN)])
async def test_a_server_with_the_wrong_secret_does_not_start(fresh, known):
    async with with_secrets(fresh, ONE):
        pass
    with pytest.raises(ConfigError) as refused:
        async with with_secrets(fresh, *known):
            pass
    assert str(refused.value).startswith("key 'store.encrypt_with_env': ")
    assert "\n" not in str(refused.value)


async def test_a_secret_may_go_when_all_servers_write_with_the_next(fresh):
    keys = set()
    for known in ((ONE,), (ONE, TWO), (TWO, ONE), (TWO,)):
        async with with_secrets(fresh, *known) as store:
            keys.add(store.shared_key())
            assert (
                Codec(Cipher(known[:1])).decode(await store._client.get(SHARED_KEY), SHARED_KEY)
                in keys
            )
    assert len(keys) == 1


async def test_a_shared_key_that_something_else_has_overwritten_is_replaced(fresh):
    fresh.cli("SET", SHARED_KEY, "zzz")
    async with with_secrets(fresh) as store, with_secrets(fresh) as other:
        assert len(store.shared_key()) == 32
        assert store.shared_key() == other.shared_key()


@pytest.mark.catalogue("A14")
async def test_a_value_that_was_moved_to_another_response_is_not_read_there(fresh, caplog):
    async with with_secrets(fresh, ONE) as store:
        victims, _ = await finished(store, "alice")
        robber, _ = await finished(store, "mallory")
        taken_, own = keys_of(victims.id), keys_of(robber.id)
        for place in ("final", "input"):
            value = await store._client.get(getattr(taken_, place))
            await store._client.set(getattr(own, place), value, px=60_000)
        caplog.clear()
        assert await store.get(robber.id, "mallory") is None
        assert await store.get(victims.id, "alice") is not None
    assert broken_lines(caplog) == [f"read_broken id={robber.id} reason=encryption"]


def broken_lines(caplog):
    return [line for line in caplog.messages if "broken" in line]


# Values that no server has written


BOMB = b"z" + zlib.compress(b"a" * 2**24, 1)


@pytest.mark.catalogue("A13")
@pytest.mark.parametrize("place", ["final", "input", "events"])
async def test_a_bomb_in_the_place_of_a_value_is_unknown_and_holds_up_nothing(
    fresh, caplog, expire_on, place
):
    async with opened(fresh.url, codec=Codec(max_bytes=2**20)) as store:
        kept, _ = await finished(store)
        good, events = await finished(store)
        runs = record()
        await store.create(runs)
        keys = keys_of(kept.id)
        if place == "events":
            keys = keys_of(runs.id)
            await store._client.xadd(keys.events, {"e": BOMB}, id="1-0")
            kept = runs
        else:
            await store._client.set(getattr(keys, place), BOMB, px=60_000)
        caplog.clear()
        assert await store.get(kept.id, "alice") is None
        assert broken_lines(caplog) == [f"read_broken id={kept.id} reason=size"]
        chained = record(previous_response_id=kept.id, ancestors=(kept.id,))
        await store.create(chained)
        await append(store, chained, events_of(chained))
        assert [one.record.id for one in await store.get_chain(chained.id, "alice")] == [chained.id]
        assert await collect(store, good) == events
        if place == "events":
            await expire_on(store, runs)
            claim = await store.claim(runs.id)
            assert claim is not None
            assert list(claim.events) == []
            assert not await store._client.exists(keys.events)


@pytest.fixture
def expire_on():
    return let_run_out


@pytest.mark.catalogue("A13")
async def test_a_bomb_in_a_conversation_makes_it_unknown_and_nothing_else(fresh, caplog):
    async with opened(fresh.url, codec=Codec(max_bytes=2**20)) as store:
        kept = conversations(store)
        one, other = await created(kept, entry("a")), await created(kept, entry("a"))
        [key] = await store._client.keys(f"*:ci:{one.id}")
        await store._client.rpush(key, b'"b"\n' + BOMB)
        caplog.clear()
        assert await kept.get(one.id, "alice") is None
        assert broken_lines(caplog) == [f"read_broken id={one.id} reason=size"]
        assert await kept.get(other.id, "alice") == other
        assert await kept.delete(one.id, "alice")


async def test_a_page_ends_when_it_holds_enough_and_the_next_goes_on(fresh, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(commands, "PAGE_BYTES", 1000)
    async with opened(fresh.url) as store:
        kept = record()
        await store.create(kept)
        events = events_of(kept)[:1]
        for number in range(1, 10):
            draft = Draft("response.in_progress", {"response": {"id": kept.id, "n": "x" * 700}})
            events.append(Event.of(draft, number, None))
        for event in events:  # each an entry of its own
            assert await append(store, kept, [event]) is Verdict.APPENDED
        end = events_of(kept)[-1]
        end = Event.of(Draft(end.type, {"response": end.json()["response"]}), len(events), None)
        reading = asyncio.create_task(collect(store, kept))
        running = await store.get(kept.id, "alice")
        assert running is not None
        assert running.number == len(events) - 1
        claim = await taken_over(store, kept)
        assert list(claim.events) == events
        assert await append(store, kept, [end], claim.lease.fence) is Verdict.APPENDED
        assert await reading == [*events, end]
        assert await collect(store, kept) == [*events, end]
    assert caplog.messages == []


async def taken_over(store, kept):
    async def expire(one):
        await let_run_out(store, one)

    return await taken(store, kept, expire)


@pytest.mark.catalogue("A3")
@pytest.mark.parametrize("place", ["input", "events"])
async def test_what_another_secret_encrypted_is_not_broken_and_left_to_a_server_that_knows_it(
    fresh, caplog, expire_on, place
):
    """A claim by one that does not know it changes nothing that is kept."""
    kept = record()
    async with with_secrets(fresh, PLAIN, TWO) as knows, with_secrets(fresh, PLAIN) as other:
        await knows.create(kept, events_of(kept)[:4])
        keys = keys_of(kept.id)
        sealed = Codec(Cipher([TWO]))
        if place == "input":
            value = encode_record(kept, sealed, keys.input)
            await knows._client.set(keys.input, value, px=60_000)
        else:
            [(last, value)] = encode_entries(events_of(kept)[:4], sealed, keys.events)
            await knows._client.delete(keys.events)
            await knows._client.xadd(keys.events, {"e": value}, id=f"{last + 1}-0")
        await expire_on(other, kept)
        assert await other.claim(kept.id) is None
        assert f"claim_not_decrypted id={kept.id}" in caplog.text
        await expire_on(knows, kept)
        claim = await knows.claim(kept.id)
        assert claim is not None
        assert claim.record == kept
        assert list(claim.events) == events_of(kept)[:4]


async def test_what_an_idempotency_key_says_of_its_create_is_encrypted(fresh):
    kept, place = hold("canary-lane"), idempotency_key("canary-key", "erin")
    async with with_secrets(fresh, ONE) as store:
        await store.acquire_key("canary-key", "erin", kept)
        held = await store.scripts.call(HOLD, (place,), b"", 1, b"")
    assert b"canary" not in held
    assert kept.digest.encode() not in held
    assert held.split(b" ", 2)[2][:1] == ENCRYPTED
    async with with_secrets(fresh, TWO, ONE) as store:
        assert await store.find_key("canary-key", "erin") == kept
        begun = replace(kept, is_begun=True)
        assert await store.acquire_key("canary-key", "erin", begun) == begun
        await store.release_key("canary-key", "erin", begun)
        assert await store.find_key("canary-key", "erin") is None
