"""A chain of turns → the input of the next one."""

import copy
from dataclasses import replace
from typing import Any

import orjson
import pytest

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.compaction import HEADING, MARK
from ws_bridge.protocol.history import (
    CALLS,
    PROVIDER_ONLY,
    PROVIDER_TURN,
    Chain,
    Turn,
    input_items,
    newest_start,
    unfolded,
)
from ws_bridge.protocol.sealing import UNSIGNED

Json = dict[str, Any]

MAKER, OTHER = "openai|", "anthropic|"
HELLO = {"type": "message", "role": "user", "content": "hello"}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
}
REASONING = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "secret"}


def call(call_id: str = "call_1", kind: str = "function_call", **more: Any) -> Json:
    return {"id": "fc_1", "type": kind, "call_id": call_id, "status": "completed", **more}


def output(call_id: str = "call_1", kind: str = "function_call") -> Json:
    return {"type": f"{kind}_output", "call_id": call_id, "output": "sunny"}


def turn(*items: Json, said: tuple[Json, ...] = (HELLO,), parent: Turn | None = None) -> Turn:
    return Turn("resp_1", said, items, MAKER, parent)


def refusal(chain: Chain) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        chain.check_calls()
    return refused.value


# What the next turn sees


def test_the_input_of_a_first_turn_is_what_the_client_said():
    assert Chain(None, (HELLO,)).items_for(MAKER) == [HELLO]


def test_a_chain_is_each_turns_input_and_output_from_the_oldest_to_the_new_input():
    first = turn(ANSWER)
    second = turn(call(), said=(HELLO, HELLO), parent=first)
    chain = Chain(second, (output(),))
    assert chain.items_for(MAKER) == [HELLO, ANSWER, HELLO, HELLO, call(), output()]
    assert [one.id for one in second.lineage()] == ["resp_1", "resp_1"]


def test_its_maker_gets_every_item_back_as_it_was():
    assert Chain(turn(REASONING, ANSWER), ()).items_for(MAKER) == [HELLO, REASONING, ANSWER]


def test_another_maker_gets_no_ids_no_status_and_nothing_encrypted():
    (_, item) = Chain(turn(ANSWER), ()).items_for(OTHER)
    assert item == {"type": "message", "role": "assistant", "content": ANSWER["content"]}


@pytest.mark.parametrize("kind", sorted(PROVIDER_ONLY))
def test_what_only_its_maker_can_read_goes_to_nobody_else(kind):
    item = {"id": "x_1", "type": kind}
    chain = Chain(turn(item, ANSWER), ())
    assert item in chain.items_for(MAKER)
    assert [sent["type"] for sent in chain.items_for(OTHER)] == ["message", "message"]


def test_what_the_client_wrote_goes_to_every_maker_as_it_was_written():
    written = (REASONING, {**ANSWER, "id": "msg_own"})
    assert Chain(None, written).items_for(OTHER) == list(written)


def test_a_call_of_another_maker_keeps_what_its_output_needs():
    items = Chain(turn(call(name="f", arguments="{}")), (output(),)).items_for(OTHER)
    assert items[1] == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
    }
    assert items[2] == output()


def test_items_for_a_maker_are_deep_copies():
    parent, said = turn(ANSWER), (copy.deepcopy(HELLO),)
    chain = Chain(parent, said)
    before = copy.deepcopy((parent, said))
    for maker in (MAKER, OTHER):
        for item in chain.items_for(maker):
            if isinstance(item["content"], list):
                item["content"][0]["text"] = "changed"
            item["role"] = "changed"
    assert (parent, said) == before


# Side data

SIDE_DATA = {"blocks": [{"type": "server_tool_use"}]}


def telling(*items: Json, **fields: Any) -> Turn:
    return replace(turn(*items, **fields), side_data=SIDE_DATA)


def folded(*items: Json) -> Json:
    return {"type": PROVIDER_TURN, "side_data": SIDE_DATA, "items": list(items)}


def test_side_data_goes_to_its_maker_in_the_place_of_the_turns_answer():
    first = telling(REASONING, ANSWER)
    chain = Chain(turn(ANSWER, said=(said("on"),), parent=first), (said("next"),))
    told = [HELLO, folded(REASONING, ANSWER), said("on"), ANSWER, said("next")]
    assert chain.items_for(MAKER) == told
    assert list(unfolded(told)) == [HELLO, REASONING, ANSWER, said("on"), ANSWER, said("next")]
    plain = Chain(replace(chain.parent, parent=replace(first, side_data=None)), chain.input)
    assert chain.items_for(OTHER) == plain.items_for(OTHER)


def test_what_a_maker_gets_of_side_data_is_a_deep_copy():
    before = copy.deepcopy(SIDE_DATA)
    for item in Chain(telling(ANSWER), ()).items_for(MAKER)[1:]:
        item["side_data"]["blocks"][0]["type"] = "changed"
        item["items"][0]["role"] = "changed"
    assert before == SIDE_DATA
    assert ANSWER["role"] == "assistant"


def test_an_answer_with_a_call_that_was_cut_is_told_by_its_items():
    cut = call(status="incomplete", arguments='{"ci')
    assert Chain(telling(ANSWER, cut), ()).items_for(MAKER) == [HELLO, ANSWER]


def test_a_summary_before_an_answer_is_no_part_of_its_side_data():
    later = telling(SUMMARY, ANSWER, said=(said("asked"),), parent=telling(ANSWER))
    chain = opened(later, said("next"))
    assert chain.items_for(MAKER) == [TOLD, said("asked"), folded(ANSWER), said("next")]
    assert PROVIDER_TURN not in str(chain.items_for(OTHER))
    at_once = opened(replace(later, input=(), parent=None))
    assert at_once.items_for(MAKER) == [TOLD, folded(ANSWER)]
    broken = opened(telling(BROKEN, ANSWER))
    assert broken.items_for(MAKER) == [HELLO, folded(ANSWER)]


def test_an_answer_that_a_summary_cuts_is_told_by_the_items_that_are_left():
    kept = telling(ANSWER, call(), parent=telling(ANSWER))
    chain = opened(kept, output(), SUMMARY, said("next"))
    assert chain.items_for(MAKER)[1:] == [folded(ANSWER, call()), output(), said("next")]
    broken_off = telling(FOREIGN, call(), parent=telling(ANSWER))
    chain = opened(broken_off, output(), SUMMARY, said("next"))
    assert chain.items_for(MAKER)[1:] == [call(), output(), said("next")]


@pytest.mark.parametrize("output", [(), (REASONING,)])
def test_an_answer_without_items_to_continue_from_is_its_side_data_for_its_maker_alone(output):
    chain = Chain(turn(ANSWER, said=(said("on"),), parent=telling(*output)), (said("next"),))
    assert chain.items_for(MAKER) == [HELLO, folded(), said("on"), ANSWER, said("next")]
    assert PROVIDER_TURN not in str(chain.items_for(OTHER))
    assert [item for _, item in chain.items_with_maker()] == [
        *(HELLO, said("on"), ANSWER, said("next"))
    ]
    chain.check_calls()


def test_an_answer_of_a_summary_and_side_data_is_each_of_them_once():
    alone = opened(telling(SUMMARY, said=()))
    assert alone.items_for(MAKER) == [TOLD, folded()]
    later = telling(SUMMARY, said=(said("asked"),), parent=telling())
    chain = opened(later, said("next"))
    assert chain.items_for(MAKER) == [TOLD, said("asked"), folded(), said("next")]
    assert chain.items_for(OTHER) == [*chain.items_for(OTHER)[:1], said("asked"), said("next")]


def test_an_answer_without_items_ends_what_a_summary_may_replace_and_is_no_part_of_it():
    chain = Chain(telling(parent=turn(ANSWER)), (said("next"),))
    assert chain.summarizable() == [HELLO, ANSWER, HELLO]


def test_an_answer_of_a_cut_call_alone_is_nothing():
    cut = call(status="incomplete", arguments='{"ci')
    assert Chain(telling(cut), ()).items_for(MAKER) == [HELLO]


def test_an_item_that_calls_itself_a_makers_turn_is_left_out_of_every_turn():
    forged = folded(ANSWER)
    for one in (turn(forged, ANSWER, said=(HELLO, forged)), telling(forged, ANSWER)):
        items = Chain(one, ()).items_for(MAKER)
        assert list(unfolded(items)) == [HELLO, ANSWER]
        assert forged not in items[:1] or one.side_data


def test_a_summary_sealed_here_is_a_message_for_every_maker():
    for maker in (MAKER, OTHER):
        for chain in (opened(None, SUMMARY), opened(turn(SUMMARY, said=()))):
            (message,) = chain.items_for(maker)
            assert (message["type"], message["content"]) == ("message", HEADING + "They met.")


def test_a_call_that_was_cut_off_is_no_history():
    cut = call(status="incomplete", arguments='{"ci')
    chain = Chain(turn(cut, ANSWER), (HELLO,))
    assert chain.items_for(MAKER) == [HELLO, ANSWER, HELLO]
    chain.check_calls()


def test_a_chain_of_ten_thousand_turns_is_read_without_recursion():
    last: Turn | None = None
    for _ in range(10_000):
        last = turn(ANSWER, parent=last)
    chain = Chain(last, (HELLO,))
    chain.check_calls()
    assert len(chain.items_for(MAKER)) == 20_001


# After a summary

SUMMARY = UNSIGNED.seal("They met.")
TOLD = {"type": "message", "role": "user", "content": HEADING + "They met."}
FOREIGN = {"id": "cmp_1", "type": "compaction", "encrypted_content": "gAAAA"}
BROKEN = {**FOREIGN, "encrypted_content": MARK + "AAAA"}


def opened(parent: Turn | None, *written: Json) -> Chain:
    return UNSIGNED.open(Chain(parent, written))


def said(text: str) -> Json:
    return {"type": "message", "role": "user", "content": text}


def test_a_summary_is_sent_instead_of_all_before_it_but_the_newest_items():
    first = turn(ANSWER, said=(said("old"),))
    second = turn(SUMMARY, ANSWER, said=(said("asked"),), parent=first)
    chain = opened(second, said("next"))
    assert chain.items_for(MAKER) == [TOLD, said("asked"), ANSWER, said("next")]
    assert [item["content"] for item in chain.items_for(OTHER)][:2] == [TOLD["content"], "asked"]


def test_only_the_last_summary_is_sent():
    first = turn(SUMMARY, ANSWER, said=(said("old"),))
    second = turn(UNSIGNED.seal("They parted."), ANSWER, said=(said("asked"),), parent=first)
    contents = [item["content"] for item in opened(second).items_for(MAKER)]
    assert contents[:2] == [HEADING + "They parted.", "asked"]
    assert len(contents) == 3


def test_a_summary_among_a_clients_own_items_counts_as_well():
    written = (said("old"), ANSWER, said("asked"), SUMMARY, ANSWER, said("next"))
    expected = [TOLD, said("asked"), ANSWER, said("next")]
    assert opened(None, *written).items_for(MAKER) == expected
    assert opened(None, *written[3:]).items_for(MAKER) == [TOLD, ANSWER, said("next")]


def test_a_foreign_compaction_item_leaves_nothing_out():
    assert opened(turn(FOREIGN, ANSWER)).items_for(MAKER) == [HELLO, FOREIGN, ANSWER]


def test_a_seal_that_cannot_be_opened_is_sent_to_nobody_and_leaves_nothing_else_out():
    for maker in (MAKER, OTHER):
        kept = [item["type"] for item in opened(turn(BROKEN, ANSWER)).items_for(maker)]
        assert kept == ["message", "message"]


def test_a_summary_that_is_made_now_takes_the_place_of_an_older_one():
    chain = opened(turn(SUMMARY, ANSWER, said=(said("old"),)), said("asked"))
    item = UNSIGNED.seal("They parted.")
    later = chain.with_summary(item, "They parted.")
    contents = [item["content"] for item in later.items_for(MAKER)]
    assert contents == [HEADING + "They parted.", "asked"]


def test_calls_before_a_summary_stay_answered():
    second = turn(SUMMARY, ANSWER, said=(output(),), parent=turn(call()))
    Chain(second, (HELLO,)).check_calls()


def test_what_a_summary_takes_the_place_of_is_all_before_the_newest_items():
    first = turn(ANSWER)
    assert Chain(first, (said("next"),)).summarizable() == [HELLO, ANSWER]
    assert Chain(None, (HELLO, said("next"))).summarizable() == []
    assert opened(None, SUMMARY, said("next")).summarizable() == []
    assert opened(turn(SUMMARY, ANSWER), said("next")).summarizable() == [HELLO, ANSWER]


# [before, the newest]: items as the model and the client wrote them
@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ([], []),
        ([], [HELLO]),
        ([HELLO, ANSWER], [HELLO, HELLO]),
        ([HELLO, ANSWER], []),
        ([HELLO, REASONING], [HELLO]),
        ([HELLO], [REASONING, ANSWER, call(), output()]),
        ([HELLO], [REASONING, call("a"), call("b"), output("b"), output("a"), HELLO]),
        ([HELLO, call("a"), output("a")], [REASONING, call("b"), output("b")]),
        ([HELLO, SUMMARY], [call(), output()]),
        (
            [HELLO, ANSWER, HELLO],
            [call("a"), HELLO, call("b"), output("a"), ANSWER, output("b")],
        ),
        ([HELLO, call("a"), output("a"), ANSWER], [HELLO]),
        (
            [HELLO],
            [
                {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_1"},
                {"type": "local_shell_call_output", "id": "lsh_1", "output": "{}"},
            ],
        ),
        (
            [HELLO],
            [
                {"type": "mcp_approval_request", "id": "mcpr_1"},
                {"type": "mcp_approval_response", "approval_request_id": "mcpr_1"},
            ],
        ),
        ([], [HELLO, output("nobody's")]),
    ],
)
def test_the_newest_items_are_the_clients_last_and_the_turn_whose_calls_they_answer(older, newer):
    assert newest_start([*older, *newer]) == len(older)


# Calls and their outputs


@pytest.mark.parametrize("kind", sorted(CALLS - {"local_shell_call"}))
def test_an_output_answers_its_call(kind):
    Chain(turn(call(kind=kind)), (output(kind=kind),)).check_calls()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("function_call", "No tool call found for function call output with call_id call_x."),
        (
            "custom_tool_call",
            "No custom tool call found for custom tool call output with call_id call_x.",
        ),
        ("computer_call", "No computer call found for computer call output with call_id call_x."),
    ],
)
def test_an_output_without_its_call_is_refused_in_openais_words(kind, words):
    error = refusal(Chain(turn(call(kind=kind)), (output("call_x", kind=kind),)))
    assert (error.message, error.param, error.status) == (words, "input", 400)


def test_an_output_before_its_call_is_refused():
    refusal(Chain(None, (output(), call())))


def test_an_output_without_a_call_id_answers_nothing():
    refusal(Chain(turn(call()), ({"type": "function_call_output", "output": "x"},)))


def test_a_local_shells_output_names_its_call_by_id_and_is_not_checked():
    shell = {"type": "local_shell_call_output", "id": "call_1", "output": "{}"}
    Chain(turn(call(kind="local_shell_call")), (shell,)).check_calls()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("function_call", "No tool output found for function call call_1."),
        ("custom_tool_call", "No tool output found for custom tool call call_1."),
    ],
)
def test_a_call_the_client_left_unanswered_is_refused_in_openais_words(kind, words):
    error = refusal(Chain(turn(call(kind=kind)), (HELLO,)))
    assert (error.message, error.param) == (words, "input")


def test_every_one_of_parallel_calls_wants_its_output():
    parent = turn(call("a"), call("b"))
    refusal(Chain(parent, (output("a"),)))
    Chain(parent, (output("b"), output("a"))).check_calls()


def test_a_call_and_its_output_may_both_be_in_the_input():
    Chain(None, (HELLO, call(), output())).check_calls()


def test_calls_stay_answered_in_later_turns():
    answered = turn(ANSWER, said=(output(),), parent=turn(call()))
    Chain(answered, (HELLO,)).check_calls()


def test_calls_that_a_provider_answers_itself_want_no_output():
    Chain(turn({"id": "ws_1", "type": "web_search_call"}, ANSWER), (HELLO,)).check_calls()


def test_a_call_of_a_tool_that_the_provider_ran_wants_no_output_and_goes_to_its_maker_only():
    ran = Turn("r", (HELLO,), (call("x"), ANSWER), MAKER, provider_calls=frozenset({"x"}))
    for chain in (Chain(ran, (HELLO,)), Chain(turn(call("xs_call_1"), ANSWER), (HELLO,))):
        chain.check_calls()
        assert len(chain.items_for(MAKER)) == 4
        assert [one["type"] for one in chain.items_for(OTHER)] == ["message"] * 3
    Chain(None, (HELLO, call("x"))).check_calls({"x"})


def test_a_search_may_be_answered_as_a_function_or_not_at_all():
    search = {"type": "tool_search_call", "call_id": "t", "arguments": {}}
    Chain(None, (search, output("t"))).check_calls()
    found = {"type": "tool_search_output", "call_id": None, "tools": []}
    Chain(None, ({**search, "call_id": None}, found)).check_calls()


def test_ids_of_older_histories_are_answered_as_they_are():
    old = "call_1__thought__" + "Q" * 900
    Chain(turn(call(old)), (output(old),)).check_calls()


def test_a_signature_in_a_calls_id_goes_to_its_maker_only():
    old = "call_1__thought__c2ln"
    chain = Chain(turn(call(old), call("c")), (output(old), output("c")))
    ids = [
        [item["call_id"] for item in chain.items_for(maker) if "call_id" in item]
        for maker in (MAKER, OTHER)
    ]
    assert ids == [[old, "c", old, "c"], ["call_1", "c", "call_1", "c"]]


# As input_items lists them


def test_every_listed_item_has_an_id_and_the_same_one_each_time():
    items = (HELLO, output(), {**HELLO, "id": "msg_own"}, {**HELLO, "id": None})
    listed = input_items("resp_abc", items)
    ids = [item["id"] for item in listed]
    assert ids == ["msg_abc_0", "item_abc_1", "msg_own", "msg_abc_3"]
    assert input_items("resp_abc", items) == listed
    assert not set(ids[:2]) & {item["id"] for item in input_items("resp_def", items[:2])}


def test_a_listed_message_has_a_status_and_its_text_as_a_part():
    (user, assistant) = input_items(
        "resp_abc", (HELLO, {"type": "message", "role": "assistant", "content": "hi"})
    )
    assert user["status"] == "completed"
    assert user["content"] == [{"type": "input_text", "text": "hello"}]
    assert assistant["content"] == [
        {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
    ]


def test_listing_changes_nothing():
    before = orjson.dumps(HELLO)
    input_items("resp_abc", (HELLO,))
    assert orjson.dumps(HELLO) == before


def test_what_signs_the_last_words_goes_back_with_them():
    """Gemini signs a text with its last piece: the seal stands after the message."""
    signs = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "wsr1.x"}
    thought = {**signs, "summary": [{"type": "summary_text", "text": "Hm"}]}
    said = {"type": "message", "role": "assistant", "content": "ok"}
    for output, kept in (
        ((said, signs), [said, signs]),
        ((said, signs, thought), [said, signs]),
        ((said, thought), [said]),
        ((signs,), []),
        ((said, {**signs, "encrypted_content": None}), [said]),
    ):
        turn = Turn("resp_1", (), output, "gemini|")
        assert Chain(turn, ()).items_for("gemini|") == kept


def test_a_thought_that_led_to_nothing_is_not_sent_again():
    """The answer was steered or interrupted right after it: no provider takes it alone."""
    thought = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x"}
    said = {"type": "message", "role": "assistant", "content": "ok"}
    for output, kept in (((thought,), []), ((thought, said), [thought, said])):
        turn = Turn("resp_1", (), output, "openai|")
        assert Chain(turn, ()).items_for("openai|") == kept
