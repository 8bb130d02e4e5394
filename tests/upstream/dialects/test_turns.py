"""Every history becomes turns in which results directly follow their calls."""

from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.protocol.tools import ClientTool
from ws_bridge.upstream.dialects.entries import (
    AnswerText,
    ContentPart,
    OwnBlock,
    ToolResult,
    ToolUse,
    UserTurn,
)
from ws_bridge.upstream.dialects.turns import NO_OUTPUT, ModelTurn, fitting_id, turns_of

TOOL = ClientTool("f", "function", "f")


def use(call_id):
    return ToolUse(call_id, TOOL, {})


def result(call_id, text="done"):
    return ToolResult(call_id, TOOL, (ContentPart("text", text),) if text else ())


def user(text="hi"):
    return UserTurn("user", (ContentPart("text", text),))


def shape(turns):
    """U for a user's turn, and of the model's the ids of its calls and results."""
    return [
        "U"
        if isinstance(turn, UserTurn)
        else (
            [entry.call_id for entry in turn.entries if isinstance(entry, ToolUse)],
            [one.call_id for one in turn.results],
        )
        for turn in turns
    ]


def test_what_the_model_wrote_in_a_row_is_one_turn():
    (turn,) = turns_of([AnswerText("a"), use("1"), use("2"), result("2"), result("1")])

    assert turn == ModelTurn((AnswerText("a"), use("1"), use("2")), (result("1"), result("2")))


def test_a_makers_own_blocks_stay_where_they_are():
    entries = (OwnBlock({"a": 1}), use("1"), OwnBlock({"b": 2}))
    assert turns_of([*entries, user()]) == [
        ModelTurn(entries, (ToolResult("1", TOOL, ()),)),
        user(),
    ]


def test_a_signature_of_gemini_s_in_an_id_is_no_part_of_it():
    old = "call_1__thought__c2ln"
    assert shape(turns_of([use(old), result(old)])) == [(["call_1"], ["call_1"])]


def test_results_stand_after_their_calls_wherever_they_came():
    turns = turns_of([use("1"), user(), result("1"), AnswerText("a"), user()])

    assert shape(turns) == [(["1"], ["1"]), "U", ([], []), "U"]


def test_a_late_result_does_not_end_the_turn_before_it_twice():
    turns = turns_of([use("1"), use("2"), result("1"), AnswerText("a"), result("2")])

    assert shape(turns) == [(["1", "2"], ["1", "2"]), ([], [])]


def test_a_call_without_a_result_gets_an_empty_one():
    assert turns_of([use("1")])[0].results == (ToolResult("1", TOOL, ()),)


def test_a_result_without_a_call_is_the_users():
    assert turns_of([result("9", "x"), result("8", "")]) == [
        UserTurn("user", (ContentPart("text", "x"),)),
        UserTurn("user", (ContentPart("text", NO_OUTPUT),)),
    ]


def test_a_second_result_is_the_users():
    assert shape(turns_of([use("1"), result("1"), result("1")])) == [(["1"], ["1"]), "U"]


def test_an_id_that_comes_again_is_another_one():
    first, second = turns_of([use("1"), result("1", "a"), use("1"), result("1", "b")])

    assert first.results[0].call_id == "1"
    assert second.results[0].call_id == second.entries[0].call_id != "1"
    assert second.results[0].text == "b"


def test_a_fitting_id_stays_and_another_is_hashed():
    assert fitting_id("toolu_01-A") == "toolu_01-A"
    for foreign in ("", "a b", "x" * 65, "ä", "a\n"):
        assert fitting_id(foreign) == fitting_id(fitting_id(foreign))
        assert fitting_id(foreign) != foreign


ENTRIES = st.lists(
    st.one_of(
        st.sampled_from([user(), AnswerText("a")]),
        st.sampled_from("123").map(use),
        st.sampled_from("1234").map(result),
    ),
    max_size=12,
)


@given(ENTRIES)
def test_any_history_answers_each_call_once_and_loses_nothing(entries):
    turns = turns_of(entries)
    ids = []
    for turn in turns:
        if isinstance(turn, ModelTurn):
            calls = [entry.call_id for entry in turn.entries if isinstance(entry, ToolUse)]
            assert [one.call_id for one in turn.results] == calls
            ids += calls
    texts = sum(isinstance(entry, AnswerText) for entry in entries)

    assert len(set(ids)) == len(ids) == sum(isinstance(entry, ToolUse) for entry in entries)
    assert texts == sum(
        isinstance(entry, AnswerText)
        for turn in turns
        if isinstance(turn, ModelTurn)
        for entry in turn.entries
    )
    assert all(turn.entries for turn in turns if isinstance(turn, ModelTurn))
