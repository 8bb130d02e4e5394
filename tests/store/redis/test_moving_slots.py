"""A cluster whose slots move while responses are written and followed: nothing is lost."""

import asyncio

import pytest
from store.contract import append, collect, events_of, record
from store.opened import opened, until
from support.hang import HANG_SECONDS

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.base import Verdict
from ws_bridge.store.redis import subscriptions
from ws_bridge.store.redis.keys import keys_of

DELTAS = [str(number) for number in range(60)]
RESPONSES = 12


async def persistently(step):
    """What comes of a step in the end, as a mirror repeats it."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                return await step()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def write(store, kept, moved):
    """The whole response event by event, and again while the slots have not moved."""
    events = events_of(kept, *DELTAS)
    await persistently(lambda: store.create(kept, events[:2]))
    for number in range(2, len(events) - 1):
        verdict = await persistently(lambda n=number: append(store, kept, events[n : n + 1]))
        assert verdict in (Verdict.APPENDED, Verdict.DUPLICATE)
    while not moved.is_set():
        assert await persistently(lambda: append(store, kept, [])) is Verdict.DUPLICATE
    verdict = await persistently(lambda: append(store, kept, events))
    assert verdict in (Verdict.APPENDED, Verdict.DUPLICATE)
    return events


@pytest.mark.catalogue("R23")
async def test_slots_move_under_writers_and_followers(cluster, monkeypatch):
    monkeypatch.setattr(subscriptions, "CHECK_SECONDS", 0.2)
    kept = [record() for _ in range(RESPONSES)]
    slots = {cluster.nodes[0].cli("CLUSTER", "KEYSLOT", keys_of(one.id).meta) for one in kept}
    moved = asyncio.Event()
    async with opened(cluster.url) as store, opened(cluster.url) as other:
        writers = [asyncio.create_task(write(store, one, moved)) for one in kept]
        for one in kept:
            await until(lambda one=one: exists(other, one), "it has begun")
        followers = [asyncio.create_task(collect(other, one)) for one in kept]
        back = []
        for slot in slots:
            giver = cluster.owner_of(slot)
            taker = cluster.nodes[cluster.nodes.index(giver) - 1]
            await asyncio.to_thread(cluster.move_slot, slot, giver, taker)
            back.append((slot, taker, giver))
        moved.set()
        written = await asyncio.gather(*writers)
        assert await asyncio.gather(*followers) == written
        for one, events in zip(kept, written, strict=True):
            assert await persistently(lambda one=one: collect(other, one)) == events
    for slot, taker, giver in back:  # the cluster is other tests' too
        cluster.move_slot(slot, taker, giver)


async def exists(store, kept):
    """Whether the store knows the response."""
    try:
        return await store.get(kept.id, kept.owner) is not None
    except StoreUnavailable:
        return False
