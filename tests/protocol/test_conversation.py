"""Conversations as values: what goes in, what is listed, what a model is shown of it."""

import pytest
from defence.test_heavy import calls

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.conversation import (
    MOST_ITEMS,
    Conversation,
    ConversationEntry,
    conversation_id,
    entries_of,
    entries_of_response,
    new_conversation_id,
    read_items,
    read_metadata,
)
from ws_bridge.protocol.history import Chain, input_items

ASKED = {"type": "message", "role": "user", "content": "hi"}
ODD = ["a/b+c==", "x" * 300, "with space", "new\nline", "é\x00", ".."]  # ids as providers make them


def said(text, item_id="msg_1"):
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed"}
    return {**item, "content": [part]}


def conversation(*entries):
    return Conversation("conv_1", "alice", 7, {"a": "b"}, entries)


def shown(*entries, maker="openai|"):
    """What a model of this maker is shown of a conversation."""
    return Chain(conversation(*entries).turn(), ()).items_for(maker)


def turn(number, maker="openai|", text="yes"):
    """A response's entries."""
    return entries_of_response(f"resp_{number}", [ASKED], [said(text, f"msg_{number}")], maker)


# Ids


def test_an_id_cannot_be_guessed_and_is_never_the_same():
    assert len({new_conversation_id() for _ in range(50)}) == 50
    assert len(new_conversation_id()) == len("conv_") + 48


def test_an_item_without_an_id_gets_one_by_its_type():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    other = {"type": "function_call_output", "call_id": "c", "output": "1"}
    ids = [entry.id for entry in entries_of([ASKED, call, other])]
    assert [key.partition("_")[0] for key in ids] == ["msg", "fc", "item"]
    assert len(set(ids)) == 3


def test_two_additions_of_the_same_items_have_different_ids():
    assert not {one.id for one in entries_of([ASKED])} & {one.id for one in entries_of([ASKED])}


@pytest.mark.parametrize("own", ODD)
def test_an_item_keeps_its_own_id_whatever_is_in_it(own):
    """Some providers' ids are long and sealed: with another one their item is refused."""
    [entry] = entries_of([{**ASKED, "id": own}])
    assert (entry.id, entry.listed()["id"], entry.item["id"]) == (own, own, own)


@pytest.mark.parametrize("wrong", [None, "", 5, ["a"], {}])
def test_what_is_no_id_is_replaced(wrong):
    [entry] = entries_of([{**ASKED, "id": wrong}])
    assert entry.id.startswith("msg_")
    assert entry.listed()["id"] == entry.id


def test_a_responses_input_has_the_ids_under_which_its_input_items_are_listed():
    entries = entries_of_response("resp_ab", [ASKED, ASKED], [said("x")], "openai|")
    assert [one.listed() for one in entries[:2]] == input_items("resp_ab", [ASKED, ASKED])
    assert entries == entries_of_response("resp_ab", [ASKED, ASKED], [said("x")], "openai|")


def test_a_responses_entries_know_it_and_its_maker():
    asked, answered = entries_of_response("resp_ab", [ASKED], [said("x")], "openai|")
    assert (asked.maker, answered.maker) == (None, "openai|")
    assert asked.response == answered.response == "resp_ab"


def test_output_without_id_or_type_is_kept_all_the_same():
    """Nothing of what a provider says may break what is kept of it."""
    odd = [{}, {"type": None}, {"type": ["x"], "id": 3}, {"type": "message"}]
    entries = entries_of_response("resp_ab", [{**ASKED}], odd, "openai|")
    assert len({one.id for one in entries}) == 5
    assert [one.listed() for one in entries[1:]] == [
        item | {"id": one.id} for item, one in zip(odd, entries[1:], strict=True)
    ]


def test_of_two_items_with_one_id_the_second_is_known_by_another():
    first = entries_of([{**ASKED, "id": "a"}])
    second = entries_of([{**ASKED, "id": "a", "content": "other"}])
    both, ids = conversation(*first).with_entries(second)
    assert [one.id for one in both.entries] == ["a", second[0].spare]
    assert ids == [second[0].spare]
    assert both.entries[1].item["id"] == "a"
    assert both.entries[1].listed()["id"] == second[0].spare


def test_what_is_there_is_not_added_again():
    once, ids = conversation().with_entries(turn(1))
    assert once.with_entries(turn(1)) == (once, ids)
    twice, _ = once.with_entries(turn(2))
    assert twice.with_entries([*turn(1), *turn(2)])[0] == twice


# What is listed


def test_the_object_has_no_items_in_it():
    assert conversation(*turn(1)).body() == {
        "id": "conv_1",
        "object": "conversation",
        "created_at": 7,
        "metadata": {"a": "b"},
    }


def test_the_clients_text_is_listed_as_parts():
    [entry] = entries_of([ASKED])
    assert entry.listed() == {
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "hi"}],
        "id": entry.id,
    }


def test_what_a_model_said_is_listed_as_it_was():
    assert turn(1)[1].listed() == said("yes")


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": "incomplete"}])
def test_a_calls_output_is_listed_with_a_status_and_sent_as_it_came(status):
    output = {"type": "function_call_output", "call_id": "c", "output": "1", **status}
    [entry] = entries_of([output])
    assert entry.listed()["status"] == (status.get("status") or "completed")
    assert entry.item == output


# What a model is shown


def test_an_empty_conversation_is_no_chain():
    assert conversation().turn() is None


def test_models_get_what_came_not_what_is_listed():
    """An id from here is none a provider knows, and some refuse a prefix they do not expect."""
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    assert shown(*entries_of([ASKED, output])) == [ASKED, output]


def test_items_stay_in_order_whoever_wrote_them():
    entries = [*turn(1), *turn(2, "groq|"), *entries_of([ASKED, ASKED]), *turn(3)]
    texts = [
        item["content"] if item["role"] == "user" else item["content"][0]["text"]
        for item in shown(*entries)
    ]
    assert texts == ["hi", "yes", "hi", "yes", "hi", "hi", "hi", "yes"]


def test_of_two_makers_in_a_row_each_has_its_own():
    said = {"type": "message", "role": "assistant", "content": "yes"}
    entries = [
        ConversationEntry(
            "rs_1", {"type": "reasoning", "id": "rs_1", "encrypted_content": "A"}, "openai|"
        ),
        ConversationEntry("msg_1", said, "openai|"),
        ConversationEntry(
            "rs_2", {"type": "reasoning", "id": "rs_2", "encrypted_content": "B"}, "anthropic|"
        ),
        ConversationEntry("msg_2", said, "anthropic|"),
    ]
    for maker, own in (("openai|", "A"), ("anthropic|", "B")):
        sealed = [item.get("encrypted_content") for item in shown(*entries, maker=maker)]
        assert [one for one in sealed if one] == [own]


def test_the_turns_have_ids_of_their_own():
    entries = [*turn(1), *turn(2, "groq|"), *turn(3)]
    ids = [one.id for one in conversation(*entries).turn().lineage()]
    assert len(set(ids)) == 3


def test_the_last_speaker_is_known_after_the_client_has_added_more():
    """A chain stays with the account that made its last turn."""
    assert conversation(*turn(1, "groq|"), *entries_of([ASKED])).turn().maker == "groq|"


def test_a_call_that_was_cut_short_is_no_history():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}
    cut = ConversationEntry("fc_1", {**call, "status": "incomplete"}, "openai|")
    assert shown(*entries_of([ASKED]), cut) == [ASKED]


def test_a_response_goes_on_from_what_was_there_before_it():
    first, second, third = turn(1), turn(2), turn(3)
    whole = conversation(*first, *second, *third)
    assert whole.before("resp_2").entries == first
    assert whole.before("resp_1").turn() is None
    assert whole.before("resp_unknown") == whole


# What a request says


@pytest.mark.parametrize("nothing", [None, []])
def test_a_conversation_may_begin_without_items(nothing):
    assert list(read_items(nothing, required=False)) == []


def test_an_item_without_a_type_is_a_message():
    bare = {"role": "user", "content": "hi"}
    assert read_items([bare, {**bare, "type": None}, ASKED], required=True) == [ASKED] * 3


def test_so_many_items_and_no_more():
    assert len(read_items([ASKED] * MOST_ITEMS, required=True)) == MOST_ITEMS
    with pytest.raises(InvalidRequest, match="at most 20"):
        read_items([ASKED] * (MOST_ITEMS + 1), required=True)


def deep(levels):
    node = "leaf"
    for _ in range(levels):
        node = [node]
    return node


@pytest.mark.parametrize(
    "items",
    {
        "nothing": None,
        "empty": [],
        "text": "hi",
        "object": {"0": ASKED},
        "strings": ["hi"],
        "odd type": [{"type": 5}],
        "no role": [{"type": "message", "content": "hi"}],
        "no content": [{"type": "message", "role": "user"}],
        "odd content": [{**ASKED, "content": 5}],
        "odd parts": [{**ASKED, "content": ["hi"]}],
        "odd call": [{"type": "function_call_output", "call_id": 5, "output": "1"}],
        "bottomless": [{**ASKED, "content": [{"type": "input_text", "text": deep(80)}]}],
    }.items(),
    ids=lambda case: case[0],
)
def test_what_no_create_would_take_does_not_get_in(items):
    with pytest.raises(InvalidRequest):
        read_items(items[1], required=True)


def test_the_place_of_a_bad_item_is_named():
    with pytest.raises(InvalidRequest, match=r"items\[1\]\.role") as refused:
        read_items([ASKED, {"type": "message", "content": "x"}], required=True)
    assert refused.value.param == "items"


def test_metadata_are_pairs_of_strings():
    most = {f"{number:064d}": "v" * 512 for number in range(16)}
    assert read_metadata(most) == most
    assert read_metadata(None) == {}


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        "a",
        1,
        {"a": 1},
        {"a": None},
        {"k" * 65: "v"},
        {"k": "v" * 513},
        {str(number): "v" for number in range(17)},
    ],
)
def test_other_metadata_are_refused(metadata):
    with pytest.raises(InvalidRequest) as refused:
        read_metadata(metadata)
    assert refused.value.param == "metadata"


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, None), ("conv_1", "conv_1"), ({"id": "conv_1"}, "conv_1"), ({"id": "c", "x": 1}, "c")],
)
def test_a_create_names_its_conversation_in_two_ways(named, expected):
    assert conversation_id(named) == expected


@pytest.mark.parametrize("named", [{}, {"id": None}, {"id": 5}])
def test_what_names_no_conversation_is_refused(named):
    with pytest.raises(InvalidRequest) as refused:
        conversation_id(named)
    assert refused.value.param == "conversation"


def test_items_that_all_have_one_id_are_told_apart_in_one_pass():
    """Each is compared with the one that has its name, not with all of them."""
    items = [ASKED | {"id": "x", "content": str(number)} for number in range(2000)]
    with calls() as counted:
        kept, ids = conversation().with_entries(entries_of(items))
    assert len(set(ids)) == len(kept.entries) == 2000
    assert sum(counted.values()) < 50 * 2000
