"""Starting, finding, chaining and draining jobs."""

import asyncio

import pytest
from scripted import Scripted, answer, completed, done_item, lineage_over, message, opening

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    ModelNotFound,
    PreviousResponseInProgress,
    PreviousResponseNotFound,
    ServerDraining,
    UpstreamError,
)
from ws_bridge.jobs import Create, Jobs, Policy, new_response_id
from ws_bridge.mirror import Mirror, Pace
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.memory import MemoryStore
from ws_bridge.upstream.routes import Route, Routes, Target

ROUTES = Routes([Route("m", Target("m", "openai/m")), Route("c", Target("c", "anthropic/c"))])


class House:
    def __init__(self, upstream):
        self.store = MemoryStore(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
        self.jobs = Jobs(
            upstream=upstream,
            find_target=ROUTES.find,
            lineage=lineage_over(self.store),
            mirror=Mirror(self.store, Pace(), Clock()),
            observe=lambda _: None,
            policy=Policy(),
            clock=Clock(),
        )

    async def start(self, owner="me", **fields):
        request = parse_create({"model": "m", "input": "hi", **fields})
        return await self.jobs.start(Create(request, owner, "http"))

    async def done(self, owner="me", **fields):
        job = await self.start(owner, **fields)
        await job.stream.wait_closed()
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
    assert (await child).plan.parent.id == first.id


async def test_a_parent_that_runs_on_is_a_conflict():
    house = House(Scripted([*opening(), asyncio.Event()]))
    first = await house.start()
    await anext(first.stream.read())
    with pytest.raises(PreviousResponseInProgress):
        await house.start(previous_response_id=first.id)
    hurry = asyncio.Event()
    hurry.set()
    await house.jobs.drain(5, hurry)


async def test_a_draining_house_starts_nothing():
    house = House(Scripted(answer("x")))
    await house.jobs.drain(0, asyncio.Event())
    with pytest.raises(ServerDraining):
        await house.start()


async def test_ids_are_long_and_of_the_contracts_form():
    ids = {new_response_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(each.startswith("resp_") and len(each) == 53 for each in ids)
