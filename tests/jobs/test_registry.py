"""Starting, finding, chaining and draining jobs."""

import asyncio
import gc
import weakref

import pytest
from support.fake_clock import wait_until
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

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    ModelNotFound,
    PreviousResponseInProgress,
    PreviousResponseNotFound,
    ResponseTooLarge,
    ServerDraining,
    UpstreamError,
)
from ws_bridge.jobs import lineage
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.registry import JobPolicy, JobRegistry, new_response_id
from ws_bridge.jobs.spec import Create, EndReason
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.base import MAX_ANCESTORS
from ws_bridge.store.memory import MemoryStore
from ws_bridge.upstream.model_table import ModelRoute, ModelTable, Target

ROUTES = ModelTable(
    [ModelRoute("m", Target("m", "openai/m")), ModelRoute("c", Target("c", "anthropic/c"))]
)


class House:
    """One server; several may share a store. A lease of theirs runs out only when it is given back.

    Without a flusher: creations and ends get to the store.
    """

    def __init__(self, upstream, store=None):
        self.store = store or MemoryStore(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
        self.jobs = JobRegistry(
            upstream=upstream,
            find_target=ROUTES.find,
            lineage=lineage_over(self.store),
            keys=keys_over(self.store),
            mirror=Mirror(self.store, MirrorTiming(end_waits=0), Clock()),
            observe=lambda _: None,
            policy=JobPolicy(),
            clock=Clock(),
        )

    async def start(self, owner="me", **fields):
        request = parse_create({"model": "m", "input": "hi", **fields})
        transport = "background" if request.background else "http"
        return await self.jobs.start(Create(request, owner, transport))

    async def drain(self):
        """Wait for nothing."""
        force = asyncio.Event()
        force.set()
        await self.jobs.drain(5, force)

    async def done(self, owner="me", **fields):
        job = await self.start(owner, **fields)
        await job.stream.wait_until_closed()
        return job


async def test_a_job_is_found_by_its_owner_while_it_runs():
    gate = asyncio.Event()
    house = House(Scripted([*opening(), gate, completed()]))
    job = await house.start()
    assert house.jobs.find(job.id, "me") is job
    assert house.jobs.find(job.id, "other") is None
    gate.set()
    await house.jobs.drain(5, asyncio.Event())
    assert house.jobs.find(job.id, "me") is None


async def test_an_unknown_model_begins_nothing():
    house = House(Scripted(answer("x")))
    with pytest.raises(ModelNotFound):
        await house.start(model="nope")
    assert house.jobs.running() == 0


async def test_a_chain_resolves_from_the_store_with_all_its_ancestors():
    upstream = Scripted(answer("1"), answer("2"), answer("3"))
    house = House(upstream)
    first = await house.done()
    second = await house.done(previous_response_id=first.id)
    await house.done(previous_response_id=second.id)
    roles = [item["role"] for item in upstream.requests[2].input()]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


async def test_failed_foreign_and_deleted_ancestors_are_not_found():
    broken = [*opening(), UpstreamError()]
    house = House(Scripted(broken, answer("1"), answer("2"), answer("3")))
    failed = await house.done()
    first = await house.done()
    second = await house.done(previous_response_id=first.id)
    for owner, parent in (("me", failed.id), ("other", second.id), ("me", "resp_none")):
        with pytest.raises(PreviousResponseNotFound):
            await house.start(owner, previous_response_id=parent)
    assert await house.store.delete(first.id, "me")
    with pytest.raises(PreviousResponseNotFound):
        await house.start(previous_response_id=second.id)


async def test_a_parent_that_is_about_to_end_is_waited_for():
    gate = asyncio.Event()
    script = [*opening(), gate, *message("x"), completed(done_item("x"))]
    house = House(Scripted(script, answer("next")))
    first = await house.start()
    await anext(first.stream.read())
    child = asyncio.create_task(house.start(previous_response_id=first.id))
    await asyncio.sleep(0)
    gate.set()
    assert (await child).spec.parent.id == first.id


async def test_a_parent_that_runs_on_is_a_conflict():
    house = House(Scripted([*opening(), asyncio.Event()]))
    first = await house.start()
    await anext(first.stream.read())
    with pytest.raises(PreviousResponseInProgress):
        await house.start(previous_response_id=first.id)
    force = asyncio.Event()
    force.set()
    await house.jobs.drain(5, force)


async def test_a_parent_that_ends_elsewhere_meanwhile_is_waited_for():
    gate = asyncio.Event()
    there = House(Scripted([*opening(), gate, *message("x"), completed(done_item("x"))]))
    here = House(Scripted(answer("next")), there.store)
    first = await there.start()
    await anext(first.stream.read())
    child = asyncio.create_task(here.start(previous_response_id=first.id))
    await asyncio.sleep(0)
    gate.set()
    parent = (await child).spec.parent
    assert (parent.id, parent.output) == (first.id, (done_item("x"),))


async def test_a_parent_that_runs_on_elsewhere_is_a_conflict(monkeypatch):
    monkeypatch.setattr(lineage, "PARENT_SECONDS", 0.01)
    there = House(Scripted([*opening(), asyncio.Event()]))
    here = House(Scripted(answer("next")), there.store)
    first = await there.start()
    await anext(first.stream.read())
    with pytest.raises(PreviousResponseInProgress):
        await here.start(previous_response_id=first.id)
    assert here.jobs.running() == 0
    await there.drain()


async def test_a_record_names_its_ancestors_the_nearest_first():
    house = House(Scripted(answer("x")))
    ids = []
    for _ in range(MAX_ANCESTORS + 2):
        job = await house.done(previous_response_id=ids[-1] if ids else None)
        record = (await house.store.get(job.id, "me")).record
        assert list(record.ancestors) == ids[::-1][:MAX_ANCESTORS]
        ids.append(job.id)


async def test_a_drain_hands_over_what_has_no_output_and_ends_the_rest():
    house = House(Scripted([asyncio.Event()], [*opening(), *message("a")[:3], asyncio.Event()]))
    unseen = await house.start(background=True)
    await asyncio.sleep(0)
    seen = await house.start(background=True)
    await wait_until(lambda: len(seen.stream.events) > 4)
    await house.drain()
    assert unseen.stream.is_closed
    assert not any(event.is_terminal for event in unseen.stream.events)
    assert await house.store.find_overdue() == [unseen.id]
    assert (await house.store.claim(unseen.id)).may_run
    ended = await house.store.get(seen.id, "me")
    assert (ended.status, ended.response["error"]["code"]) == ("failed", "server_error")
    assert ended.response["output"][0]["content"][0]["text"] == "a"


async def test_a_foreground_response_is_handed_to_no_other_server():
    house = House(Scripted([*opening(), asyncio.Event()]))
    job = await house.start()
    await anext(job.stream.read())
    await house.drain()
    assert job.result["status"] == "failed"
    assert (await house.store.get(job.id, "me")).response == job.result
    assert await house.store.find_overdue() == []


async def test_what_is_handed_over_completes_on_another_server():
    stopping = House(Scripted([asyncio.Event()]))
    staying = House(Scripted(answer("x")), stopping.store)
    job = await stopping.start(background=True)
    await stopping.drain()
    await staying.jobs.resume(await staying.store.claim(job.id))
    await staying.jobs.drain(5, asyncio.Event())
    snapshot = await staying.store.get(job.id, "me")
    assert (snapshot.status, snapshot.response["output"]) == ("completed", [done_item("x")])


async def test_what_was_begun_while_the_drain_began_ends_as_well(monkeypatch):
    """A background create waits for the store, and the server goes down meanwhile."""
    house = House(Scripted([asyncio.Event()]))
    gate, create = asyncio.Event(), house.store.create

    async def slow_create(*asked):
        await gate.wait()
        return await create(*asked)

    monkeypatch.setattr(house.store, "create", slow_create)
    starting = asyncio.create_task(house.start(background=True))
    await asyncio.sleep(0)
    await house.drain()
    gate.set()
    job = await starting
    await job.stream.wait_until_closed()
    assert await house.store.find_overdue() == [job.id]


async def test_a_draining_house_starts_nothing():
    house = House(Scripted(answer("x")))
    await house.jobs.drain(0, asyncio.Event())
    with pytest.raises(ServerDraining):
        await house.start()


async def test_ids_are_long_and_of_the_contracts_form():
    ids = {new_response_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(each.startswith("resp_") and len(each) == 53 for each in ids)


@pytest.fixture
def _uncollected():
    """Only what no object points to is freed."""
    gc.disable()
    yield
    gc.enable()


STOPS = {
    "cancelled": EndReason.CANCELLED,
    "interrupted": EndReason.INTERRUPTED,
    "shut down": EndReason.SHUTDOWN,
    "too large": ResponseTooLarge("The response is too large."),
}
SCRIPTS = {
    "failed": [*opening(), UpstreamError("no")],
    "refused": [UpstreamError("no")],
}


@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize("is_running", [False, True], ids=["at once", "on its way"])
@pytest.mark.parametrize("how", ["whole", "unstored", "steered", *SCRIPTS, *STOPS])
async def test_what_is_over_is_freed_at_once(how, is_running):
    """Its events are most of what a server holds, and the collector comes rarely."""
    gate = asyncio.Event()
    steps = SCRIPTS.get(how) or [*opening(), *message("hi"), gate, completed(done_item("hi"))]
    upstream = Scripted(steps)
    house = House(upstream)
    job = await house.start(store=how != "unstored")
    if is_running and how not in SCRIPTS:
        events = job.stream.events
        await wait_until(lambda: len(events) == 8)
    if how == "steered":
        job.steer()
    elif how in STOPS:
        job.stop_soon(STOPS[how])
    gate.set()
    await job.stream.wait_until_closed()
    ended = weakref.ref(job)
    await house.drain()
    del job
    upstream.requests.clear()
    await wait_until(lambda: ended() is None)
