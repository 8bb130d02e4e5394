"""A log is read to its end, or the reader is told that it was not."""

import asyncio

import pytest
from support.fake_clock import OWNER, FakeClock, FaultyStore, ScriptedResponse, let_others_run

from ws_bridge.errors import ResponseNotFound, ServerDraining, StoreUnavailable
from ws_bridge.jobs.log_reader import LogReader
from ws_bridge.store.base import Lease, Write


@pytest.fixture
def store():
    return FaultyStore(FakeClock().now)


@pytest.fixture
async def one(store):
    made = ScriptedResponse()
    await store.create(made.record)
    return made


async def append(store, one, *events):
    await store.append([Write(Lease(one.id, 1), events)])


async def collect(batches):
    return [event async for batch in batches for event in batch]


@pytest.mark.parametrize("after", [-1, 1])
async def test_a_log_is_read_to_its_end(store, one, after):
    await append(store, one, *one.events[:3])
    reading = asyncio.create_task(collect(LogReader(store).read(one.id, OWNER, after=after)))
    await let_others_run()
    assert not reading.done()
    await append(store, one, *one.events[3:])
    assert await reading == one.events[after + 1 :]


async def test_what_is_gone_before_its_end_is_not_found(store, one):
    await append(store, one, *one.events[:3])
    reading = asyncio.create_task(collect(LogReader(store).read(one.id, OWNER)))
    await let_others_run()
    await store.delete(one.id, OWNER)
    with pytest.raises(ResponseNotFound):
        await reading


async def test_what_is_there_and_was_not_read_to_its_end_is_unavailable(store, one):
    await append(store, one, *one.events[:3])
    read = store.read

    async def cut_off(*asked, **named):
        async for batch in read(*asked, **named):
            yield batch
            return

    store.read = cut_off
    with pytest.raises(StoreUnavailable):
        await collect(LogReader(store).read(one.id, OWNER))


async def test_a_drain_ends_a_read_that_is_for_as_long_as_the_server_serves(store, one):
    await append(store, one, *one.events[:3])
    logs = LogReader(store)
    whole = asyncio.create_task(collect(logs.read(one.id, OWNER)))
    seen = []

    async def read():
        async for batch in logs.read_until_drained(one.id, OWNER):
            seen.extend(batch)

    reading = asyncio.create_task(read())
    await let_others_run()
    logs.drained.set()
    with pytest.raises(ServerDraining):
        await reading
    assert seen == one.events[:3]
    assert not whole.done()
    await append(store, one, *one.events[3:])
    assert await whole == one.events


async def test_a_read_that_is_cancelled_leaves_no_task(store, one):
    await append(store, one, *one.events[:3])
    known = asyncio.all_tasks()
    reading = asyncio.create_task(collect(LogReader(store).read_until_drained(one.id, OWNER)))
    await let_others_run()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await let_others_run()
    assert asyncio.all_tasks() == known


async def test_a_whole_log_is_read_until_drained_too(store, one):
    await append(store, one, *one.events)
    assert await collect(LogReader(store).read_until_drained(one.id, OWNER)) == one.events
