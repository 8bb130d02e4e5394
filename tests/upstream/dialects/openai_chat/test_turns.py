"""Entries become turns in which calls stand with their results."""

from __future__ import annotations

from ws_bridge.protocol.tools import ClientTool
from ws_bridge.upstream.dialects.entries import (
    AnswerText,
    ContentPart,
    Entry,
    HostedUse,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
)
from ws_bridge.upstream.dialects.openai_chat.turns import (
    AnswerTurn,
    OwnThought,
    Turn,
    turns_of,
)
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("maker", lambda: [b"key"])
TOOL = ClientTool("f", "function", "f")
HELLO = UserTurn("user", (ContentPart("text", "hello"),))


def use(call_id: str) -> ToolUse:
    return ToolUse(call_id, TOOL, {})


def result(call_id: str, text: str = "r") -> ToolResult:
    return ToolResult(call_id, TOOL, (ContentPart("text", text),))


def turns(*entries: Entry) -> list[Turn]:
    return turns_of(entries, SEALS)


def test_one_message_has_thought_text_and_calls() -> None:
    a, b = use("a"), use("b")
    results = {"a": result("a"), "b": result("b")}
    thought = Thought("hm")
    found = turns(HELLO, thought, AnswerText("t"), a, b, results["b"], results["a"])
    assert found == [HELLO, AnswerTurn([OwnThought("hm", {})], "t", [a, b], results)]
    assert isinstance(found[1], AnswerTurn)
    assert found[1].answered() == [results["a"], results["b"]]


def test_a_result_stands_after_its_call_though_words_came_between() -> None:
    a = use("a")
    found = turns(a, HELLO, AnswerText("later"), result("a"))
    assert found == [
        AnswerTurn(calls=[a], results={"a": result("a")}),
        HELLO,
        AnswerTurn(text="later"),
    ]


def test_what_comes_after_a_result_is_another_message() -> None:
    a, b = use("a"), use("b")
    found = turns(a, result("a"), b, result("b"), AnswerText("t"))
    assert found == [
        AnswerTurn(calls=[a], results={"a": result("a")}),
        AnswerTurn(calls=[b], results={"b": result("b")}),
        AnswerTurn(text="t"),
    ]


def test_an_id_that_comes_again_is_another_call() -> None:
    a = use("a")
    first, second = result("a", "1"), result("a", "2")
    found = turns(a, first, a, second)
    assert found == [
        AnswerTurn(calls=[a], results={"a": first}),
        AnswerTurn(calls=[a], results={"a": second}),
    ]


def test_texts_and_thoughts_in_turn_are_messages_of_their_own() -> None:
    found = turns(AnswerText("a"), AnswerText("b"), Thought("c"), AnswerText("d"))
    assert found == [
        AnswerTurn(text="a"),
        AnswerTurn(text="b"),
        AnswerTurn([OwnThought("c", {})], "d"),
    ]


def test_a_seal_after_the_text_belongs_to_it() -> None:
    sealed = SEALS.seal({"field": "reasoning"})
    found = turns(AnswerText("a"), Thought("", sealed))
    assert found == [AnswerTurn([OwnThought("", {"field": "reasoning"})], "a")]


def test_what_another_maker_sealed_is_left_out() -> None:
    foreign = MakerSeals("other", lambda: [b"key"]).seal({"field": "reasoning"})
    forged = MakerSeals("maker", lambda: [b"no key"]).seal({"field": "reasoning"})
    found = turns(Thought("a", foreign), Thought("b", forged), Thought("c", "gAAAA"))
    assert found == []


def test_a_seal_of_another_form_is_no_way_in() -> None:
    values = {"field": 1, "reasoning_details": [1, {"a": 1}], "extra_content": {"c": 1}, "x": 2}
    (turn,) = turns(Thought("", SEALS.seal(values)))
    assert isinstance(turn, AnswerTurn)
    assert turn.thoughts == [
        OwnThought("", {"reasoning_details": [{"a": 1}], "extra_content": {}}),
    ]


def test_hosted_calls_say_nothing() -> None:
    assert turns(HostedUse({"type": "web_search_call"})) == []


def test_a_call_without_a_result_gets_one() -> None:
    (turn,) = turns(use("a"))
    assert isinstance(turn, AnswerTurn)
    assert turn.answered() == [ToolResult("a", TOOL, ())]


def test_a_result_without_a_call_is_the_users_text() -> None:
    assert turns(result("a", "r")) == [UserTurn("user", (ContentPart("text", "r"),))]
