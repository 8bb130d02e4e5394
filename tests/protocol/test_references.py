"""Items that a client names by their ids."""

import pytest

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol import references
from ws_bridge.protocol.history import Chain, Turn, input_items
from ws_bridge.protocol.references import (
    found_in,
    ids_to_index,
    minting,
    resolved,
    response_of,
)

RESPONSE = "resp_" + "a1" * 24
HELLO = {"type": "message", "role": "user", "content": "hello"}
ANSWER = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}


def ref(item_id):
    return {"type": "item_reference", "id": item_id}


def test_the_id_of_an_item_names_its_response():
    mint = minting(RESPONSE, lambda prefix: f"{prefix}_plain")
    first, second = mint("msg"), mint("msg")
    assert first != second
    assert len(mint("item")) <= 64
    assert {response_of(one) for one in (first, second)} == {RESPONSE}
    assert (mint("rs"), mint("call")) == ("rs_plain", "call_plain")
    assert minting("", lambda prefix: f"{prefix}_plain")("msg") == "msg_plain"


@pytest.mark.parametrize(
    "item_id", ["", "msg_1", "msg_" + "a1" * 24, "msg_" + "A1" * 28, "x" * 999]
)
def test_a_providers_own_id_names_none(item_id):
    assert response_of(item_id) == ""


def test_the_ids_that_name_no_response_are_indexed_once():
    own = minting(RESPONSE, str)("msg")
    output = [{"id": "msg_1"}, {"id": own}, {"id": "msg_1"}, {}, {"id": ""}, {"id": 7}]
    assert ids_to_index(output) == ("msg_1",)


def test_items_of_a_turn_are_found_with_their_maker():
    turn = Turn(RESPONSE, (HELLO, THOUGHT), (ANSWER,), "b", input_makers=("", "a"))
    [listed, _] = input_items(RESPONSE, turn.input)
    found = found_in(turn, {"msg_1", "rs_1", listed["id"], "other"})
    assert found == {"msg_1": (ANSWER, "b"), "rs_1": (THOUGHT, "a"), listed["id"]: (HELLO, "")}


def test_an_item_stands_in_each_of_its_references_places_and_keeps_its_maker():
    given = resolved([HELLO, ref("rs_1"), HELLO, ref("rs_1")], {"rs_1": (THOUGHT, "a")})
    assert given.items == (HELLO, THOUGHT, HELLO, THOUGHT)
    chain = Chain(None, given.items, input_makers=given.makers)
    assert chain.items_for("a") == [HELLO, THOUGHT, HELLO, THOUGHT]
    assert chain.items_for("b") == [HELLO, HELLO]
    assert Chain(Turn("resp_1", given.items, (), "a", input_makers=given.makers), ()).items_for(
        "b"
    ) == [HELLO, HELLO]


def test_an_input_of_the_clients_alone_has_no_makers():
    assert resolved([ref("m")], {"m": (HELLO, "")}).makers == ()


def test_an_unknown_item_is_refused():
    with pytest.raises(InvalidRequest) as refused:
        resolved([ref("msg_9")], {})
    assert (refused.value.message, refused.value.param) == (
        "Item with id 'msg_9' not found.",
        "input",
    )


def test_what_is_named_often_counts_often(monkeypatch):
    monkeypatch.setattr(references, "MOST_BYTES", 4000)
    known = {"m": ({**HELLO, "content": "x" * 1000}, "a")}
    assert len(resolved([ref("m")] * 2, known).items) == 2
    with pytest.raises(InvalidRequest):
        resolved([ref("m")] * 5, known)
