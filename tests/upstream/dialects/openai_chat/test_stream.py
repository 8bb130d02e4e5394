"""The reader, on small streams of every form; all events are valid for the official types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.chat_play import SEALS, STOP, Play, call, chunk, failing, framed, play


def kinds(output: Any) -> list[str]:
    return [item["type"] for item in output]


def texts(item: Any) -> list[str]:
    parts = item.get("content") or item.get("summary") or []
    return [part.get("text", part.get("refusal")) for part in parts]


# Text and its ends


def test_text_with_its_model_and_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    found = play(
        chunk(role="assistant", content=""),
        chunk(content="a"),
        chunk(content="b"),
        STOP,
        {"choices": [], "usage": usage, "model": "m-2"},
    )
    assert [texts(item) for item in found.output] == [["ab"]]
    assert found.end["status"] == "completed"
    assert found.end["model"] == "m-2"
    assert found.end["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("eos", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("invented", "completed", None),
    ],
)
def test_ends(finish: str, status: str, reason: Any) -> None:
    found = play(chunk(content="a"), chunk(finish))
    assert (found.end["status"], found.end["incomplete_details"]) == (status, reason)
    assert found.output[0]["status"] == status


@pytest.mark.parametrize(
    "finish", ["network_error", "insufficient_system_resource", "abort", "error"]
)
def test_a_failures_word_is_no_success(finish: str) -> None:
    found, error = failing(chunk(content="half"), chunk(finish))
    assert found.text == "half"
    assert finish in error.message


def test_an_answer_needs_a_finish_reason() -> None:
    for done in (True, False):
        _, error = failing(chunk(content="a"), done=done)
        assert error.code == "server_error"
    found = play(chunk(content="a"), STOP, done=False)
    assert found.end["status"] == "completed"


def test_an_unknown_end_without_the_wires_own_end_is_a_failure() -> None:
    failing(chunk("invented", content="a"), done=False)
    failing(chunk("invented"))


def test_snowflake_ends_without_a_reason_but_not_amid_a_call() -> None:
    found = play(chunk(content="a"), provider="snowflake")
    assert found.end["status"] == "completed"
    failing(chunk(content="a"), provider="snowflake", done=False)
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
    failing(chunk(tool_calls=[call]), provider="snowflake")


def test_only_the_first_choice_is_read() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    assert play(chunk(content="a"), other, STOP).text == "a"


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "abc"}],
        [
            {"type": "text", "text": "a"},
            "b",
            {"type": "reference", "reference_ids": [1]},
            5,
            {"type": "output_text", "text": "c"},
        ],
        {"type": "text", "text": "abc"},
    ],
)
def test_content_in_parts(content: Any) -> None:
    assert play(chunk(content=content), STOP).text == "abc"


def test_a_message_instead_of_a_delta() -> None:
    message = {"index": 0, "message": {"content": "abc"}, "finish_reason": "stop"}
    assert play({"choices": [message]}).text == "abc"
    assert play({"choices": [{"text": "abc", "finish_reason": "stop"}]}).text == "abc"


def test_a_message_that_repeats_the_deltas_is_not_read() -> None:
    repeated = {"delta": {"content": "b"}, "message": {"content": "ab"}, "finish_reason": None}
    last = {"delta": {}, "message": {"content": "ab"}, "finish_reason": "stop"}
    assert play(chunk(content="a"), {"choices": [repeated]}, {"choices": [last]}).text == "ab"


def test_json_instead_of_a_stream() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "plain", "reasoning": "hm", "tool_calls": [call]}
    answer = {
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    found = Play(orjson.dumps(answer), "groq")
    assert found.problems() == []
    assert kinds(found.output) == ["reasoning", "message", "function_call"]
    assert found.end["usage"]["total_tokens"] == 3
    answer["choices"][0]["finish_reason"] = "error"  # type: ignore[index]
    failed = Play(orjson.dumps(answer))
    assert failed.text == "plain"
    assert failed.error is not None


def test_half_a_character_waits_for_its_other_half() -> None:
    halves = [
        b'{"choices":[{"index":0,"delta":{"content":"%b"}}]}' % half
        for half in (b"\\ud83d", b"\\ude00")
    ]
    data = b"".join(b"data: %b\n\n" % half for half in halves) + framed(STOP)
    assert Play(data).text == "\U0001f600"


def test_refusals() -> None:
    found = play(chunk(refusal="I "), chunk(refusal="won't"), STOP)
    assert found.output[0]["content"] == [{"type": "refusal", "refusal": "I won't"}]


def test_log_probabilities_come_with_their_text() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    one = {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}}]}
    (item,) = play(one, STOP).output
    assert item["content"][0]["logprobs"] == [token]


# Thoughts


@pytest.mark.parametrize(
    ("provider", "delta", "sealed"),
    [
        ("deepseek", {"reasoning_content": "hm", "content": None}, {"field": "reasoning_content"}),
        ("groq", {"reasoning": "hm"}, {"field": "reasoning"}),
        ("groq", {"reasoning_content": "hm", "reasoning": "hm"}, {"field": "reasoning_content"}),
        ("openai", {"reasoning": "hm"}, {"field": "reasoning"}),
        ("openai", {"reasoning_content": "hm"}, {"field": "reasoning_content"}),
        ("mistral", {"content": [{"type": "thinking", "thinking": "hm"}]}, {"field": "thinking"}),
        ("openai", {"content": [{"type": "thinking", "thinking": "hm"}]}, {"field": "thinking"}),
        (
            "openrouter",
            {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
            {"field": "reasoning"},
        ),
    ],
)
def test_thoughts(provider: str, delta: Any, sealed: Any) -> None:
    found = play(chunk(**delta), chunk(content="a"), STOP, provider=provider)
    assert kinds(found.output) == ["reasoning", "message"]
    assert texts(found.output[0]) == ["hm"]
    assert SEALS.open(found.output[0].get("encrypted_content")) == sealed


def test_a_signature_is_sealed_with_its_thought_and_data_after_the_text_alone() -> None:
    signed = {"type": "reasoning.text", "signature": "s", "index": 0}
    data = {"type": "reasoning.encrypted", "data": "d"}
    found = play(
        chunk(
            reasoning="hm", reasoning_details=[{"type": "reasoning.text", "text": "hm", "index": 0}]
        ),
        chunk(content="", reasoning_details=[signed]),
        chunk(content="a"),
        chunk(reasoning_details=[data]),
        STOP,
        provider="openrouter",
    )
    first, text, last = found.output
    assert SEALS.open(first["encrypted_content"]) == {
        "field": "reasoning",
        "reasoning_details": [signed | {"text": "hm"}],
    }
    assert texts(text) == ["a"]
    assert (texts(last), SEALS.open(last["encrypted_content"])) == (
        [],
        {"reasoning_details": [data]},
    )


# Calls


def calls(output: Any) -> list[tuple[str, str]]:
    return [(item["name"], item.get("arguments", item.get("input"))) for item in output]


@pytest.mark.parametrize(
    "deltas",
    [
        [
            [call(0, "a", "f", ""), call(1, "b", "f", "")],
            [call(0, None, None, '{"x":1}'), call(1, None, None, '{"x":2}')],
        ],
        [[call(0, "a", "f", '{"x":1}')], [call(0, "b", "f", '{"x":2}')]],
        [[call(None, "a", "f", '{"x":1}')], [call(None, "b", "f", '{"x":2}')]],
        [[call(None, None, "f", '{"x":1}'), call(None, None, "f", '{"x":2}')]],
        [
            [call(0, "a", "f", None)],
            [call(0, "", None, '{"x"')],
            [call(0, "", None, ":1}")],
            [call(1, "b", "f", {"x": 2})],
        ],
    ],
)
def test_two_calls_however_they_come(deltas: Any) -> None:
    found = play(*(chunk(tool_calls=delta) for delta in deltas), chunk("tool_calls"))
    given = [(name, orjson.loads(arguments)) for name, arguments in calls(found.output)]
    assert given == [("f", {"x": 1}), ("f", {"x": 2})]
    assert len({item["call_id"] for item in found.output}) == 2


def test_the_clients_tools_get_their_own_calls() -> None:
    found = play(
        chunk(content="so"),
        chunk(tool_calls=[call(0, "a", "crm__list", "{}")]),
        chunk(tool_calls=[call(1, "b", "say", '{"content": "hi"}')]),
        chunk(tool_calls=[call(2, "c", "web_search", "{}")]),
        chunk("tool_calls"),
    )
    assert kinds(found.output) == ["message", "function_call", "custom_tool_call", "function_call"]
    assert calls(found.output[1:]) == [("list", "{}"), ("say", "hi"), ("web_search", "{}")]
    assert found.output[1]["namespace"] == "crm"


def test_the_call_before_tool_calls() -> None:
    parts = [{"name": "f", "arguments": ""}, {"arguments": "{}"}]
    found = play(*(chunk(function_call=part) for part in parts), chunk("function_call"))
    assert calls(found.output) == [("f", "{}")]
    assert found.output[0]["call_id"]


def test_an_id_of_any_form_fits_the_client() -> None:
    found = play(chunk(tool_calls=[call(0, "functions.f:0", "f", "{}")]), chunk("tool_calls"))
    assert found.output[0]["call_id"] == "callx_ZnVuY3Rpb25zLmY6MA"


def test_a_cut_call_is_incomplete() -> None:
    found = play(chunk(tool_calls=[call(0, "a", "f", '{"x')]), chunk("length"))
    assert found.output[0]["status"] == "incomplete"


def test_what_a_call_carries_is_sealed_before_it() -> None:
    extra = {"google": {"thought_signature": "s"}}
    one = call(0, "a", "f", "{}") | {"extra_content": extra}
    found = play(chunk(tool_calls=[one]), chunk("tool_calls"))
    assert kinds(found.output) == ["reasoning", "function_call"]
    assert SEALS.open(found.output[0]["encrypted_content"]) == {"extra_content": {"a": extra}}


@pytest.mark.parametrize("given", [[None], ["x"], {"a": 1}, [{"index": 0}], [{"function": []}]])
def test_nonsense_in_the_place_of_calls_is_no_call(given: Any) -> None:
    assert kinds(play(chunk(content="a"), chunk(tool_calls=given), STOP).output) == ["message"]


# What the provider ran itself


def test_groqs_tools() -> None:
    search = {"index": 0, "type": "search", "arguments": '{"query": "cats"}'}
    ran = search | {"output": "…", "search_results": {"results": [{"url": "https://a"}]}}
    code = {"index": 1, "type": "python", "arguments": '{"code": "1"}', "output": "1"}
    other = {"index": 2, "type": "wolfram", "arguments": "{}", "output": "2"}
    found = play(
        chunk(reasoning="hm"),
        chunk(executed_tools=[search]),
        chunk(executed_tools=[ran]),
        chunk(executed_tools=[code, other]),
        chunk(content="a"),
        STOP,
        provider="groq",
    )
    expected = ["reasoning", "web_search_call", "code_interpreter_call", "mcp_call", "message"]
    assert kinds(found.output) == expected
    assert {item["status"] for item in found.output} == {"completed"}
    assert found.output[1]["action"]["sources"] == [{"type": "url", "url": "https://a"}]
    assert found.output[2]["outputs"] == [{"type": "logs", "logs": "1"}]
    assert (found.output[3]["name"], found.output[3]["server_label"]) == ("wolfram", "groq")


def test_xais_own_calls_are_never_the_clients() -> None:
    own = call(0, "xs_call_1", "web_search", '{"query": "cats"}')
    typed = call(1, "x2", "", "{}") | {"type": "x_search_call"}
    mine = call(2, "call_1", "web_search", '{"query": "dogs"}')
    found = play(
        chunk(tool_calls=[own, typed]),
        chunk(tool_calls=[own, mine]),
        chunk("tool_calls"),
        provider="xai",
    )
    assert kinds(found.output) == ["web_search_call", "web_search_call", "function_call"]
    assert found.output[0]["action"]["query"] == "cats"
    assert found.output[0]["status"] == "completed"


def test_perplexitys_steps() -> None:
    search = {"type": "web_search", "web_search": {"search_keywords": ["a"]}, "thought": "hm"}
    found = play(
        chunk(content="", reasoning_steps=[search, None]),
        chunk(content="a", reasoning_steps=[search]),
        STOP,
        provider="perplexity",
    )
    assert kinds(found.output) == [*("reasoning", "web_search_call") * 2, "message"]


def test_sources_become_citations_of_the_text() -> None:
    sources = {"citations": ["https://a", "https://b"]}
    found = play(chunk(content="so[1]") | sources, chunk("stop") | sources, provider="perplexity")
    notes = found.output[0]["content"][0]["annotations"]
    assert [(n["url"], n["start_index"], n["end_index"]) for n in notes] == [
        ("https://a", 2, 5),
        ("https://b", 0, 5),
    ]


def test_citations_before_the_text_span_it() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
    found = play(
        chunk(content="", annotations=[note]),
        chunk(content="abc"),
        chunk(tool_calls=[call(0, "a", "f", "{}")]),
        chunk("tool_calls"),
    )
    (note,) = found.output[0]["content"][0]["annotations"]
    assert (note["url"], note["start_index"], note["end_index"]) == ("https://a", 0, 3)


def test_pictures() -> None:
    given = [
        {"type": "image_url", "image_url": {"url": url}}
        for url in ("data:image/png;base64,QQ==", "https://a/b.png")
    ]
    found = play(chunk(content="see"), chunk(images=[*given, None, {}]), STOP)
    assert kinds(found.output) == ["message", "image_generation_call", "message"]
    assert found.output[1]["result"] == "QQ=="
    assert texts(found.output[2]) == ["![image](https://a/b.png)"]


def test_sound_is_read_by_its_transcript() -> None:
    assert play(chunk(audio={"transcript": "abc", "data": "QQ=="}), STOP).text == "abc"


@pytest.mark.parametrize(
    "usage",
    [
        {"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}, "choices": []},
        {"choices": [{"delta": {}, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}]},
    ],
)
def test_usage_in_other_places(usage: Any) -> None:
    assert play(chunk(content="a"), STOP, usage).end["usage"]["output_tokens"] == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": None}]},
        {"choices": {"delta": {"content": "no"}}},
        {"error": None, "choices": []},
        {"object": "ping"},
        [],
        None,
        {"choices": [{"delta": {"content": None, "annotations": "x", "images": 1, "audio": 3}}]},
        {"choices": [{"delta": {"executed_tools": [None], "refusal": 7, "function_call": 1}}]},
        {"choices": [{"delta": {"reasoning_details": [None, {"type": []}], "reasoning": 0}}]},
        {"choices": [], "citations": "x", "usage": "many", "model": 5, "x_groq": [1]},
    ],
)
def test_what_says_nothing_is_passed_over(odd: Any) -> None:
    assert play(odd, chunk(content="a"), odd, STOP, odd).text == "a"


def test_an_event_that_is_no_json_is_one_error() -> None:
    found = Play(framed(chunk(content="a"), done=False) + b"data: {broken\n\n")
    assert found.text == "a"
    assert found.error is not None
