"""Where the items are looked up that an input refers to."""

import asyncio

import pytest
from jobs.test_registry import House
from store.contract import record
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.errors import InvalidRequest
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.jobs.references import AT_ONCE, ItemReferences
from ws_bridge.protocol.conversation import Conversation, entries_of
from ws_bridge.protocol.events import COMPLETED, Draft, Event
from ws_bridge.protocol.history import Turn
from ws_bridge.store.base import Lease, Write
from ws_bridge.store.conversations import MemoryConversations
from ws_bridge.store.memory import MemoryStore

HELLO = {"type": "message", "role": "user", "content": "hello"}
SAID = done_item("one", "msg_wire")


def ref(item_id):
    return {"type": "item_reference", "id": item_id}


def conversations():
    return MemoryConversations(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)


@pytest.fixture
async def place():
    house = House(
        Scripted([*opening(), *message("one", item_id="msg_wire"), completed(SAID)], answer("two"))
    )
    kept = conversations()
    house.jobs.lineage = Lineage(house.store, kept)
    return house, kept, ItemReferences(house.store, kept)


async def test_an_input_without_references_stays_as_it_is(place):
    given = await place[2].resolve((HELLO,), "me")
    assert (given.items, given.makers) == ((HELLO,), ())


async def test_a_stored_item_is_found_by_the_providers_own_id_and_by_a_listed_one(place):
    house, _, find = place
    job = await house.done(input="hi")
    stem = job.id.removeprefix("resp_")
    given = await find.resolve((ref("msg_wire"), ref(f"msg_{stem}_0")), "me")
    assert [item["role"] for item in given.items] == ["assistant", "user"]
    assert given.makers == (job.spec.record.maker, "")


async def test_another_owners_item_is_not_found(place):
    house, _, find = place
    await house.done(input="hi")
    for owner, item_id in (("other", "msg_wire"), ("me", "msg_none")):
        with pytest.raises(InvalidRequest, match=f"Item with id '{item_id}' not found"):
            await find.resolve((ref(item_id),), owner)


class Gated(MemoryStore):
    """A store that answers a ``get`` when so many are asked at once."""

    def __init__(self, together):
        super().__init__(max_bytes=2**24, ttl_seconds=60.0, now=lambda: 0.0)
        self.barrier = asyncio.Barrier(together)
        self.asked = []

    async def get(self, response_id, owner):
        self.asked.append(response_id)
        await self.barrier.wait()
        return await super().get(response_id, owner)


async def stored(store, *item_ids, text=""):
    kept = record("me")
    output = [done_item(item_id + text, item_id) for item_id in item_ids]
    response = {"id": kept.id, "status": "completed", "output": output}
    end = Event.of(Draft(COMPLETED, {"response": response}), 0, None)
    await store.create(kept)
    await store.append([Write(Lease(kept.id, 1), [end], owner="me", item_ids=item_ids)])
    return kept.id


async def test_the_responses_of_an_input_are_read_at_once_and_each_of_them_once():
    store = Gated(together=3)
    made = [await stored(store, f"msg_{n}", f"msg_{n}b") for n in range(3)]
    items = tuple(ref(f"msg_{n}{end}") for n in (1, 0, 2) for end in ("", "b"))
    find = ItemReferences(store, conversations())
    given = await find.resolve(items, "me")
    assert [item["id"] for item in given.items] == [item["id"] for item in items]
    assert sorted(store.asked) == sorted(made)


async def test_no_more_than_a_bound_is_looked_up_together_and_kept(monkeypatch):
    monkeypatch.setattr("ws_bridge.protocol.references.MOST_BYTES", 2**16)
    store = Gated(together=AT_ONCE)
    for n in range(2 * AT_ONCE):
        await stored(store, f"msg_{n}", text="x" * 2**13)
    items = tuple(ref(f"msg_{n}") for n in range(2 * AT_ONCE))
    with pytest.raises(InvalidRequest, match="take more than"):
        await ItemReferences(store, conversations()).resolve(items, "me")
    assert len(store.asked) == AT_ONCE


async def test_what_is_known_already_is_not_looked_up(place):
    turn = Turn("resp_x", (), ({**SAID, "id": "msg_p"},), "maker")
    known = {"msg_k": ({**SAID, "id": "msg_k"}, "other")}
    given = await place[2].resolve((ref("msg_p"), ref("msg_k")), "me", parent=turn, known=known)
    assert given.makers == ("maker", "other")


async def test_an_item_of_the_conversation_is_found_by_the_id_that_it_has_there(place):
    _, kept, find = place
    [entry] = entries_of([HELLO])
    await kept.create(Conversation("conv_1", "me", 0, {}, (entry,)))
    given = await find.resolve((ref(entry.id),), "me", conversation="conv_1")
    assert given.items == (HELLO,)
    with pytest.raises(InvalidRequest):
        await find.resolve((ref(entry.id),), "other", conversation="conv_1")


async def test_a_response_is_asked_with_the_item_and_its_next_one_too(place):
    house, _, _ = place
    await house.done(input="hi")
    second = await house.done(input=[HELLO, {"id": "msg_wire"}])
    assert [item.get("id") for item in second.spec.record.input] == [None, "msg_wire"]
    assert second.spec.record.input_makers == ("", second.spec.record.maker)
    turn = await house.jobs.lineage.resolve(second.id, "me")
    assert turn.input_makers == second.turn().input_makers == second.spec.record.input_makers
