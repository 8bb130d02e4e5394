"""Where the items are looked up that an input refers to."""

import pytest
from jobs.test_registry import House
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.errors import InvalidRequest
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.jobs.references import ItemReferences
from ws_bridge.protocol.conversation import Conversation, entries_of
from ws_bridge.protocol.history import Turn
from ws_bridge.store.conversations import MemoryConversations

HELLO = {"type": "message", "role": "user", "content": "hello"}
SAID = done_item("one", "msg_wire")


def ref(item_id):
    return {"type": "item_reference", "id": item_id}


@pytest.fixture
async def place():
    house = House(
        Scripted([*opening(), *message("one", item_id="msg_wire"), completed(SAID)], answer("two"))
    )
    kept = MemoryConversations(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
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
