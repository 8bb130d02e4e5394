"""Turns in the words of one provider."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ws_bridge.protocol.tools import ClientTool
from ws_bridge.upstream.dialects.entries import ContentPart, ToolResult, ToolUse, UserTurn
from ws_bridge.upstream.dialects.openai_chat.messages import MessageWriter
from ws_bridge.upstream.dialects.openai_chat.turns import AnswerTurn, OwnThought, Turn
from ws_bridge.upstream.dialects.openai_chat.variants import PLAIN, Variant, variant_of

TOOL = ClientTool("f", "function", "f")
IMAGE = ContentPart("image", media_type="image/png", data="QQ==", detail="low")
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ==", "detail": "low"}}


def user(*parts: ContentPart | str, role: str = "user") -> UserTurn:
    return UserTurn(role, tuple(ContentPart("text", p) if isinstance(p, str) else p for p in parts))


def write(*turns: Turn, variant: Variant = PLAIN, thinks: bool = False) -> Any:
    return MessageWriter(variant, thinks=thinks).write(turns)


def called(*parts: ContentPart | str, call_id: str = "call_1", **more: Any) -> AnswerTurn:
    result = ToolResult(call_id, TOOL, user(*parts).parts)
    return AnswerTurn(calls=[ToolUse(call_id, TOOL, {"a": 1})], results={call_id: result}, **more)


def call_json(call_id: str = "call_1") -> Any:
    function = {"name": "f", "arguments": '{"a":1}'}
    return {"id": call_id, "type": "function", "function": function}


def test_a_call_and_its_result() -> None:
    assert write(user("hi"), called("42")) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call_json()]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]


def test_developers_are_the_system_where_the_role_is_not_known() -> None:
    turn = user("be brief", role="developer")
    assert write(turn) == [{"role": "system", "content": "be brief"}]
    openai = write(turn, variant=variant_of("openai"))
    assert openai == [{"role": "developer", "content": "be brief"}]


def test_several_texts_are_a_list_where_the_provider_takes_it() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert write(user("a", "b")) == [{"role": "user", "content": "a\n\nb"}]
    assert write(user("a", "b"), variant=variant_of("openai"))[0]["content"] == parts


def test_a_picture_in_all_its_detail_is_in_high_detail_where_that_is_the_most() -> None:
    def detail(variant: str) -> str:
        turn = user(replace(IMAGE, detail="original"))
        content = write(turn, variant=variant_of(variant))[0]["content"]
        return content[0]["image_url"]["detail"]

    assert (detail("openai"), detail("groq")) == ("original", "high")


def test_pictures_of_a_result_follow_it_as_the_users() -> None:
    assert write(called("see", IMAGE))[1:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "see"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "The output of the tool call call_1:"}, SHOWN],
        },
    ]


def test_mistral_takes_pictures_of_a_result_and_wants_ids_of_nine() -> None:
    call, result = write(called("see", IMAGE), variant=variant_of("mistral"))
    call_id = call["tool_calls"][0]["id"]
    assert len(call_id) == 9
    assert result == {
        "role": "tool",
        "tool_call_id": call_id,
        "content": [{"type": "text", "text": "see"}, SHOWN],
    }


def test_mistral_says_a_word_between_a_result_and_the_user() -> None:
    messages = write(called("1"), user("go on"), variant=variant_of("mistral"))
    assert [m["role"] for m in messages] == ["assistant", "tool", "assistant", "user"]
    quiet = write(called("1"), AnswerTurn(text="so"), variant=variant_of("mistral"))
    assert [m["role"] for m in quiet] == ["assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("deepseek", {"content": "t", "reasoning_content": "hm"}),
        ("groq", {"content": "t", "reasoning": "hm"}),
        ("perplexity", {"content": "t"}),
        ("openai", {"content": "t"}),
        (
            "mistral",
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "t"},
                ]
            },
        ),
    ],
)
def test_thoughts_go_back_in_the_providers_field(provider: str, expected: Any) -> None:
    turn = AnswerTurn([OwnThought("hm", {})], "t")
    assert write(turn, variant=variant_of(provider)) == [{"role": "assistant", **expected}]


def test_a_seal_names_the_field_and_has_the_details() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    thoughts = [
        OwnThought("a", {"field": "reasoning"}),
        OwnThought("", {"reasoning_details": details}),
        OwnThought("no", {"field": "tool_calls"}),  # a seal is no way to write any field
    ]
    expected = {"reasoning": "a", "reasoning_details": details}
    assert write(AnswerTurn(thoughts, "t")) == [{"role": "assistant", "content": "t", **expected}]


def test_what_a_call_carried_goes_back_with_it() -> None:
    thoughts = [OwnThought("", {"extra_content": {"call_1": {"google": 1}, "call_2": {"b": 2}}})]
    message = write(called("1", thoughts=thoughts))[0]
    assert message["tool_calls"] == [call_json() | {"extra_content": {"google": 1}}]


def test_a_thinking_model_gets_a_thought_with_every_message_where_it_wants_one() -> None:
    deepseek = variant_of("deepseek")
    turn = AnswerTurn(text="t")
    assert write(turn, variant=deepseek, thinks=True)[0]["reasoning_content"] == " "
    assert "reasoning_content" not in write(turn, variant=deepseek)[0]
    assert "reasoning" not in write(turn, variant=variant_of("groq"), thinks=True)[0]


def test_an_empty_message_is_left_out_where_it_would_be_refused() -> None:
    turn = AnswerTurn([OwnThought("hm", {})])
    expected = [{"role": "assistant", "content": "", "reasoning_content": "hm"}]
    assert write(turn) == expected
    assert write(turn, variant=variant_of("moonshot")) == []
    assert len(write(turn, variant=variant_of("mistral"))) == 1, "a thought is content there"


@pytest.mark.parametrize(
    ("files", "part", "expected"),
    [
        (
            "file",
            ContentPart("file", media_type="text/csv", data="QQ==", name="a.csv"),
            {"filename": "a.csv", "file_data": "data:text/csv;base64,QQ=="},
        ),
        (
            "file",
            ContentPart("file", data="QQ==", name="a.txt"),
            {"filename": "a.txt", "file_data": "data:text/plain;base64,QQ=="},
        ),
        (
            "file",
            ContentPart("file", data="QQ=="),
            {"filename": "file", "file_data": "data:application/pdf;base64,QQ=="},
        ),
        ("file", ContentPart("file", file_id="f1"), {"file_id": "f1"}),
        ("document_url", ContentPart("file", url="https://a/b.pdf"), "https://a/b.pdf"),
        ("file_url", ContentPart("file", media_type="text/csv", data="QQ=="), {"url": "QQ=="}),
    ],
)
def test_files(files: str, part: ContentPart, expected: Any) -> None:
    (message,) = write(user(part), variant=replace(PLAIN, files=files))
    assert message["content"] == [{"type": files, files: expected}]


def test_sound() -> None:
    (message,) = write(user(ContentPart("audio", media_type="audio/wav", data="QQ==")))
    sound = {"data": "QQ==", "format": "wav"}
    assert message["content"] == [{"type": "input_audio", "input_audio": sound}]


def test_sound_is_bare_for_mistral() -> None:
    sound = ContentPart("audio", media_type="audio/wav", data="QQ==")
    (message,) = write(user(sound), variant=variant_of("mistral"))
    assert message["content"] == [{"type": "input_audio", "input_audio": "QQ=="}]


def test_a_result_is_never_empty() -> None:
    turn = AnswerTurn(calls=[ToolUse("call_1", TOOL, {})])
    expected = {"role": "tool", "tool_call_id": "call_1", "content": "(no output)"}
    assert write(turn)[1] == expected


def test_turns_alternate_where_they_must() -> None:
    messages = write(
        user("s", role="system"),
        user("a"),
        user("b", role="system"),
        user(IMAGE),
        AnswerTurn(text="c"),
        AnswerTurn(text="d"),
        variant=variant_of("perplexity"),
    )
    texts = [{"type": "text", "text": text} for text in "ab"]
    assert messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [*texts, SHOWN]},
        {"role": "assistant", "content": "c\n\nd"},
    ]
