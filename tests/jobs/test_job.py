"""A job ends with exactly one terminal event, whatever happens to it."""

import asyncio
from dataclasses import replace

import pytest
from support.fake_clock import FakeClock, FaultyStore, wait_until
from support.scripted_upstream import (
    Scripted,
    ScriptedAnswer,
    answer,
    completed,
    done_item,
    message,
    opening,
)

from ws_bridge import stream
from ws_bridge.clock import Clock
from ws_bridge.errors import ResponseTakenOver, StoreUnavailable, UpstreamError
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.observe import JobFinished, line_of
from ws_bridge.jobs.spec import EndReason, JobSpec, Timing
from ws_bridge.protocol.events import FAILED, INCOMPLETE, TERMINAL, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.store.base import Record
from ws_bridge.store.memory import MemoryStore
from ws_bridge.upstream.base import ABANDONED, COMPLETE, Target, Tried

TARGET = Target("m", "openai/m")
INPUT = ({"type": "message", "role": "user", "content": "hi"},)


def new_store(max_bytes=2**20):
    return MemoryStore(max_bytes=max_bytes, ttl_seconds=60, now=lambda: 0.0)


def new_mirror(store, clock=None):
    return Mirror(store, MirrorTiming(end_waits=0), clock or Clock())


def new_job(
    upstream,
    store=None,
    seen=None,
    *,
    mirror=None,
    background=False,
    clock=None,
    on_item=None,
    generate=True,
    is_stored=True,
):
    clock = clock or Clock()
    record = Record("resp_1", "me", INPUT, TARGET.maker, background=background)
    envelope = Envelope("resp_1", "m", 1, store=is_stored)
    chain = Chain(None, INPUT)
    spec = JobSpec(record, envelope, TARGET, chain, "websocket", generate=generate)
    observed = seen if seen is not None else []
    return Job(
        spec,
        upstream,
        mirror=mirror or (new_mirror(store, clock) if store else None),
        observe=observed.append,
        clock=clock,
        timing=Timing(created_after=3600, keepalive=0),
        on_item=on_item,
    )


def terminals(job):
    return [event.type for event in job.stream.events if event.type in TERMINAL]


async def test_a_finished_job_is_in_the_store_when_its_stream_ends():
    store = new_store()
    job = new_job(Scripted(answer("x")), store)
    await job.run()
    snapshot = await store.get("resp_1", "me")
    assert snapshot.response == job.result == fold(job.stream.events)
    assert job.stream.is_closed


async def test_the_store_knows_the_response_when_a_reader_sees_its_first_event():
    store = new_store()
    gate = asyncio.Event()
    job = new_job(Scripted([*opening(), gate, completed()]), store)
    task = asyncio.create_task(job.run())
    await anext(job.stream.read())
    assert (await store.get("resp_1", "me")).status == "in_progress"
    gate.set()
    await task


STEPS = [*opening(), *message("a", "b"), completed(done_item("ab"))]


@pytest.mark.parametrize("ending", [EndReason.CANCELLED, EndReason.INTERRUPTED, EndReason.SHUTDOWN])
@pytest.mark.parametrize("cut", range(len(STEPS)))
async def test_stopped_at_any_point_it_has_one_terminal_event_and_closes_the_provider(cut, ending):
    reached = asyncio.Event()

    def steps(_request):
        yield from STEPS[:cut]
        reached.set()
        yield STEPS[cut]
        yield asyncio.Event()

    upstream = Scripted(steps)
    job = new_job(upstream, new_store())
    task = asyncio.create_task(job.run())
    await reached.wait()
    await job.stop(ending)
    await task
    assert len(terminals(job)) == 1
    assert upstream.open_now == 0
    assert [event.number for event in job.stream.events] == list(range(len(job.stream.events)))


async def test_stopped_before_its_task_ran_it_still_ends():
    upstream = Scripted(answer("x"))
    job = new_job(upstream)
    job.stop_soon(EndReason.CANCELLED)
    await job.run()
    assert terminals(job) == ["response.failed"]
    assert job.result["status"] == "cancelled"
    assert upstream.requests == []


async def test_a_failure_before_created_closes_the_stream_with_the_error():
    refused = UpstreamError("no", status=400)
    seen: list[object] = []
    job = new_job(Scripted([refused]), new_store(), seen)
    await job.run()
    assert job.stream.events == []
    with pytest.raises(UpstreamError):
        await anext(job.stream.read())
    finished = seen[-1]
    assert isinstance(finished, JobFinished)
    assert (finished.outcome, finished.error) == ("refused", "server_error")


async def test_a_store_that_refuses_the_record_does_not_stop_a_live_response():
    job = new_job(Scripted(answer("x")), new_store(max_bytes=1))
    await job.run()
    assert terminals(job) == ["response.completed"]


async def test_a_background_response_is_refused_while_nothing_can_be_promised():
    """No client has the id, so it is an error, not a failed response."""
    job = new_job(Scripted(answer("x")), new_store(max_bytes=1), background=True)
    with pytest.raises(StoreUnavailable):
        await job.open_queued()
    assert job.stream.events == []


async def test_without_a_store_a_live_response_is_published_to_its_end_and_stored_later():
    clock = FakeClock()
    store = FaultyStore(clock.now)
    store.is_away = True
    mirror = new_mirror(store)
    job = new_job(Scripted(answer("x")), mirror=mirror)
    await job.run()
    assert terminals(job) == ["response.completed"]
    assert await store.get("resp_1", "me") is None
    store.is_away = False
    await mirror.drain()
    assert (await store.get("resp_1", "me")).response == job.result
    assert store.log("resp_1") == job.stream.events


async def test_the_store_knows_the_end_before_a_reader_gets_it():
    store, gate = FaultyStore(FakeClock().now), asyncio.Event()
    job = new_job(Scripted(answer("x")), store)
    store.answers = [asyncio.Event(), gate]
    store.answers[0].set()
    task = asyncio.create_task(job.run())
    await wait_until(lambda: not store.answers)
    assert (await store.get("resp_1", "me")).status == "completed"
    assert terminals(job) == []
    gate.set()
    await task
    assert terminals(job) == ["response.completed"]


async def running(store, upstream, clock=None):
    """A job in mid-output, all of it stored."""
    given = clock.clock() if clock else None
    mirror = new_mirror(store, given)
    job = new_job(upstream, mirror=mirror, clock=given)
    task = asyncio.create_task(job.run())
    await wait_until(lambda: len(job.stream.events) == 5)
    await mirror.drain()
    return job, task, mirror


def half(*more):
    return Scripted([*opening(), *message("a", "b")[:3], *more])


async def test_a_cancel_on_another_server_comes_through_the_store():
    store, upstream = FaultyStore(FakeClock().now), half(asyncio.Event())
    job, task, mirror = await running(store, upstream)
    await store.cancel("resp_1", "me")
    await mirror.drain()
    await task
    assert job.result["status"] == "cancelled"
    assert (await store.get("resp_1", "me")).status == "cancelled"
    assert upstream.open_now == 0


async def test_a_response_that_was_taken_over_ends_here_and_is_written_no_more():
    clock = FakeClock()
    store, upstream = FaultyStore(clock.now), half(asyncio.Event())
    job, task, mirror = await running(store, upstream)
    clock.advance(16)
    assert await store.claim("resp_1")
    log = store.log("resp_1")
    await mirror.drain()
    await task
    assert terminals(job) == ["response.failed"]
    assert job.result["error"]["message"] == ResponseTakenOver.default_message
    assert job.result["output"][0]["content"][0]["text"] == "a"
    assert store.log("resp_1") == log
    assert upstream.open_now == 0


async def test_an_end_that_comes_after_the_takeover_is_not_published():
    """What completed here has another end in the store: no reader gets two."""
    clock, gate = FakeClock(), asyncio.Event()
    store = FaultyStore(clock.now)
    job, task, _ = await running(store, half(gate, completed(done_item("ab"))))
    clock.advance(16)
    assert await store.claim("resp_1")
    gate.set()
    await task
    assert terminals(job) == ["response.failed"]
    assert job.result["error"]["message"] == ResponseTakenOver.default_message
    assert job.stream.events[-1].json()["response"] == job.result
    assert [event.number for event in job.stream.events] == list(range(len(job.stream.events)))


@pytest.mark.catalogue("A1")
async def test_after_a_standstill_nothing_is_published_under_another_servers_numbers():
    """The provider continues, and another server has ended the response meanwhile."""
    clock, gate = FakeClock(), asyncio.Event()
    store = FaultyStore(clock.now)
    job, task, _ = await running(store, half(gate, *message("a", "b")[3:]), clock)
    published = list(job.stream.events)
    clock.advance(16)
    await store.end(await store.claim("resp_1"))
    gate.set()
    await task
    assert job.stream.events[:-1] == published
    assert terminals(job) == ["response.failed"]
    assert job.stream.events[-1].number == store.log("resp_1")[-1].number == len(published)


@pytest.mark.catalogue("A1")
async def test_the_client_of_a_background_response_created_over_a_standstill_gets_its_id():
    """Another server has it by now: its id is the answer nevertheless."""
    clock, gate = FakeClock(), asyncio.Event()
    store = FaultyStore(clock.now)
    job = new_job(Scripted(answer("x")), store, background=True, clock=clock.clock())
    store.answers = [gate]
    opening_ = asyncio.create_task(job.open_queued())
    await wait_until(lambda: store.created)
    clock.advance(16)
    await store.end(await store.claim("resp_1"))
    gate.set()
    await opening_
    assert (job.snapshot()["id"], job.snapshot()["status"]) == ("resp_1", "queued")


@pytest.mark.catalogue("A1")
async def test_after_a_standstill_without_a_takeover_the_response_continues():
    clock, gate = FakeClock(), asyncio.Event()
    store = FaultyStore(clock.now)
    rest = [*message("a", "b")[3:], completed(done_item("ab"))]
    job, task, _ = await running(store, half(gate, *rest), clock)
    clock.advance(16)
    gate.set()
    await task
    assert terminals(job) == ["response.completed"]
    assert store.log("resp_1") == job.stream.events
    assert [event.number for event in job.stream.events] == list(range(len(job.stream.events)))


@pytest.mark.catalogue("A2")
async def test_while_the_store_is_away_for_longer_than_a_lease_a_stream_goes_on():
    clock, gate = FakeClock(), asyncio.Event()
    store = FaultyStore(clock.now)
    job, task, _ = await running(store, half(gate, *message("a", "b")[3:], asyncio.Event()), clock)
    store.is_away = True
    clock.advance(16)
    gate.set()
    await wait_until(lambda: len(job.stream.events) == 9)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_terminal_event_without_output_gets_the_items_that_were_streamed():
    job = new_job(Scripted([*opening(), *message("whole"), completed()]))
    await job.run()
    assert job.result["output"] == [done_item("whole")]


async def test_a_turn_comes_of_completed_and_incomplete_only():
    job = new_job(Scripted(answer("x")))
    assert job.turn() is None
    await job.run()
    assert job.turn().output == (done_item("x"),)
    failed = new_job(Scripted([*opening(), UpstreamError()]))
    await failed.run()
    assert failed.turn() is None


async def test_the_log_line_has_milliseconds():
    seen: list[object] = []
    job = new_job(Scripted(answer("x")), seen=seen)
    await job.run()
    fields, *values = line_of(replace(seen[-1], first_event_seconds=0.0375, seconds=2.0))
    assert " first_ms=37.5 seconds=2.000 " in fields % tuple(values)
    fields, *values = line_of(replace(seen[-1], first_event_seconds=None))
    assert " first_ms=- " in fields % tuple(values)


# The answer is closed, once, with how it went


async def closes_of(job, upstream):
    """How the job's answer was closed, by its end."""
    await job.run()
    assert len(terminals(job)) == 1
    [answer_] = upstream.answers
    assert upstream.open_now == 0
    return answer_.closes


def failed(code):
    return Draft(FAILED, {"response": {"error": {"code": code, "message": "No."}}})


@pytest.mark.parametrize(
    "end", [completed(), Draft(INCOMPLETE, {"response": {}})], ids=["completed", "incomplete"]
)
@pytest.mark.parametrize("more", [[], [*message("late"), completed()]], ids=["last", "more"])
async def test_an_answer_that_ended_is_closed_as_complete(end, more):
    """What comes after its end, in the same batch, is ignored."""
    upstream = Scripted([[*opening(), *message("x"), end, *more]])
    assert await closes_of(new_job(upstream, new_store()), upstream) == [(COMPLETE, False)]


@pytest.mark.parametrize(
    ("code", "status"), [("server_error", 502), ("rate_limit_exceeded", 429), ("other", None)]
)
async def test_a_failed_response_is_its_providers_failure_where_it_says_so(code, status):
    upstream = Scripted([*opening(), failed(code)])
    [(outcome, keep_running)] = await closes_of(new_job(upstream), upstream)
    assert (outcome.error.status if outcome.error else None) == status
    assert (outcome.is_complete, keep_running) == (False, False)


async def test_an_error_of_the_answer_is_how_it_went():
    broken = UpstreamError("Gone.", status=503)
    upstream = Scripted([*opening(), broken])
    [(outcome, _)] = await closes_of(new_job(upstream), upstream)
    assert outcome.error is broken


async def test_an_answer_that_stops_without_an_end_has_failed():
    upstream = Scripted([*opening(), *message("x")])
    job = new_job(upstream)
    [(outcome, _)] = await closes_of(job, upstream)
    assert (outcome.error.status, job.result["status"]) == (502, "failed")


@pytest.mark.parametrize(
    ("reason", "is_stored", "keep_running"),
    [
        (EndReason.CANCELLED, True, False),
        (EndReason.INTERRUPTED, True, False),
        (EndReason.STEERED, True, False),
        (EndReason.SHUTDOWN, True, True),
        (EndReason.SHUTDOWN, False, False),
        (EndReason.TAKEN_OVER, True, True),
        (EndReason.TAKEN_OVER, False, False),
    ],
)
async def test_a_job_that_is_stopped_abandons_its_answer_and_a_successor_may_have_it(
    reason, is_stored, keep_running
):
    upstream = Scripted([*opening(), asyncio.Event()])
    job = new_job(upstream, is_stored=is_stored)
    task = asyncio.create_task(job.run())
    await wait_until(lambda: len(job.stream.events) == 2)
    await job.stop(reason)
    await task
    [answer_] = upstream.answers
    assert answer_.closes == [(ABANDONED, keep_running)]


async def test_a_stop_while_the_target_is_being_asked_leaves_no_answer():
    upstream = Scripted([asyncio.Event()])
    job = new_job(upstream)
    task = asyncio.create_task(job.run())
    await wait_until(lambda: upstream.requests)
    await job.stop(EndReason.CANCELLED)
    await task
    assert (terminals(job), upstream.open_now) == ([FAILED], 0)


async def test_a_crash_while_a_batch_is_published_abandons_the_answer(caplog):
    def crash(*_):
        raise ValueError

    upstream = Scripted([opening(), message("x"), [completed()]])
    job = new_job(upstream, on_item=crash)
    assert await closes_of(job, upstream) == [(ABANDONED, False)]
    assert job.result["status"] == "failed"
    assert "job_crashed" in caplog.text


async def test_a_cancel_does_not_cut_short_the_close_of_an_answer_that_failed():
    gate = asyncio.Event()

    class SlowAnswer(ScriptedAnswer):
        async def _release(self, **how):
            await gate.wait()
            await super()._release(**how)

    class Slow(Scripted):
        def make(self, request, steps):
            return SlowAnswer(self, request, steps)

    upstream = Slow([*opening(), UpstreamError("Gone.")])
    job = new_job(upstream)
    task = asyncio.create_task(job.run())
    await wait_until(lambda: upstream.answers and upstream.answers[0].closes)
    job.stop_soon(EndReason.CANCELLED)
    gate.set()
    await task
    assert (job.result["error"]["message"], upstream.open_now) == ("Gone.", 0)


# What a job learns of its answer


async def test_the_targets_that_were_asked_are_observed_whether_one_answers_or_not():
    seen: list[object] = []
    other = Target("m", "anthropic/c")
    tried = (Tried(TARGET, "503"), Tried(other))

    class Second(Scripted):
        async def open(self, request):
            answer_ = await super().open(request)
            answer_.target, answer_.tried = other, tried
            return answer_

    job = new_job(Second(answer("x")), seen=seen)
    await job.run()
    assert (seen[-1].tried, seen[-1].provider) == (tried, "anthropic")
    assert job.turn().maker == "anthropic|"
    refused = UpstreamError("no", status=503)
    refused.tried = tried[:1]
    await new_job(Scripted([refused]), seen=seen).run()
    assert (seen[-1].tried, seen[-1].outcome) == (tried[:1], "refused")


async def test_a_warm_up_asks_no_target():
    seen: list[object] = []
    upstream = Scripted(answer("x"))
    job = new_job(upstream, new_store(), seen, generate=False)
    await job.run()
    assert (job.result["status"], job.result["output"]) == ("completed", [])
    assert job.result["usage"]["total_tokens"] == 0
    assert (upstream.requests, seen[-1].tried) == ([], ())


# Steered


def two_items():
    return [*message("a"), *message("b", index=1, item_id="msg_2")]


@pytest.mark.parametrize("begun", [1, 3, 5])
async def test_a_steered_response_ends_at_its_next_whole_item_also_within_a_batch(begun):
    gate = asyncio.Event()
    drafts = two_items()
    upstream = Scripted([[*opening(), *drafts[:begun]], gate, [*drafts[begun:], completed()]])
    job = new_job(upstream, new_store())
    task = asyncio.create_task(job.run())
    await wait_until(lambda: len(job.stream.events) == 2 + begun)
    job.steer()
    gate.set()
    await task
    types = [event.type for event in job.stream.events]
    assert types == [one.type for one in [*opening(), *message("a")]] + [INCOMPLETE]
    assert job.result["incomplete_details"] == {"reason": "steered"}
    assert upstream.answers[0].closes == [(ABANDONED, False)]


async def test_a_response_that_is_not_steered_takes_a_batch_as_one(monkeypatch):
    monkeypatch.setattr(stream, "METERED", 1)
    sizes = []
    upstream = Scripted([opening(), two_items(), [completed()]])
    job = new_job(upstream)
    job.stream.on_growth = sizes.append
    await job.run()
    assert len(sizes) == 3
