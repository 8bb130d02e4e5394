"""The laws of the house, each over every recorded transcript.

The transcripts are what real calls through litellm gave (`transcripts/`), replayed through jobs,
mirror and store. The last law, that the provider's connection closes, is in
`server/test_families.py` too, with real connections.
"""

import asyncio
from functools import cache

import pytest
from support.event_checker import check_events
from support.scripted_upstream import Scripted, keys_over, lineage_over
from transcripts import load, names

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.registry import JobPolicy, JobRegistry
from ws_bridge.jobs.spec import Create, EndReason
from ws_bridge.protocol.events import TERMINAL, Draft, Event
from ws_bridge.protocol.reducer import Reducer, fold
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.base import Lease, Verdict, Write
from ws_bridge.store.memory import MemoryStore
from ws_bridge.upstream.model_table import ModelRoute, ModelTable, Target

SECRET = "/root/secret Traceback sk-12345"  # noqa: S105 - a canary
ROUTES = ModelTable([ModelRoute("m", Target("m", "openai/m"))])

every_transcript = pytest.mark.parametrize("name", names())


@cache
def script(name):
    return tuple(load(name))


class House:
    """Jobs over a memory store, with a mirror that is flushed by hand."""

    def __init__(self, steps, store=None):
        self.upstream = Scripted(steps)
        self.store = store or MemoryStore(max_bytes=2**24, ttl_seconds=60, now=lambda: 0.0)
        self.mirror = Mirror(self.store, MirrorTiming(end_waits=0, flush=0.001), Clock())
        self.jobs = JobRegistry(
            upstream=self.upstream,
            find_target=ROUTES.find,
            lineage=lineage_over(self.store),
            keys=keys_over(self.store),
            mirror=self.mirror,
            observe=lambda _: None,
            policy=JobPolicy(),
            clock=Clock(),
        )

    async def start(self, **fields):
        request = parse_create({"model": "m", "input": "hi", **fields})
        return await self.jobs.start(Create(request, "me", "websocket"))


async def run(steps, **fields):
    """The events of one response, to the end."""
    house = House(steps)
    job = await house.start(**fields)
    await job.stream.wait_until_closed()
    return house, job, job.stream.events


def is_refused(steps):
    """Whether the provider said nothing at all: an error frame, and no response."""
    return isinstance(steps[0], UpstreamError)


@every_transcript
async def test_law_1_the_fold_of_all_events_is_the_terminal_events_response(name):
    _, job, events = await run(script(name))
    if is_refused(script(name)):
        assert events == []
        assert isinstance(job.stream.error, UpstreamError)
        return
    assert fold(events) == events[-1].json()["response"] == job.result
    without_end = Reducer().fold(events[:-1])
    if job.result["status"] == "completed":
        assert without_end.output() == job.result["output"]


@every_transcript
async def test_law_2_deltas_add_up_before_their_done_says_so(name):
    """With all else that a strict client checks."""
    _, _, events = await run(script(name))
    unknown = [event for event in events if "brand_new" in event.type]
    if events and not unknown:
        assert check_events([event.json() for event in events]) == []


@every_transcript
async def test_law_3_for_every_cut_prefix_and_replay_are_the_whole(name):
    house, job, events = await run(script(name))
    for cut in range(-1, len(events)):
        replayed = [
            event async for batch in house.store.read(job.id, "me", after=cut) for event in batch
        ]
        assert events[: cut + 1] + replayed == events


@every_transcript
async def test_law_4_every_polled_snapshot_is_the_fold_of_a_prefix_and_never_an_older_one(name):
    steps = script(name)
    gates = [asyncio.Event() for _ in steps]
    gated = [each for pair in zip(gates, steps, strict=True) for each in pair]
    house = House(gated)
    job = await house.start()
    last = -1
    for gate in gates:
        gate.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await house.mirror.drain()
        snapshot = await house.store.get(job.id, "me")
        if snapshot is None:
            continue
        assert snapshot.number >= last
        last = snapshot.number
        await anext(job.stream.read(last - 1))  # the store knows first
        assert snapshot.response == fold(job.stream.events[: last + 1])
    await job.stream.wait_until_closed()
    if not is_refused(steps):
        assert (await house.store.get(job.id, "me")).response == job.result


@every_transcript
async def test_law_5_terminal_is_final(name):
    house, job, events = await run(script(name))
    before = list(events)
    await job.stop(EndReason.CANCELLED)
    late = Event.of(Draft("response.output_text.delta", {}), len(events), None)
    [receipt] = await house.store.append([Write(Lease(job.id, 1), [late])])
    assert receipt.verdict is (Verdict.GONE if is_refused(script(name)) else Verdict.ENDED)
    assert job.stream.events == before


@pytest.mark.catalogue("U5")
@every_transcript
async def test_law_6_no_terminal_event_from_the_provider_is_a_failure(name):
    drafts = [step for step in script(name) if isinstance(step, Draft)]
    for cut in range(1, len(drafts) + 1):
        if drafts[cut - 1].type in TERMINAL:
            continue
        _, _, events = await run(drafts[:cut])
        assert [event.type for event in events if event.is_terminal] == ["response.failed"]


@every_transcript
async def test_law_7_no_exception_text_reaches_a_client(name):
    drafts = [step for step in script(name) if isinstance(step, Draft)]
    for cut in range(len(drafts)):

        def crash(_request, cut=cut):
            yield from drafts[:cut]
            raise RuntimeError(SECRET)

        _, job, events = await run(crash)
        told = b"".join(event.text for event in events)
        told += str(job.stream.error.frame() if job.stream.error else "").encode()
        assert told
        assert not any(word.encode() in told for word in SECRET.split())


@every_transcript
async def test_law_8_a_slow_reader_never_slows_the_writer(name):
    house = House(script(name))
    job = await house.start()
    slow = job.stream.read()
    if not is_refused(script(name)):
        await anext(slow)
    await job.stream.wait_until_closed()
    assert job.stream.events == [] if is_refused(script(name)) else job.result


@pytest.mark.catalogue("C12")
@every_transcript
async def test_law_9_cancel_closes_the_provider_at_every_point(name):
    drafts = [step for step in script(name) if isinstance(step, Draft)]
    for cut in range(len(drafts)):
        if drafts[cut].type in TERMINAL:
            continue
        house = House([*drafts[: cut + 1], asyncio.Event()])
        job = await house.start()
        await anext(job.stream.read())
        await job.stop(EndReason.CANCELLED)
        assert house.upstream.open_now == 0
        assert job.result["status"] == "cancelled"


class Untouchable(MemoryStore):
    """A store that nobody may use."""

    async def create(self, record, events=(), fence=1):
        raise AssertionError(record.id, events, fence)

    async def append(self, writes):
        raise AssertionError(writes)


@every_transcript
async def test_law_10_store_false_never_reaches_the_store(name):
    house = House(script(name), Untouchable(max_bytes=1, ttl_seconds=1, now=lambda: 0.0))
    job = await house.start(store=False)
    await job.stream.wait_until_closed()
    assert job.result is not None or is_refused(script(name))
