"""A draft becomes an event for the store and the stream: which of both first, and in what order."""

import asyncio

import pytest
from support.event_checker import check_events
from support.fake_clock import OWNER, FakeClock, FaultyStore, let_others_run, wait_until
from support.scripted_upstream import (
    Scripted,
    ScriptedAnswer,
    answer,
    completed,
    done_item,
    message,
    opening,
)

from ws_bridge.errors import RateLimited, StoreUnavailable, UpstreamError
from ws_bridge.jobs.cancel_scope import CancelScope
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.publisher import Publisher
from ws_bridge.jobs.spec import EndReason, JobSpec
from ws_bridge.protocol.events import COMPLETED, FAILED, INCOMPLETE, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.side_data import MAX_SIDE_DATA
from ws_bridge.store.base import Claim, Lease, Record
from ws_bridge.upstream.base import Preface, Request, Target

ID = "resp_1"
TARGET = Target("m", "openai/m", native_background=True)
OWN = Draft("ws_bridge.note", {"note": "by the bridge"})


def an_answer(target=TARGET, *, upstream_id="", preface=None):
    one = ScriptedAnswer(Scripted([]), Request(target, Chain(None, ()), {}), [])
    one.upstream_id, one.preface = upstream_id, preface
    return one


class Desk:
    """A publisher over a store that a test can hold up."""

    def __init__(self, *, is_stored=True, background=False, on_item=None, on_end=None):
        self.clock = FakeClock()
        self.store = FaultyStore(self.clock.now)
        self.mirror = Mirror(self.store, MirrorTiming(end_waits=0), self.clock.clock())
        self.scope = CancelScope(ID)
        record = Record(ID, OWNER, (), TARGET.maker, background=background)
        envelope = Envelope(ID, "m", 0, background=background)
        self.spec = JobSpec(
            record, envelope, TARGET, Chain(None, ()), "http", is_provider_run=background
        )
        self.publisher = Publisher(
            self.spec,
            self.scope,
            mirror=self.mirror if is_stored else None,
            on_item=on_item,
            on_end=on_end,
            clock=self.clock.clock(),
        )

    @property
    def types(self):
        return [event.type for event in self.publisher.stream.events]

    async def publish(self, *drafts):
        """As a job does it."""
        for draft in drafts:
            if not self.publisher.publish([draft]):
                await self.publisher.flush()


async def test_the_first_events_and_the_end_wait_for_the_store_and_no_others():
    desk, drafts = Desk(), answer("a", "b")
    waited = []
    for draft in drafts:
        if not desk.publisher.publish([draft]):
            waited.append(draft.type)
            await desk.publisher.flush()
    assert waited == ["response.created", "response.completed"]
    assert desk.publisher.stream.events == desk.store.log(ID)
    assert desk.publisher.stream.is_closed
    assert desk.publisher.result == (await desk.store.get(ID, OWNER)).response


async def test_without_a_store_only_the_end_is_flushed():
    desk = Desk(is_stored=False)
    assert [desk.publisher.publish([draft]) for draft in answer("a")].count(False) == 1
    await desk.publisher.flush()
    assert desk.types[-1] == "response.completed"


async def test_what_is_published_while_the_store_is_asked_comes_after_it_in_order():
    desk = Desk()
    gate = asyncio.Event()
    desk.store.gates = [gate]
    first = asyncio.create_task(desk.publish(opening()[0]))
    await let_others_run()
    assert desk.publisher.publish_own(OWN) is False
    assert desk.types == []
    gate.set()
    await first
    assert desk.types == ["response.created", "response.in_progress", OWN.type]
    assert [event.number for event in desk.publisher.stream.events] == [0, 1, 2]


async def test_what_waits_for_the_lease_is_published_before_what_comes_after_its_renewal():
    desk = Desk()
    await desk.publish(*opening())
    desk.clock.advance(16)
    assert desk.publisher.publish_own(OWN) is False
    await desk.mirror.drain()  # as the flusher does, which renews the lease
    assert desk.publisher.publish(message("a")[:1]) is True
    assert desk.types[2:] == [OWN.type, "response.output_item.added"]
    assert [event.number for event in desk.publisher.stream.events] == [0, 1, 2, 3]


async def test_times_are_of_the_first_event_and_the_last():
    desk = Desk()
    assert (desk.publisher.first_at, desk.publisher.last_at) == (None, 1000.0)
    desk.clock.advance(2)
    await desk.publish(*opening())
    desk.clock.advance(3)
    await desk.publish(message("a")[0])
    assert (desk.publisher.first_at, desk.publisher.last_at) == (1002.0, 1005.0)


async def test_where_the_lease_may_have_expired_the_store_is_asked_first():
    desk = Desk()
    await desk.publish(*opening())
    desk.clock.advance(16)
    claim = await desk.store.claim(ID)
    assert claim is not None
    assert desk.publisher.publish(message("a")[:1]) is False
    await desk.publisher.flush()
    assert desk.types == ["response.created", "response.in_progress"]
    assert desk.scope.reason is EndReason.TAKEN_OVER


async def test_the_end_closes_the_scope_before_the_store_is_asked():
    """A cancel that comes then is too late: it would leave the response without an end."""
    desk = Desk()
    await desk.publish(*opening())
    gate = asyncio.Event()
    desk.store.gates = [gate]
    ending = asyncio.create_task(desk.publish(completed()))
    await wait_until(lambda: not desk.store.gates)
    desk.scope.request(EndReason.CANCELLED)
    gate.set()
    await ending
    assert (desk.scope.reason, desk.types[-1]) == (None, "response.completed")


async def test_on_end_is_awaited_before_the_end_is_published():
    seen = []

    async def on_end(spec, result):
        seen.append((spec.record.id, result["status"], desk.types[-1:]))

    desk = Desk(on_end=on_end)
    await desk.publish(*answer("a"))
    assert seen == [(ID, "completed", ["response.output_item.done"])]


async def test_an_end_that_the_store_refuses_is_neither_published_nor_kept_elsewhere():
    seen = []

    async def on_end(*about):
        seen.append(about)

    desk = Desk(on_end=on_end)
    await desk.publish(*opening())
    desk.clock.advance(16)
    await desk.store.end(await desk.store.claim(ID))
    await desk.publish(completed())
    assert (desk.types[-1], seen) == ("response.failed", [])
    assert desk.publisher.result["status"] == "failed"


@pytest.mark.parametrize(
    ("end", "status"),
    [("cancel", "cancelled"), ("interrupt", "incomplete"), ("steer", "incomplete")],
)
async def test_each_end_of_the_bridges_own_is_one_terminal_event(end, status):
    desk = Desk()
    await desk.publish(*opening(), *message("a"))
    await getattr(desk.publisher, end)()
    await desk.publisher.cancel()
    assert [event.is_terminal for event in desk.publisher.stream.events].count(True) == 1
    assert desk.publisher.result["status"] == (await desk.store.get(ID, OWNER)).status == status


async def test_a_failure_keeps_the_output_so_far():
    desk = Desk()
    await desk.publish(*opening(), *message("a")[:3])
    await desk.publisher.fail(RateLimited("Too many."))
    [item] = desk.publisher.result["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "a")


async def test_a_response_that_is_refused_leaves_nothing():
    desk = Desk()
    error = RateLimited("Too many.")
    desk.publisher.refuse(error)
    assert desk.publisher.stream.error is error
    assert not desk.mirror.tracks(ID)
    assert desk.store.created == []


async def test_a_response_that_is_refused_while_it_is_created_is_deleted():
    desk = Desk()
    desk.store.answers = [asyncio.Event()]
    beginning = asyncio.create_task(desk.publish(*opening()))
    await wait_until(lambda: desk.store.created)
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    desk.publisher.refuse(RateLimited("Too many."))
    await desk.mirror.drain()
    assert desk.store.deleted == [ID]


async def test_a_background_response_that_the_store_does_not_take_cannot_begin():
    desk = Desk(background=True)
    desk.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await desk.publisher.open(queued=True)
    assert desk.types == []


async def test_a_released_response_is_overdue_and_its_stream_has_no_end():
    desk = Desk(background=True)
    await desk.publisher.open(queued=True)
    assert await desk.publisher.release()
    assert desk.publisher.stream.is_closed
    assert desk.types == ["response.created", "response.queued"]
    assert await desk.store.find_overdue() == [ID]


async def test_who_answers_is_in_the_record_when_it_is_known_only_during_its_creation():
    desk, gate = Desk(), asyncio.Event()
    desk.store.answers = [gate]
    beginning = asyncio.create_task(desk.publish(*opening()))
    await wait_until(lambda: desk.store.created)
    desk.publisher.set_answer(an_answer(Target("m", "anthropic/c")))
    gate.set()
    await beginning
    await desk.publisher.cancel()
    assert (await desk.store.get(ID, OWNER)).record.maker == "anthropic|"


async def test_what_an_earlier_server_has_published_is_not_published_again():
    first, drafts = Desk(background=True), answer("a", "b")
    await first.publisher.open(queued=True)
    await first.publish(*drafts[:5])
    desk = Desk(background=True)
    claim = Claim(
        Lease(ID, 2), first.spec.record, first.publisher.stream.events, False, True, "up_1"
    )
    desk.publisher.resume(claim)
    before = list(desk.publisher.stream.events)
    await desk.publish(*drafts[:5])
    assert desk.publisher.stream.events == before
    assert desk.publisher.publish(drafts[5:6])
    assert desk.publisher.stream.events[-1].json()["delta"] == "b"
    numbers = [event.number for event in desk.publisher.stream.events]
    assert numbers == list(range(len(numbers)))


async def test_an_end_without_items_gets_those_that_were_published():
    desk = Desk()
    await desk.publish(*opening(), *message("whole"), completed())
    assert desk.publisher.result["output"] == [done_item("whole")]


# Batches


async def test_a_batch_is_one_addition_to_the_stream_and_one_batch_for_its_readers():
    desk = Desk()
    await desk.publish(*opening())
    taken = []
    reading = asyncio.create_task(
        desk.publisher.stream.subscribe(lambda batch: taken.append(len(batch)) or True, after=1)
    )
    await let_others_run()
    drafts = message("a", "b", "c")
    assert desk.publisher.publish(drafts)
    await let_others_run()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert taken == [len(drafts)]


async def test_a_whole_response_in_one_batch_is_stored_with_its_begin_and_its_end():
    desk = Desk()
    assert not desk.publisher.publish([*answer("a", "b"), *message("late")])
    assert desk.types == []
    await desk.publisher.flush()
    assert desk.types == [draft.type for draft in answer("a", "b")]
    assert desk.publisher.stream.events == desk.store.log(ID)
    assert desk.publisher.stream.is_closed


async def test_an_empty_batch_changes_nothing():
    desk = Desk()
    assert desk.publisher.publish([])
    await desk.publish(*opening())
    desk.clock.advance(16)
    assert desk.publisher.publish([])
    assert desk.types == ["response.created", "response.in_progress"]


async def test_an_end_in_the_batch_of_its_items_gets_those_that_it_lacks():
    desk = Desk()
    await desk.publish(*opening(), *message("whole")[:3])
    desk.publisher.publish([*message("whole")[3:], completed()])
    await desk.publisher.flush()
    assert desk.publisher.result["output"] == [done_item("whole")]


async def test_what_comes_before_a_draft_that_cannot_be_written_is_published():
    desk = Desk()
    await desk.publish(*opening())
    bad = Draft("response.output_text.delta", {"delta": object()})
    item_done = message("a")[-1]
    with pytest.raises(UpstreamError) as raised:
        desk.publisher.publish([*message("a"), bad, item_done])
    await desk.publisher.fail(raised.value)
    assert desk.publisher.result["output"] == [done_item("a")]
    assert check_events([event.json() for event in desk.publisher.stream.events]) == []


# What is known of the answer


async def test_each_finished_item_is_noted_with_the_maker_that_answers():
    seen = []
    desk = Desk(on_item=lambda draft, maker: seen.append((draft, maker)))
    desk.publisher.set_answer(an_answer(Target("m", "anthropic/c")))
    drafts = answer("a")
    desk.publisher.publish(drafts)
    assert seen == [(drafts[-2], "anthropic|")]


async def test_items_that_an_earlier_server_has_published_are_noted_here_too():
    first, drafts, seen = Desk(background=True), answer("a"), []
    await first.publish(*drafts[:-1])
    desk = Desk(background=True, on_item=lambda *item: seen.append(item))
    events = first.publisher.stream.events
    desk.publisher.resume(Claim(Lease(ID, 2), first.spec.record, events, False, True, "up_1"))
    desk.publisher.set_answer(an_answer(upstream_id="up_1"))
    assert desk.publisher.publish(drafts[:-1])
    assert seen == [(drafts[-2], TARGET.maker)]
    assert desk.publisher.stream.events == events


@pytest.mark.parametrize(
    ("name", "said", "model"),
    [
        ("m", {}, "m"),
        ("spare", {}, "spare"),
        ("spare", {"model": ""}, "spare"),
        ("spare", {"model": "gpt-real"}, "gpt-real"),
    ],
)
async def test_the_model_is_the_providers_or_else_that_of_the_target_that_answers(
    name, said, model
):
    desk = Desk()
    desk.publisher.set_answer(an_answer(Target(name, "openai/x")))
    kinds = ("response.created", "response.in_progress", "response.completed")
    await desk.publish(*(Draft(kind, {"response": {"output": [], **said}}) for kind in kinds))
    objects = [event.json()["response"] for event in desk.publisher.stream.events]
    assert [one["model"] for one in objects] == [model] * 3


async def test_the_id_at_the_provider_is_stored_with_the_first_events_after_it():
    desk = Desk(background=True)
    await desk.publisher.open(queued=True)
    desk.publisher.set_answer(an_answer(upstream_id="up_1"))
    assert desk.publisher.publish(opening()[1:])
    await desk.mirror.drain()
    desk.clock.advance(16)
    assert (await desk.store.claim(ID)).upstream_id == "up_1"


async def test_a_preface_is_part_of_the_response():
    summary = {"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed"}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    desk = Desk()
    desk.publisher.set_answer(an_answer(preface=Preface((summary,), usage)))
    await desk.publish(*opening(), *message("a"), completed())
    assert desk.publisher.result["output"] == [summary, done_item("a")]
    assert desk.publisher.result["usage"]["total_tokens"] == 7
    assert check_events([event.json() for event in desk.publisher.stream.events]) == []


# Side data

SIDE_DATA = {"blocks": ["side-canary"]}


def telling(*items, kind=COMPLETED, side_data=SIDE_DATA):
    """A provider's end with side data."""
    return Draft(kind, {"response": {"output": list(items)}, "side_data": side_data})


async def stored(desk):
    return [one.side_data for one in await desk.store.get_chain(ID, OWNER)]


@pytest.mark.parametrize("kind", [COMPLETED, INCOMPLETE])
@pytest.mark.parametrize("items", [(), (done_item("a"),)])
async def test_side_data_is_stored_with_the_end_and_is_in_no_event(kind, items):
    desk = Desk()
    desk.publisher.set_answer(an_answer())
    await desk.publish(*opening(), *message("a"), telling(*items, kind=kind))
    assert desk.publisher.side_data == SIDE_DATA
    assert await stored(desk) == [SIDE_DATA]
    assert desk.publisher.result["output"] == [done_item("a")]
    assert not [one for one in desk.publisher.stream.events if b"side" in one.text]


async def test_side_data_of_a_prefaced_answer_is_kept():
    summary = {"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed"}
    desk = Desk()
    desk.publisher.set_answer(an_answer(preface=Preface((summary,), {})))
    await desk.publish(*opening(), *message("a"), telling(done_item("a")))
    assert desk.publisher.result["output"] == [summary, done_item("a")]
    assert await stored(desk) == [SIDE_DATA]


async def test_only_the_end_that_is_published_has_side_data():
    desk = Desk()
    end = Draft(FAILED, {"response": {"error": None}, "side_data": SIDE_DATA})
    await desk.publish(*opening(), end, telling())
    assert (desk.types[-1], desk.publisher.side_data) == (FAILED, None)
    for stop in ("cancel", "interrupt", "steer"):
        desk = Desk()
        await desk.publish(*opening())
        await getattr(desk.publisher, stop)()
        await desk.publish(telling())
        assert desk.publisher.side_data is None
        assert await stored(desk) == [None]


async def test_an_end_that_the_store_refuses_has_no_side_data():
    desk = Desk()
    await desk.publish(*opening())
    desk.clock.advance(16)
    await desk.store.end(await desk.store.claim(ID))
    await desk.publish(telling())
    assert desk.publisher.side_data is None
    assert await stored(desk) == [None]


async def test_side_data_that_is_too_large_is_dropped_with_one_line(caplog):
    for size, is_kept in ((MAX_SIDE_DATA, True), (MAX_SIDE_DATA + 1, False)):
        desk = Desk()
        side_data = {"a": "x" * (size - len('{"a":""}'))}
        await desk.publish(*opening(), telling(side_data=side_data))
        assert await stored(desk) == [side_data if is_kept else None]
    lines = [one for one in caplog.messages if "side_data" in one]
    assert lines == [f"side_data_dropped id={ID} bytes={MAX_SIDE_DATA + 1}"]
