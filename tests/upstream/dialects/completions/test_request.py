"""A request as one prompt: whole bodies, and 400s for what a text has no words for."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.completions import FAMILY


def written(*items, provider="text-completion-openai", more=None, **options):
    tools = ToolTable.of(options.get("tools") or ())
    given = WriterInput("instruct", provider, list(items), options, tools, **(more or {}))
    return FAMILY.write(given).body


def say(words, role="user"):
    return {"type": "message", "role": role, "content": words}


def refusal(*items, **options):
    with pytest.raises(BridgeError) as refused:
        written(*(items or [say("Hi")]), **options)
    assert refused.value.status == 400
    return refused.value.param


def test_a_text_is_the_prompt_as_it_is():
    assert written(say("Once upon"), temperature=0, top_p=0.5, max_output_tokens=7) == {
        "model": "instruct",
        "prompt": "Once upon",
        "max_tokens": 7,
        "temperature": 0,
        "top_p": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_conversation_has_the_names_of_those_who_speak():
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    parts = [{"type": "input_text", "text": "And"}, {"type": "input_text", "text": "then?"}]
    items = [say("Hi"), thought, search, say(" Hello.", "assistant"), say("Short!", "developer")]
    assert written(*items, say(parts), instructions="Be kind.", provider="another") == {
        "model": "instruct",
        "prompt": "Be kind.\n\nUser: Hi\n\nAssistant: Hello.\n\nShort!\n\n"
        "User: And\nthen?\n\nAssistant:",
        "stop": ["\n\nUser:"],
        "max_tokens": 1024,
        "stream": True,
    }


def test_instructions_stand_before_a_text():
    assert written(say("Hi"), instructions="Be kind.")["prompt"] == "Be kind.\n\nHi"


def test_an_answer_is_no_longer_than_the_model_writes():
    assert written(say("Hi"), more={"max_output_tokens": 100})["max_tokens"] == 100


def test_a_model_that_does_not_stream_is_not_asked_to():
    body = written(say("Hi"), more={"streams": False})
    assert body["stream"] is False
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "function", "name": "f"}]}, "tools[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "invented"}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"invented": 1}, "invented"),
    ],
)
def test_what_a_text_cannot_say_is_refused(options, param):
    assert refusal(**options) == param


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a"},
        say([{"type": "input_image", "image_url": "data:image/png;base64,QUJD"}]),
        {"type": "invented"},
    ],
)
def test_what_is_no_text_is_refused(item):
    assert refusal(item).startswith("input")


def test_nothing_is_no_prompt():
    assert refusal(say("")) == "input"


@pytest.mark.parametrize(
    "options", [{"tools": []}, {"tool_choice": "auto"}, {"reasoning": {"effort": "none"}}]
)
def test_what_changes_nothing_is_left_out(options):
    assert written(say("Hi"), **options) == written(say("Hi"))
