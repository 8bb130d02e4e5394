"""What a response continues and what it leaves, over real stores; see also `test_registry`."""

import asyncio
import time

import pytest
from jobs.test_registry import House
from support.fake_clock import wait_until
from support.hang import HANG_SECONDS
from support.scripted_upstream import (
    Scripted,
    answer,
    completed,
    done_item,
    message,
    opening,
    tool_call,
)

from ws_bridge.errors import (
    ConversationNotFound,
    InvalidRequest,
    PreviousResponseInProgress,
    PreviousResponseNotFound,
    StoreUnavailable,
    UpstreamError,
)
from ws_bridge.jobs import lineage
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.jobs.spec import EndReason
from ws_bridge.jobs.store_timeout import SILENCE_SECONDS
from ws_bridge.protocol.conversation import Conversation, entries_of
from ws_bridge.store.conversations import MemoryConversations
from ws_bridge.store.memory import MemoryStore

ITEM = {"type": "message", "role": "user", "content": "before"}


class Away(MemoryConversations):
    """Away while ``is_away`` is set."""

    is_away = False
    is_asked = False
    adds: asyncio.Event | None = None  # nothing is added before it is set
    stands_still = 0.0  # the process, seconds, while something is added

    async def add(self, *about):
        if self.is_away:
            raise StoreUnavailable
        self.is_asked = True
        if self.adds:
            await self.adds.wait()
        if self.stands_still:
            await asyncio.sleep(0)
            time.sleep(self.stands_still)  # noqa: ASYNC251 - the process stands still
            await asyncio.sleep(0.01)
        return await super().add(*about)


class Talk:
    """A server with one conversation of its owner "me"."""

    def __init__(self, *scripts):
        self.upstream = Scripted(*scripts)
        self.house = House(self.upstream)
        self.kept = Away(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
        self.house.jobs.lineage = Lineage(self.house.store, self.kept)

    async def begin(self, *items):
        await self.kept.create(Conversation("conv_1", "me", 0, {}, entries_of(items)))
        return self

    async def ask(self, text, **fields):
        fields = {} if "previous_response_id" in fields else {"conversation": "conv_1"} | fields
        return await self.house.done(input=text, **fields)

    async def continue_from(self, job, text="on"):
        return await self.house.done(input=text, previous_response_id=job.id)

    async def texts(self):
        return texts(one.item for one in (await self.kept.get("conv_1", "me")).entries)

    def seen(self):
        """What the provider was shown last."""
        return texts(self.upstream.requests[-1].input())


async def test_a_create_after_a_response_read_as_completed_finds_its_turn(monkeypatch):
    """The store has the end before the conversation has the turn; a create waits for both."""
    monkeypatch.setattr(lineage, "PARENT_SECONDS", HANG_SECONDS)
    talk = await Talk(answer("one"), answer("other"), answer("two")).begin()
    talk.kept.adds = asyncio.Event()
    first = await talk.house.start(input="first", conversation="conv_1")

    await wait_until(lambda: talk.kept.is_asked)
    assert (await talk.house.store.get(first.id, "me")).status == "completed"
    second = asyncio.create_task(talk.ask("second"))
    other = await talk.house.done("other", input="alone")  # is not held up by it
    assert other.result["status"] == "completed"
    assert not second.done()
    talk.kept.adds.set()
    await second
    assert talk.seen() == ["first", "one", "second"]


def texts(items):
    return [
        item["content"] if isinstance(item.get("content"), str) else text_of(item) for item in items
    ]


def text_of(item):
    return item["content"][0]["text"] if "content" in item else item["type"]


async def test_a_turn_is_shown_the_conversation_and_adds_its_input_and_output():
    talk = await Talk(answer("1"), answer("2")).begin(ITEM)
    await talk.ask("a")
    assert talk.seen() == ["before", "a"]
    await talk.ask("b", conversation={"id": "conv_1"})
    assert talk.seen() == ["before", "a", "1", "b"]
    assert await talk.texts() == ["before", "a", "1", "b", "2"]


async def test_an_empty_conversation_is_as_good_as_any():
    talk = await Talk(answer("1")).begin()
    await talk.ask("a")
    assert talk.seen() == ["a"]
    assert await talk.texts() == ["a", "1"]


@pytest.mark.parametrize(("owner", "named"), [("me", "conv_2"), ("other", "conv_1"), ("me", "")])
async def test_unknown_and_foreign_ones_are_not_found_and_nothing_begins(owner, named):
    talk = await Talk(answer("1")).begin(ITEM)
    with pytest.raises(ConversationNotFound):
        await talk.house.done(owner, conversation=named)
    assert talk.upstream.requests == []
    assert await talk.texts() == ["before"]


@pytest.mark.parametrize("named", [{}, {"id": 5}])
async def test_what_names_none_is_a_bad_request(named):
    talk = await Talk(answer("1")).begin()
    with pytest.raises(InvalidRequest):
        await talk.ask("a", conversation=named)
    assert talk.upstream.requests == []


async def test_a_call_of_a_conversation_waits_for_its_output_there():
    talk = await Talk(tool_call(call_id="c1"), answer("sunny")).begin()
    await talk.ask("weather?")
    with pytest.raises(InvalidRequest, match="No tool output found"):
        await talk.ask("hello?")
    output = {"type": "function_call_output", "call_id": "c1", "output": "22"}
    await talk.house.done(input=[output], conversation="conv_1")
    kinds = [one.item["type"] for one in (await talk.kept.get("conv_1", "me")).entries]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


async def test_what_failed_leaves_nothing():
    refused = [UpstreamError()]
    broken = [*opening(), *message("par")[:3], UpstreamError()]
    talk = await Talk(refused, broken, answer("1")).begin(ITEM)
    for _ in range(2):
        await talk.ask("a")
    assert await talk.texts() == ["before"]
    await talk.ask("a")
    assert await talk.texts() == ["before", "a", "1"]


@pytest.mark.parametrize(
    ("ending", "left"), [(EndReason.CANCELLED, []), (EndReason.INTERRUPTED, ["a", "whole"])]
)
async def test_what_was_cut_short_leaves_what_a_chain_goes_on_from(ending, left):
    gate = asyncio.Event()
    talk = await Talk([*opening(), *message("whole"), *message("par", index=1)[:3], gate]).begin()
    job = await talk.house.start(input="a", conversation="conv_1")
    await wait_until(lambda: len(job.snapshot().get("output", ())) == 2)
    await job.stop(ending)
    assert await talk.texts() == left


async def test_a_conversation_that_is_deleted_meanwhile_stays_deleted():
    gate = asyncio.Event()
    talk = await Talk([*opening(), gate, *message("x"), completed(done_item("x"))]).begin(ITEM)
    job = await talk.house.start(input="a", conversation="conv_1")
    assert await talk.kept.delete("conv_1", "me")
    gate.set()
    await job.stream.wait_until_closed()
    assert job.result["status"] == "completed"
    assert await talk.kept.get("conv_1", "me") is None


async def test_a_store_that_is_away_costs_the_items_not_the_answer(caplog):
    talk = await Talk(answer("1")).begin(ITEM)
    talk.kept.is_away = True
    job = await talk.ask("a")
    assert job.result["status"] == "completed"
    assert await talk.texts() == ["before"]
    assert "conversation_lost id=conv_1 reason=store_unavailable" in caplog.text


async def test_output_that_is_hardly_an_item_is_kept_too():
    """No output of a provider may break the end of a response."""
    odd = {"id": "x", "note": "no type"}
    talk = await Talk([*opening(), completed(odd)]).begin()
    job = await talk.ask("a")
    assert job.result["status"] == "completed"
    assert (await talk.kept.get("conv_1", "me")).entries[-1].item == odd


async def test_what_both_of_two_at_once_add_is_there():
    gates = [asyncio.Event(), asyncio.Event()]
    scripts = [[*opening(), gate, *message("x"), completed(done_item("x"))] for gate in gates]
    talk = await Talk(*scripts).begin()
    jobs = [await talk.house.start(input=name, conversation="conv_1") for name in "ab"]
    for job, gate in zip(jobs[::-1], gates[::-1], strict=True):
        gate.set()
        await job.stream.wait_until_closed()
    assert await talk.texts() == ["b", "x", "a", "x"]


async def test_a_response_that_is_added_twice_is_kept_once():
    talk = await Talk(answer("1")).begin()
    job = await talk.ask("a")
    await talk.house.jobs.lineage.append_to_conversation(job.spec, job.result)
    assert await talk.texts() == ["a", "1"]


# A chain that continues a response of a conversation


async def test_a_chain_from_a_response_of_a_conversation_has_what_was_before_it():
    talk = await Talk(*(answer(str(number)) for number in range(1, 6))).begin(ITEM)
    first = await talk.ask("a")
    await talk.ask("b")
    side = await talk.continue_from(first)
    assert talk.seen() == ["before", "a", "1", "on"]
    await talk.continue_from(side)
    assert talk.seen() == ["before", "a", "1", "on", "3", "on"]
    assert await talk.texts() == ["before", "a", "1", "b", "2"]


@pytest.mark.catalogue("A1")
async def test_a_turn_is_kept_though_the_process_stood_still_meanwhile():
    talk = await Talk(answer("1")).begin(ITEM)
    talk.kept.stands_still = SILENCE_SECONDS + 0.1
    await talk.ask("a")
    assert await talk.texts() == ["before", "a", "1"]


async def test_without_its_conversation_such_a_chain_cannot_go_on():
    talk = await Talk(answer("1")).begin(ITEM)
    first = await talk.ask("a")
    await talk.kept.delete("conv_1", "me")
    with pytest.raises(PreviousResponseNotFound):
        await talk.continue_from(first)


async def test_the_ancestors_of_such_a_chain_are_listed_under_ids_of_their_own():
    talk = await Talk(answer("1"), answer("2"), answer("3")).begin(ITEM)
    await talk.ask("a")
    second = await talk.ask("b")
    turn = await talk.house.jobs.lineage.resolve(second.id, "me")
    ids = [one.id for one in turn.lineage()]
    assert len(set(ids)) == len(ids) == 2
    assert ids[-1] == second.id


# Chains


async def test_a_parent_that_runs_is_waited_for_and_refused_in_the_end(monkeypatch):
    monkeypatch.setattr("ws_bridge.jobs.lineage.PARENT_SECONDS", 0.01)
    house = House(Scripted([*opening(), asyncio.Event()]))
    job = await house.start()
    await anext(job.stream.read())
    with pytest.raises(PreviousResponseInProgress):
        await house.jobs.lineage.resolve(job.id, "me")
    await house.drain()


async def test_a_response_is_the_last_of_its_chain_with_its_input_and_output():
    house = House(Scripted(answer("1"), answer("2")))
    first = await house.done(input="a")
    second = await house.done(input="b", previous_response_id=first.id)
    turn = await house.jobs.lineage.resolve(second.id, "me")
    assert [one.id for one in turn.lineage()] == [first.id, second.id]
    assert turn == second.turn()


async def test_an_unknown_response_is_not_found():
    lineage = Lineage(
        MemoryStore(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0),
        MemoryConversations(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0),
    )
    for named in ("resp_none", "", "conv_1"):
        with pytest.raises(PreviousResponseNotFound):
            await lineage.resolve(named, "me")
