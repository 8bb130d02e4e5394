"""How large running responses may be: the counts alone, then responses that are too large."""

import asyncio

import pytest
from support.hang import HANG_SECONDS
from support.scripted_upstream import (
    Scripted,
    completed,
    done_item,
    keys_over,
    lineage_over,
    message,
    opening,
)

from ws_bridge.clock import Clock
from ws_bridge.errors import ResponseTooLarge
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.output_quotas import MIB, OutputLimits, OutputQuotas
from ws_bridge.jobs.registry import JobPolicy, JobRegistry
from ws_bridge.jobs.spec import Create
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.memory import MemoryStore
from ws_bridge.upstream.base import Target


class Counted:
    """Quotas, and the responses that were ended, in order."""

    def __init__(self, *bounds, unlimited_owner=""):
        self.of = OutputQuotas(OutputLimits(*bounds), unlimited_owner)
        self.ended = []
        self.count = {}

    def begin(self, name, owner):
        def stop(error):
            assert isinstance(error, ResponseTooLarge)
            self.ended.append(name)

        self.count[name] = self.of.start(name, owner, stop)

    def add(self, name, mib):
        self.count[name](mib * MIB)


@pytest.mark.catalogue("A7")
def test_a_response_that_is_too_large_ends_and_counts_no_more():
    counted = Counted(10, 100, 100)
    counted.begin("a", "alice")
    for _ in range(12):
        counted.add("a", 1)
    assert counted.ended == ["a"]
    assert counted.of.total == 0


@pytest.mark.catalogue("A7")
def test_of_a_key_that_holds_too_much_the_largest_ends():
    counted = Counted(100, 20, 1000)
    for name, mib in (("a", 12), ("b", 5), ("c", 3)):
        counted.begin(name, "alice")
        counted.add(name, mib)
    counted.begin("other", "bob")
    counted.add("other", 19)
    assert counted.ended == []
    counted.add("c", 1)
    assert counted.ended == ["a"]
    assert (counted.of.of_owner("alice"), counted.of.total) == (9 * MIB, 28 * MIB)


@pytest.mark.catalogue("A7")
def test_of_all_that_hold_too_much_the_largest_ends_whichever_grows():
    counted = Counted(100, 0, 20, unlimited_owner="local")
    counted.begin("a", "alice")
    counted.add("a", 18)
    counted.begin("small", "bob")
    counted.add("small", 3)
    assert counted.ended == ["a"]
    counted.of.end("small")
    assert counted.of.total == 0
    counted.add("small", 100)  # what is added after the end counts nowhere
    assert counted.of.total == 0


def test_an_owner_without_a_key_has_no_limit_per_key():
    counted = Counted(100, 1, 20, unlimited_owner="local")
    counted.begin("a", "local")
    counted.add("a", 15)
    assert counted.ended == []


class House:
    """Jobs with bounds, over a memory store."""

    def __init__(self, upstream, *bounds):
        self.upstream = upstream
        self.store = MemoryStore(max_bytes=2**28, ttl_seconds=60, now=lambda: 0.0)
        self.outputs = OutputQuotas(OutputLimits(*bounds))
        self.jobs = JobRegistry(
            upstream=upstream,
            find_target=lambda *_: Target("m", "openai/m"),
            lineage=lineage_over(self.store),
            keys=keys_over(self.store),
            mirror=Mirror(self.store, MirrorTiming(), Clock()),
            observe=lambda _: None,
            policy=JobPolicy(outputs=self.outputs),
            clock=Clock(),
        )

    async def start(self, owner="me", **fields):
        request = parse_create({"model": "m", "input": "hi", **fields})
        return await self.jobs.start(Create(request, owner, "http"))


def endless():
    """A message that never ends."""
    yield from opening()
    begun = message("x" * 100_000)
    yield from begun[:2]
    while True:
        yield begun[2]


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("store", [True, False])
async def test_endless_deltas_end_as_failed_and_the_provider_is_closed(store):
    upstream = Scripted(lambda _: endless())
    house = House(upstream, 1)
    job = await house.start(store=store)
    async with asyncio.timeout(HANG_SECONDS):
        await job.stream.wait_until_closed()
    events = job.stream.events
    assert job.result["status"] == "failed"
    assert job.result["error"] == {
        "code": "server_error",
        "message": "The response is longer than 1 MiB of events.",
    }
    assert MIB < job.stream.size < 1.2 * MIB
    assert fold(events) == events[-1].json()["response"]
    assert len(events[-1].text) < 5000  # it does not repeat all of it
    while house.jobs.running():  # noqa: ASYNC110 - the last of its task
        await asyncio.sleep(0)
    assert (upstream.open_now, upstream.closed, house.outputs.total) == (0, 1, 0)
    if store:
        snapshot = await house.store.get(job.id, "me")
        assert snapshot.response == job.result
        read = [event async for batch in house.store.read(job.id, "me") for event in batch]
        assert read == events


@pytest.mark.catalogue("A7")
async def test_the_largest_of_a_key_ends_and_the_others_go_on():
    gate = asyncio.Event()
    small = [*opening(), *message("hi"), gate, completed(done_item("hi"))]
    scripts = [small, lambda _: endless()]
    house = House(Scripted(*scripts), 100, 1, 100)
    ones = [await house.start() for _ in range(2)]
    async with asyncio.timeout(HANG_SECONDS):
        await ones[1].stream.wait_until_closed()
    assert "the largest" in ones[1].result["error"]["message"]
    assert ones[0].result is None
    gate.set()
    await ones[0].stream.wait_until_closed()
    assert ones[0].result["status"] == "completed"


@pytest.mark.catalogue("A7")
async def test_an_end_that_is_too_much_itself_is_an_end_all_the_same():
    large = done_item("x" * 2 * MIB)
    ending = Draft("response.completed", {"response": {"output": [large]}})
    house = House(Scripted([*opening(), ending]), 1)
    job = await house.start()
    async with asyncio.timeout(HANG_SECONDS):
        await job.stream.wait_until_closed()
    assert job.result["status"] == "completed"
