"""Responses whose server has died: one of the others ends them, or generates them again.

Servers are real registries on one store; a server dies by never doing anything again, and the
lease runs out because the test turns the clock.
"""

import asyncio

import pytest
from support.fake_clock import (
    OWNER,
    FakeClock,
    FaultyStore,
    declared_gaps,
    let_others_run,
    wait_until,
)
from support.scripted_upstream import (
    Scripted,
    answer,
    completed,
    done_item,
    keys_over,
    lineage_over,
    message,
    opening,
)

from ws_bridge.errors import ModelNotFound, StoreUnavailable
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.registry import JobPolicy, JobRegistry
from ws_bridge.jobs.spec import Create, Timing
from ws_bridge.jobs.takeover import SEARCH_SECONDS, Takeover
from ws_bridge.logs import CALLER, Caller
from ws_bridge.protocol.events import CREATED, TERMINAL
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.base import Lease, Verdict, Write
from ws_bridge.upstream.base import ABANDONED, Target

LEASE_SECONDS = 15.0
NEVER = Timing(created_after=10_000.0, keepalive=0.0)  # a dead server publishes nothing by itself
TARGET = Target("m", "openai/m")
NATIVE = Target("n", "openai/n", native_background=True)
HELLO = done_item("Hello")


class Brittle(FaultyStore):
    """A store in which one record cannot be read."""

    bad = ""

    async def claim(self, response_id):
        if response_id == self.bad:
            raise ValueError("unreadable")
        return await super().claim(response_id)


class Fleet:
    """Servers on one store."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Brittle(self.clock.now, LEASE_SECONDS)
        self.tasks: list[asyncio.Task[None]] = []
        self.jobs: list[Job] = []

    def server(self, *scripts, models=(TARGET, NATIVE)) -> "Server":
        return Server(self, Scripted(*scripts), {model.name: model for model in models})

    async def let_leases_run_out(self) -> None:
        self.clock.advance(LEASE_SECONDS + 1)
        await let_others_run()

    async def get(self, response_id):
        return await self.store.get(response_id, OWNER)

    def types(self, response_id) -> list[str]:
        return [event.type for event in self.store.log(response_id)]


class Server:
    """One server: until it lives, nothing but creations and ends gets to the store."""

    def __init__(self, fleet: Fleet, upstream: Scripted, models: dict[str, Target]) -> None:
        self.fleet, self.upstream, self.models = fleet, upstream, models
        clock = fleet.clock.clock()
        self.mirror = Mirror(fleet.store, MirrorTiming(end_waits=0, flush=0.0), clock)
        self.jobs = JobRegistry(
            upstream=upstream,
            find_target=self.find,
            lineage=lineage_over(fleet.store),
            keys=keys_over(fleet.store, clock),
            mirror=self.mirror,
            observe=lambda _: None,
            policy=JobPolicy(timing=NEVER),
            clock=clock,
        )
        self.takeover = Takeover(fleet.store, self.jobs, clock)

    def find(self, name: str, _maker: str = "") -> Target:
        if name not in self.models:
            raise ModelNotFound(name)
        return self.models[name]

    def live(self) -> None:
        """Mirror, from now on."""
        self.fleet.tasks.append(asyncio.create_task(self.mirror.run()))

    async def start(self, *, model="m", transport="background", **fields):
        fields = {"background": transport == "background", "input": "hi", **fields}
        request = parse_create({"model": model, **fields})
        job = await self.jobs.start(Create(request, OWNER, transport))
        self.fleet.jobs.append(job)
        return job

    async def die_after(self, job, number: int) -> None:
        """Everything up to this event is stored, and nothing more ever comes."""
        await wait_until(lambda: job.stream.events and job.stream.events[-1].number == number)
        await self.mirror.drain()
        await self.fleet.let_leases_run_out()

    async def end_of(self, response_id) -> None:
        await wait_until(lambda: not self.jobs.runs(response_id))


@pytest.fixture
async def fleet():
    one = Fleet()
    yield one
    names = {job.id for job in one.jobs}
    tasks = [*one.tasks, *(task for task in asyncio.all_tasks() if task.get_name() in names)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Generated again


async def test_a_response_of_which_nothing_was_seen_is_generated_again(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("Hello"))
    job = await first.start()
    created_at = job.snapshot()["created_at"]
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    await second.end_of(job.id)
    snapshot = await fleet.get(job.id)
    assert (snapshot.response["id"], snapshot.status) == (job.id, "completed")
    assert snapshot.response["output"] == [HELLO]
    assert snapshot.response["created_at"] == created_at
    assert snapshot.response["background"] is True
    assert declared_gaps(fleet.store.log(job.id)) == []
    types = fleet.types(job.id)
    assert types.count(CREATED) == 1
    assert [type_ in TERMINAL for type_ in types].count(True) == 1
    assert second.takeover.taken == 1


async def test_it_is_asked_what_the_first_server_was_asked(fleet):
    first = fleet.server(answer("Hello"), [asyncio.Event()])
    second = fleet.server(answer("Hello"))
    parent = await first.start(transport="http", background=False)
    await parent.stream.wait_until_closed()
    job = await first.start(previous_response_id=parent.id, temperature=0.5, input="and then?")
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    await second.end_of(job.id)
    [asked] = second.upstream.requests
    assert asked.input() == first.upstream.requests[1].input()
    assert len(asked.input()) == 3
    assert asked.options == first.upstream.requests[1].options
    assert (await fleet.get(job.id)).status == "completed"


async def test_two_servers_that_look_at_once_generate_it_once(fleet):
    first = fleet.server([asyncio.Event()])
    others = [fleet.server(answer("Hello")), fleet.server(answer("Hello"))]
    job = await first.start()
    await first.die_after(job, 1)
    await asyncio.gather(*(other.takeover.settle(job.id) for other in others))
    for other in others:
        await other.end_of(job.id)
    assert sum(len(other.upstream.requests) for other in others) == 1
    assert (await fleet.get(job.id)).status == "completed"


async def test_a_server_that_comes_back_ends_its_own_stream_and_writes_nothing(fleet):
    gate = asyncio.Event()
    first, second = fleet.server([gate, *answer("late")]), fleet.server(answer("Hello"))
    job = await first.start()
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    await second.end_of(job.id)
    log = fleet.store.log(job.id)
    first.live()
    gate.set()
    await job.stream.wait_until_closed()
    assert job.result["status"] == "failed"
    assert job.result["error"]["message"] == "Another server has taken over the response."
    assert [event.is_terminal for event in job.stream.events].count(True) == 1
    await first.end_of(job.id)
    assert fleet.store.log(job.id) == log
    assert first.upstream.open_now == 0


@pytest.mark.catalogue("W9")
async def test_after_two_attempts_it_fails(fleet):
    servers = [fleet.server([asyncio.Event()]) for _ in range(3)]
    job = await servers[0].start()
    await servers[0].die_after(job, 1)
    await servers[1].takeover.settle(job.id)
    await wait_until(lambda: servers[1].upstream.requests)
    await fleet.let_leases_run_out()
    await servers[2].takeover.settle(job.id)
    assert servers[2].upstream.requests == []
    assert (await fleet.get(job.id)).status == "failed"
    await fleet.let_leases_run_out()
    assert await fleet.store.find_overdue() == []
    assert [type_ in TERMINAL for type_ in fleet.types(job.id)].count(True) == 1


# The moments around a death


@pytest.mark.catalogue("W4")
async def test_a_server_that_dies_before_its_claim_leaves_the_response_to_the_next(fleet):
    first, third = fleet.server([asyncio.Event()]), fleet.server(answer("Hello"))
    job = await first.start()
    await first.die_after(job, 1)
    assert await fleet.store.find_overdue() == [job.id]  # found by the second, which is no more
    [found] = await fleet.store.find_overdue()
    await third.takeover.settle(found)
    await third.end_of(job.id)
    assert (await fleet.get(job.id)).status == "completed"
    assert len(third.upstream.requests) == 1


@pytest.mark.catalogue("W5")
async def test_a_server_that_dies_after_its_claim_writes_nothing_more(fleet):
    """It may have asked a provider, so its attempt counts; the next one ends the response."""
    first, third = fleet.server([asyncio.Event()]), fleet.server(answer("again"))
    job = await first.start()
    await first.die_after(job, 1)
    claim = await fleet.store.claim(job.id)  # the second, which is no more
    assert claim.may_run
    await fleet.let_leases_run_out()
    await third.takeover.settle(job.id)
    assert (await fleet.get(job.id)).status == "failed"
    assert third.upstream.requests == []
    log = fleet.store.log(job.id)
    for fence in (1, claim.lease.fence):
        [receipt] = await fleet.store.append([Write(Lease(job.id, fence), job.stream.events)])
        assert receipt.verdict in (Verdict.FENCED, Verdict.ENDED)
    assert fleet.store.log(job.id) == log


async def begin_gated(fleet):
    """A turn on a socket that is about to end, and its log so far."""
    gate = asyncio.Event()
    first, second = fleet.server([*answer("Hello")[:-1], gate, answer("Hello")[-1]]), fleet.server()
    job = await first.start(transport="websocket")
    await wait_until(lambda: len(job.stream.events) == len(answer("Hello")) - 1)
    await first.mirror.drain()
    return job, gate, second


@pytest.mark.catalogue("W6")
async def test_an_end_that_was_stored_is_the_end_though_it_was_not_published(fleet):
    job, gate, second = await begin_gated(fleet)
    fleet.store.answers.append(asyncio.Event())  # of a store whose answer meets a dead server
    gate.set()
    await wait_until(lambda: fleet.store.log(job.id)[-1].is_terminal)
    assert not job.stream.events[-1].is_terminal
    await fleet.let_leases_run_out()
    await second.takeover.settle(job.id)
    snapshot = await fleet.get(job.id)
    assert (snapshot.status, snapshot.response["output"]) == ("completed", [HELLO])
    seen = job.stream.events[-1].number
    reader = fleet.store.read(job.id, OWNER, after=seen)
    assert [event.type async for batch in reader for event in batch] == ["response.completed"]


@pytest.mark.catalogue("W6")
async def test_an_end_that_was_published_and_not_stored_is_a_failure_for_all_later_readers(fleet):
    """What a reader beyond the log gets is in ``store/redis/test_store.py``."""
    job, gate, second = await begin_gated(fleet)
    fleet.store.is_away = True
    gate.set()
    await job.stream.wait_until_closed()
    assert job.stream.events[-1].type == "response.completed"
    fleet.store.is_away = False
    fleet.jobs.clear()  # the first server is no more
    await fleet.let_leases_run_out()
    await second.takeover.settle(job.id)
    snapshot = await fleet.get(job.id)
    assert (snapshot.status, snapshot.response["output"]) == ("failed", [HELLO])


# Ended


async def test_what_had_output_fails_and_keeps_it(fleet):
    begun = [*opening(), *message("Hel", "lo")[:3]]
    first, second = fleet.server([*begun, asyncio.Event()]), fleet.server(answer("again"))
    job = await first.start()
    await first.die_after(job, 5)
    await second.takeover.settle(job.id)
    snapshot = await fleet.get(job.id)
    assert snapshot.status == "failed"
    assert snapshot.response["error"]["code"] == "server_error"
    [item] = snapshot.response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Hel")
    assert [type_ in TERMINAL for type_ in fleet.types(job.id)].count(True) == 1
    assert declared_gaps(fleet.store.log(job.id)) == []
    assert second.upstream.requests == []


@pytest.mark.parametrize("transport", ["websocket", "http", "sse"])
async def test_a_response_that_a_client_was_reading_is_never_generated_again(fleet, transport):
    first, second = fleet.server([*opening(), asyncio.Event()]), fleet.server(answer("again"))
    job = await first.start(transport=transport)
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    assert (await fleet.get(job.id)).status == "failed"
    assert second.upstream.requests == []


async def test_a_background_stream_is_never_generated_again(fleet):
    """Its client may have seen what the store did not."""
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("again"))
    job = await first.start(stream=True)
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    assert (await fleet.get(job.id)).status == "failed"


async def test_what_was_to_be_cancelled_is_cancelled(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("again"))
    job = await first.start()
    await first.die_after(job, 1)
    await fleet.store.cancel(job.id, OWNER)
    await second.takeover.settle(job.id)
    snapshot = await fleet.get(job.id)
    assert (snapshot.status, snapshot.response["error"]) == ("cancelled", None)
    assert second.upstream.requests == []


async def test_a_response_whose_model_is_gone_fails_with_the_reason(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("x"), models=())
    job = await first.start()
    await first.die_after(job, 1)
    await second.takeover.settle(job.id)
    snapshot = await fleet.get(job.id)
    assert snapshot.status == "failed"
    assert "m" in snapshot.response["error"]["message"]


async def test_what_goes_on_from_a_deleted_response_fails(fleet):
    first, second = fleet.server(answer("1"), [asyncio.Event()]), fleet.server(answer("x"))
    parent = await first.start(transport="http", background=False)
    await parent.stream.wait_until_closed()
    job = await first.start(previous_response_id=parent.id)
    await first.die_after(job, 1)
    await fleet.store.delete(parent.id, OWNER)
    await second.takeover.settle(job.id)
    assert (await fleet.get(job.id)).status == "failed"


# Left alone


async def test_what_is_not_overdue_is_left_alone(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("x"))
    job = await first.start()
    await second.takeover.settle(job.id)
    await second.takeover.settle("resp_unknown")
    assert second.takeover.taken == 0
    assert (await fleet.get(job.id)).status == "queued"


async def test_a_server_never_takes_its_own_running_response(fleet):
    server = fleet.server([asyncio.Event()])
    job = await server.start()
    await fleet.let_leases_run_out()
    await server.takeover.settle(job.id)
    assert server.takeover.taken == 0
    await server.mirror.drain()  # its next write renews the lease
    assert await fleet.store.find_overdue() == []
    assert not job.stream.is_closed


async def test_nor_one_whose_end_is_still_on_its_way_to_the_store(fleet):
    gate = asyncio.Event()
    server = fleet.server([gate, *answer("Hello")])
    job = await server.start()
    fleet.store.is_away = True
    gate.set()
    await job.stream.wait_until_closed()
    await wait_until(lambda: not server.jobs.running())
    await fleet.let_leases_run_out()
    fleet.store.is_away = False
    await server.takeover.settle(job.id)
    assert server.takeover.taken == 0
    server.live()
    await server.end_of(job.id)
    assert (await fleet.get(job.id)).status == "completed"


async def test_a_server_that_goes_down_takes_nothing_over(fleet):
    first, stopping, staying = (fleet.server([asyncio.Event()]) for _ in range(3))
    job = await first.start()
    await first.die_after(job, 1)
    await stopping.jobs.drain(0, asyncio.Event())
    await stopping.takeover.settle(job.id)
    assert stopping.takeover.taken == 0
    await staying.takeover.settle(job.id)
    assert staying.jobs.runs(job.id)


async def test_a_server_that_begins_to_go_down_gives_back_what_it_has_claimed(fleet, monkeypatch):
    first = fleet.server(answer("1"), [asyncio.Event()])
    stopping = fleet.server(answer("x"))
    parent = await first.start(transport="http", background=False)
    await parent.stream.wait_until_closed()
    job = await first.start(previous_response_id=parent.id)
    await first.die_after(job, 1)
    looking, gate, get_chain = asyncio.Event(), asyncio.Event(), fleet.store.get_chain

    async def slow_chain(*asked):
        looking.set()
        await gate.wait()
        return await get_chain(*asked)

    monkeypatch.setattr(fleet.store, "get_chain", slow_chain)
    settling = asyncio.create_task(stopping.takeover.settle(job.id))
    await looking.wait()
    await stopping.jobs.drain(0, asyncio.Event())
    gate.set()
    await settling
    assert (await fleet.get(job.id)).status == "queued"
    assert await fleet.store.find_overdue() == [job.id]
    assert stopping.upstream.requests == []


# The provider's own background


async def test_background_options_outlive_the_server_that_was_asked(fleet):
    """The next one knows how long the provider may take, and what belongs together."""
    options = {"completion_window": "2h", "continuation_id": "customer-1"}
    first = fleet.server([*answer("x")[:2], asyncio.Event()])
    second = fleet.server(answer("x"))
    job = await first.start(model="n", background_options=options)
    await wait_until(lambda: first.upstream.requests)
    await fleet.let_leases_run_out()
    await second.takeover.settle(job.id)
    await second.end_of(job.id)
    for server in (first, second):
        [asked] = server.upstream.requests
        assert asked.background_options == options


async def test_what_a_provider_makes_by_itself_goes_on_where_the_log_ends(fleet):
    drafts = answer("Hel", "lo")
    first = fleet.server([*drafts[:5], asyncio.Event()])
    second = fleet.server(drafts)
    job = await first.start(model="n")
    await wait_until(lambda: len(job.stream.events) == 6)  # queued by the bridge, and the drafts
    await first.mirror.drain()
    await fleet.let_leases_run_out()
    await second.takeover.settle(job.id)
    await second.end_of(job.id)
    [asked] = second.upstream.requests
    assert (asked.background, asked.background_id) == (True, "resp_upstream")
    snapshot = await fleet.get(job.id)
    assert (snapshot.status, snapshot.response["output"]) == ("completed", [HELLO])
    log = fleet.store.log(job.id)
    assert declared_gaps(log) == []
    deltas = [event.json()["delta"] for event in log if event.type.endswith("text.delta")]
    assert deltas == ["Hel", "lo"]
    assert fleet.types(job.id).count(CREATED) == 1


@pytest.mark.catalogue("U17")
async def test_it_goes_on_as_often_as_servers_die(fleet):
    drafts = answer("Hel", "lo")
    servers = [fleet.server([*drafts[: 3 + at], asyncio.Event()]) for at in range(4)]
    last = fleet.server(drafts)
    job = await servers[0].start(model="n")
    for server, successor in zip(servers, [*servers[1:], last], strict=True):
        await wait_until(lambda server=server: server.upstream.requests)
        await let_others_run()
        await server.mirror.drain()
        await fleet.let_leases_run_out()
        await successor.takeover.settle(job.id)
    await last.end_of(job.id)
    log = fleet.store.log(job.id)
    assert (await fleet.get(job.id)).status == "completed"
    assert len(log) == len(drafts) + 1  # and `queued`
    assert declared_gaps(log) == []


async def test_the_old_server_leaves_a_providers_response_to_the_new_one(fleet):
    """Once it is taken over, it closes its connection; the provider continues."""
    first = fleet.server([*opening(), asyncio.Event()])
    second = fleet.server([*opening(), asyncio.Event()])
    job = await first.start(model="n")
    await wait_until(lambda: len(job.stream.events) == 3)
    await first.mirror.drain()
    await fleet.let_leases_run_out()
    await second.takeover.settle(job.id)
    await first.mirror.drain()
    await job.stream.wait_until_closed()
    [left], [running] = first.upstream.answers, second.upstream.answers
    assert left.closes == [(ABANDONED, True)]
    assert running.closes == []


# The search


async def test_it_looks_every_two_seconds_or_so_and_goes_on_after_an_outage(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server(answer("Hello"))
    job = await first.start()
    search = asyncio.create_task(second.takeover.run())
    fleet.tasks.append(search)
    await first.die_after(job, 1)
    claim, fleet.store.claim = fleet.store.claim, away
    fleet.clock.advance(2 * SEARCH_SECONDS)
    await let_others_run()
    assert second.takeover.taken == 0
    fleet.store.claim = claim
    fleet.clock.advance(2 * SEARCH_SECONDS)
    await wait_until(lambda: second.takeover.taken)
    await second.end_of(job.id)
    assert (await fleet.get(job.id)).status == "completed"


async def away(_response_id):
    raise StoreUnavailable


async def test_one_bad_record_does_not_end_the_search(fleet):
    first, second = fleet.server([asyncio.Event()]), fleet.server([*opening(), completed()])
    bad, good = await first.start(), await first.start()
    fleet.store.bad = bad.id
    fleet.tasks.append(asyncio.create_task(second.takeover.run()))
    await first.mirror.drain()
    await fleet.let_leases_run_out()
    fleet.clock.advance(2 * SEARCH_SECONDS)
    await let_others_run()
    await wait_until(lambda: second.takeover.taken)
    await second.end_of(good.id)
    assert (await fleet.get(good.id)).status == "completed"


async def test_what_it_used_is_booked_once_by_the_server_whose_end_counts(fleet):
    """To the key that asked, whoever ends it: generated again, or ended as failed."""
    token = CALLER.set(Caller("request", "peer", "team"))
    dying = fleet.server([*opening(), *message("Hel", "lo")[:3], asyncio.Event()])
    lost = await dying.start(transport="websocket")
    moved = fleet.server([asyncio.Event()])
    moving = await moved.start()
    CALLER.reset(token)
    await dying.die_after(lost, 4)
    await moved.die_after(moving, 1)
    other = fleet.server(answer("Hello"))
    for job in (lost, moving):
        await other.takeover.settle(job.id)
    await other.end_of(moving.id)
    [usage] = await fleet.store.read_usage(1)
    assert (usage.key, usage.model) == ("team", "m")
    expected = {"failed": 1, "completed": 1, "input_tokens": 3, "output_tokens": 2}
    assert usage.counts == expected
