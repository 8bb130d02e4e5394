"""Which of several creates with one key is made, whatever becomes of the servers meanwhile.

Servers are real registries on one store; a server dies by never doing anything again.
"""

import asyncio
from dataclasses import replace

import pytest
from jobs.test_takeover import Fleet
from support.fake_clock import OWNER, let_others_run, wait_until
from support.hang import HANG_SECONDS
from support.scripted_upstream import answer, completed, done_item, message, opening

from ws_bridge.errors import (
    IdempotencyKeyReused,
    ServerDraining,
    StoreUnavailable,
    UpstreamError,
)
from ws_bridge.jobs.idempotency import LOOK_SECONDS, RECORD_SECONDS, FoundResponse
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.spec import Create
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.base import KeyHold, Record

KEY = "k"


@pytest.fixture
async def fleet():
    one = Fleet()
    yield one
    for job in one.jobs:
        job.stop_soon(StoreUnavailable())
    for task in one.tasks:
        task.cancel()
    await asyncio.gather(*one.tasks, return_exceptions=True)


def create(lane=None, transport="websocket", **fields):
    body = {"model": "m", "input": "hi", "idempotency_key": KEY, **fields}
    return Create(parse_create(body), OWNER, transport, lane)


async def start(server, asked=None):
    async with asyncio.timeout(HANG_SECONDS):
        begun = await server.jobs.start_or_find(asked or create())
    if isinstance(begun, Job):
        server.fleet.jobs.append(begun)
    return begun


async def collect(found):
    async with asyncio.timeout(HANG_SECONDS):
        return [event async for batch in found.events for event in batch]


async def held(fleet):
    return await fleet.store.find_key(KEY, OWNER)


async def pass_until(fleet, task):
    """Let time pass, a look at a time; how long it took."""
    began = fleet.clock.time
    while not task.done():
        fleet.clock.advance(LOOK_SECONDS)
        await let_others_run()
    return fleet.clock.time - began


async def test_the_store_knows_key_and_record_before_the_provider_is_asked(fleet):
    server = fleet.server([asyncio.Event()])
    asked = []
    upstream_open = server.upstream.open

    async def open_later(request):
        asked.append((await held(fleet), await fleet.get(request.response_id)))
        return await upstream_open(request)

    server.upstream.open = open_later
    job = await start(server, create("main"))
    await wait_until(lambda: asked)
    [(hold, snapshot)] = asked
    assert hold == KeyHold(job.id, create().request.digest, "main", is_begun=True)
    assert (snapshot.record.id, snapshot.number) == (job.id, -1)


async def test_created_is_in_the_store_before_it_is_published(fleet):
    asked, gate = asyncio.Event(), asyncio.Event()
    server = fleet.server([asked, *opening(), asyncio.Event()])
    job = await start(server)
    fleet.store.gates.append(gate)
    asked.set()
    await let_others_run()
    assert job.stream.events == []
    gate.set()
    await wait_until(lambda: job.stream.events)
    assert fleet.store.log(job.id)[:1] == job.stream.events[:1]


async def test_the_second_of_two_servers_follows_the_first(fleet):
    gate = asyncio.Event()
    first, second = fleet.server([gate, *answer("Hi")]), fleet.server(answer("never"))
    job = await start(first)
    finding = asyncio.create_task(start(second))
    await let_others_run()
    assert not finding.done()  # it has no event yet
    gate.set()
    found = await finding
    assert isinstance(found, FoundResponse)
    assert await collect(found) == job.stream.events
    assert second.upstream.requests == []


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_key_without_a_record_is_free_after_two_seconds(fleet, is_begun):
    """Its server died in between, or the record is gone."""
    await fleet.store.acquire_key(
        KEY, OWNER, KeyHold("resp_lost", create().request.digest, None, is_begun)
    )
    server = fleet.server(answer("Hi"))
    finding = asyncio.create_task(server.jobs.find_earlier(create()))
    assert RECORD_SECONDS <= await pass_until(fleet, finding) < RECORD_SECONDS + 1
    assert await finding is None
    assert await held(fleet) is None
    job = await start(server)
    await job.stream.wait_until_closed()
    assert (await held(fleet)).response_id == job.id


async def test_a_record_that_comes_in_time_is_waited_for(fleet):
    first, second = fleet.server(answer("Hi")), fleet.server(answer("never"))
    gate = asyncio.Event()
    fleet.store.gates.append(gate)  # of the creation of the record
    beginning = asyncio.create_task(start(first))
    await let_others_run()
    assert not (await held(fleet)).is_begun
    finding = asyncio.create_task(start(second))
    for _ in range(3):
        fleet.clock.advance(LOOK_SECONDS)
        await let_others_run()
    gate.set()
    await pass_until(fleet, finding)
    assert await collect(await finding) == (await beginning).stream.events
    assert second.upstream.requests == []


async def test_a_server_that_was_too_slow_to_store_its_record_makes_nothing(fleet):
    """The key was free meanwhile, and another server has made the response."""
    first, second = fleet.server(answer("never")), fleet.server(answer("Hi"))
    first.live()
    gate = asyncio.Event()
    fleet.store.gates.append(gate)
    beginning = asyncio.create_task(start(first))
    await let_others_run()
    slow = await held(fleet)
    making = asyncio.create_task(second.jobs.find_earlier(create()))
    await pass_until(fleet, making)
    made = await start(second)
    gate.set()
    found = await beginning
    assert isinstance(found, FoundResponse)
    assert found.id == made.id != slow.response_id
    assert first.upstream.requests == []
    await wait_until(lambda: slow.response_id in fleet.store.deleted)


async def test_a_client_that_leaves_while_the_key_is_acquired_leaves_a_response_that_runs(fleet):
    server = fleet.server([*opening(), *message("Hi"), completed(done_item("Hi"))])
    gate = asyncio.Event()
    fleet.store.gates.append(gate)
    beginning = asyncio.create_task(start(server))
    await let_others_run()
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    gate.set()
    found = await start(server)
    assert (await collect(found))[-1].json()["response"]["status"] == "completed"
    assert len(server.upstream.requests) == 1


async def test_what_a_provider_refuses_leaves_neither_key_nor_record(fleet):
    server = fleet.server([UpstreamError("No.", status=429)], answer("Hi"))
    server.live()
    job = await start(server)
    await job.stream.wait_until_closed()
    assert job.stream.error.status == 429
    assert await held(fleet) is None  # before its client knows
    await wait_until(lambda: job.id in fleet.store.deleted)
    assert isinstance(await start(server), Job)


async def test_a_store_that_fails_in_the_middle_leaves_the_key_free(fleet):
    server = fleet.server(answer("Hi"))
    server.live()
    acquire = fleet.store.acquire_key

    async def acquire_once(key, owner, hold):
        if hold.is_begun:
            fleet.store.acquire_key = acquire
            raise StoreUnavailable
        return await acquire(key, owner, hold)

    fleet.store.acquire_key = acquire_once
    with pytest.raises(StoreUnavailable):
        await start(server)
    assert await held(fleet) is None
    assert server.upstream.requests == []
    await wait_until(lambda: fleet.store.deleted)
    assert isinstance(await start(server), Job)


async def test_a_record_that_cannot_be_stored_is_a_refusal(fleet):
    """Without a key the response would begin all the same."""
    server = fleet.server(answer("Hi"))
    fleet.store.refused = AllIds()
    with pytest.raises(StoreUnavailable):
        await start(server)
    assert await held(fleet) is None
    assert server.upstream.requests == []


class AllIds(set):
    """A set that has everything."""

    def __contains__(self, _: object) -> bool:
        return True


async def test_a_server_that_dies_before_created_leaves_a_failed_response_and_no_second_one(fleet):
    """Its provider may have been asked. The response begins and ends, on the lane of its create."""
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("never"))
    asked = create("main", instructions="Be brief.", metadata={"a": "b"})
    job = await start(first, asked)
    await wait_until(lambda: first.upstream.requests)
    await fleet.let_leases_run_out()
    finding = asyncio.create_task(start(second, asked))
    await let_others_run()
    await second.takeover.settle(job.id)
    events = [event.json() for event in await collect(await finding)]
    kinds = ["response.created", "response.in_progress", "response.failed"]
    assert [event["type"] for event in events] == kinds
    assert [event["sequence_number"] for event in events] == [0, 1, 2]
    assert {event["stream_id"] for event in events} == {"main"}
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert (response["model"], response["metadata"]) == ("m", {"a": "b"})
    assert response["created_at"] == int(fleet.clock.now())
    assert second.upstream.requests == []


async def test_what_was_cancelled_before_its_server_died_is_cancelled(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("never"))
    job = await start(first)
    fleet.store.set_callbacks(on_cancelled=lambda _: None, on_followed=lambda _: None)
    await fleet.store.cancel(job.id, OWNER)
    await fleet.let_leases_run_out()
    await second.takeover.settle(job.id)
    events = [event.json() for event in fleet.store.log(job.id)]
    assert [event["sequence_number"] for event in events] == [0, 1, 2]
    assert events[-1]["response"]["status"] == "cancelled"


async def test_a_background_create_is_found_as_what_its_successor_makes(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("Hi"))
    asked = create(transport="background", background=True)
    job = await start(first, asked)
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    found = await start(second, asked)
    assert (await collect(found))[-1].json()["response"]["status"] == "completed"
    assert found.id == job.id
    assert len(second.upstream.requests) == 1


async def test_the_record_has_the_create_and_not_its_key(fleet):
    server = fleet.server([asyncio.Event()])
    job = await start(server, create("main"))
    kept = (await fleet.get(job.id)).record
    assert kept.request == {
        "model": "m",
        "store": True,
        "stream": False,
        "background": False,
        "generate": True,
        "stream_id": "main",
    }
    assert not kept.may_run_again


async def test_a_record_that_tells_too_little_is_ended_all_the_same(fleet):
    """As one that a release without keys has written, whose events were lost."""
    server = fleet.server(answer("never"))
    one = Record("resp_" + "0" * 48, OWNER, (), "openai|")
    await fleet.store.create(one)
    await fleet.let_leases_run_out()
    await server.takeover.settle(one.id)
    assert fleet.types(one.id) == ["response.failed"]


@pytest.mark.parametrize(
    "other",
    [create(input="ho"), create("main"), create(temperature=0)],
)
async def test_a_key_of_another_create_is_refused(fleet, other):
    server = fleet.server([*opening(), asyncio.Event()])
    await start(server)
    for find in (server.jobs.find_earlier, server.jobs.start_or_find):
        with pytest.raises(IdempotencyKeyReused):
            await find(other)


async def test_http_finds_what_any_lane_has_begun(fleet):
    server = fleet.server(answer("Hi"))
    job = await start(server, create("main"))
    found = await start(server, create(transport="http"))
    assert await collect(found) == job.stream.events


async def test_a_create_without_a_key_finds_nothing(fleet):
    server = fleet.server([*opening(), asyncio.Event()])
    await start(server)
    plain = create()
    plain = replace(plain, request=parse_create({"model": "m", "input": "hi"}))
    assert await server.jobs.find_earlier(plain) is None
    assert isinstance(await start(server, plain), Job)
    assert len(server.upstream.requests) >= 1


async def test_a_server_that_goes_down_finds_and_begins_nothing(fleet):
    server, other = fleet.server([asyncio.Event()]), fleet.server([asyncio.Event()])
    force = asyncio.Event()
    force.set()
    await server.jobs.drain(0, force)
    with pytest.raises(ServerDraining):
        await server.jobs.find_earlier(create())
    # What had acquired its key, and was not begun yet when the drain came.
    gate = asyncio.Event()
    fleet.store.gates.append(gate)
    beginning = asyncio.create_task(start(other))
    await let_others_run()
    draining = asyncio.create_task(other.jobs.drain(0, force))
    await let_others_run()
    gate.set()
    with pytest.raises(ServerDraining):
        await beginning
    await draining
    assert await held(fleet) is None
    assert other.upstream.requests == []
