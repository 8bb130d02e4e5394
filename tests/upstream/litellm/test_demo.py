"""The demo model, called as the bridge calls it: through the real litellm."""

import asyncio
import json
import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no network at import

import litellm
import pytest

from ws_bridge.upstream.litellm import demo
from ws_bridge.upstream.litellm.demo_rules import COUNT_LIMIT, WHO, DemoConversation, answer, sample

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
TIME = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(autouse=True)
def registered():
    demo.register(delay_seconds=0)


def user(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def assistant(text):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part]}


def call_item(name="get_weather", arguments="{}"):
    return {"type": "function_call", "call_id": "call_1", "name": name, "arguments": arguments}


def output_item(output):
    return {"type": "function_call_output", "call_id": "call_1", "output": output}


class Streamed:
    """What came out of litellm's raw chunks."""

    def __init__(self):
        self.text = self.thought = self.arguments = ""
        self.call_ids, self.names = [], []
        self.finish_reasons, self.usages = [], []
        self.word_count = 0

    def take(self, chunk):
        usage = getattr(chunk, "usage", None)
        self.usages += [usage] if usage else []
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        self.text += choice.delta.content or ""
        self.word_count += bool(choice.delta.content)
        self.thought += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or ():
            self.arguments += call.function.arguments or ""
            self.call_ids += [call.id] if call.id else []
            self.names += [call.function.name] if call.function.name else []
        self.finish_reasons += [choice.finish_reason] if choice.finish_reason else []


async def open_stream(items, **options):
    options.setdefault("model", "demo/demo")
    stream = await litellm.aresponses(input=items, stream=True, max_retries=0, **options)
    return stream.litellm_custom_stream_wrapper


async def ask(*items, **options):
    streamed = Streamed()
    async for chunk in await open_stream(list(items), **options):
        streamed.take(chunk)
    return streamed


async def test_a_first_answer_streams_word_by_word_and_is_signed_as_no_ai():
    streamed = await ask(user("Hello there"))
    assert streamed.text.startswith(WHO)
    assert '"Hello there"' in streamed.text
    assert len(streamed.text.split()) == streamed.word_count
    assert streamed.finish_reasons == ["stop"]


async def test_any_name_behind_the_provider_works_too():
    assert WHO in (await ask(user("hi"), model="demo/other")).text


async def test_each_word_is_counted_as_usage_once():
    streamed = await ask(user("one two three"), instructions="be kind")
    (usage,) = streamed.usages
    assert usage.prompt_tokens == 5
    assert streamed.word_count == usage.completion_tokens
    assert 5 + streamed.word_count == usage.total_tokens


async def test_a_fact_of_an_earlier_turn_is_remembered():
    streamed = await ask(
        user("My name is Ada."),
        assistant("Noted."),
        user("My favourite colour is deep blue, and my name is Ada Lovelace."),
        assistant("Noted."),
        user("What is my name?"),
    )
    assert streamed.text == "You told me: your name is Ada Lovelace."


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What's my favourite colour again?", "You told me: your favourite colour is deep blue."),
        ("Do you remember my dog?", "You have not told me your dog yet."),
        ("What did I say?", 'You said: "My favourite colour is deep blue".'),
        ("What did I just do?", "I have seen 2 turns of this conversation."),
        ("Who are you?", WHO),
        ("Are you an AI?", WHO),
        ("my cat is Tom", "Noted: your cat is Tom."),
        ("count to 5", "1 2 3 4 5"),
    ],
)
async def test_later_answers_follow_the_rules(question, expected):
    earlier = user("My favourite colour is deep blue"), assistant("Noted.")
    assert expected in (await ask(*earlier, user(question))).text


async def test_counting_ends_at_the_limit():
    """A count is the long answer of the tests that stop and resume; it has an end."""
    streamed = await ask(user("hi"), assistant("hi"), user("Please count to 999999999"))
    assert [str(n) for n in range(1, COUNT_LIMIT + 1)] == streamed.text.split()


async def test_max_output_tokens_cuts_the_answer_which_is_incomplete():
    streamed = await ask(user("hi"), assistant("hi"), user("count to 100"), max_output_tokens=16)
    assert len(streamed.text.split()) == 16
    assert streamed.finish_reasons == ["length"]


async def test_thinking_comes_first_when_asked_for():
    order = []
    async for chunk in await open_stream([user("Think about it")]):
        for choice in chunk.choices:
            order += ["thought"] * bool(getattr(choice.delta, "reasoning_content", None))
            order += ["text"] * bool(choice.delta.content)
    assert order[0] == "thought"
    assert sorted(order, reverse=True) == order
    streamed = await ask(user("Think about it"))
    assert len(streamed.thought.split()) == order.count("thought")
    assert order.count("thought") == streamed.usages[0].completion_tokens_details.reasoning_tokens


async def test_an_offered_tool_is_called_with_the_users_text():
    streamed = await ask(user("What is the weather in New York?"), tools=[WEATHER, TIME])
    assert streamed.names == ["get_weather"]
    assert json.loads(streamed.arguments) == {"city": "New York"}
    assert len(streamed.call_ids) == 1
    assert streamed.call_ids[0].startswith("call_")
    assert streamed.finish_reasons == ["tool_calls"]
    assert streamed.text == ""


async def test_tool_choice_names_the_tool():
    choice = {"type": "function", "name": "get_time"}
    streamed = await ask(user("hi"), tools=[WEATHER, TIME], tool_choice=choice)
    assert streamed.names == ["get_time"]
    assert json.loads(streamed.arguments) == {}


async def test_tool_choice_none_is_respected():
    streamed = await ask(user("hi"), tools=[WEATHER], tool_choice="none")
    assert streamed.names == []
    assert WHO in streamed.text


async def test_a_tools_output_is_quoted():
    items = user("Weather?"), call_item(), output_item("sunny, 21 degrees")
    streamed = await ask(*items, tools=[WEATHER])
    assert 'The tool says: "sunny, 21 degrees".' in streamed.text
    assert streamed.finish_reasons == ["stop"]


async def test_an_answered_tool_is_offered_to_the_next_turn_again():
    earlier = user("Weather?"), call_item(), output_item("sunny"), assistant("It is sunny.")
    streamed = await ask(*earlier, user("And in Rome?"), tools=[WEATHER])
    assert json.loads(streamed.arguments) == {"city": "Rome"}


async def test_a_json_schema_is_answered_with_json():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"format": {"type": "json_schema", "name": "it", "schema": schema}}
    assert json.loads((await ask(user("Give me 7"), text=wanted)).text) == {"n": 7}


async def test_parameters_of_agents_are_no_error_with_drop_params():
    """Codex and others send these with every request."""
    streamed = await ask(
        user("hi"),
        reasoning={"effort": "low"},
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        store=False,
        drop_params=True,
    )
    assert WHO in streamed.text


async def test_without_streaming_the_answer_is_the_same():
    whole = await litellm.aresponses(model="demo/demo", input=[user("Hello")])
    assert (await ask(user("Hello"))).text == whole.output[0].content[0].text
    called = await litellm.aresponses(model="demo/demo", input=[user("in Rome")], tools=[WEATHER])
    (call,) = [item for item in called.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Rome"})


async def test_registering_again_replaces_and_leaves_other_providers_alone():
    other = {"provider": "other", "custom_handler": object()}
    litellm.custom_provider_map = [*litellm.custom_provider_map, other]
    demo.register(delay_seconds=0)
    assert [entry["provider"] for entry in litellm.custom_provider_map] == ["other", "demo"]
    litellm.custom_provider_map = [e for e in litellm.custom_provider_map if e is not other]


async def test_an_answer_can_be_stopped_between_two_deltas():
    """Cancelling the reader goes through litellm and ends the wait for the next word."""
    demo.register(delay_seconds=3600)
    stream = await open_stream([user("count to 100")])
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.wait({reading}, timeout=0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "enum": ["c", "f"]}, "c"),
        ({"const": 4}, 4),
        ({"type": "integer", "default": 9}, 9),
        ({"type": ["number", "null"]}, 21.5),
        ({"type": "integer", "maximum": 10}, 10),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "array", "items": {"type": "integer"}}, [21]),
        ({"type": "array"}, []),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "boolean"}}}, True),
        ({"$ref": "#/$defs/gone"}, None),
        ({"type": "object", "properties": {"a": 5}, "required": "a"}, {}),
        ({"type": "object", "properties": {"a": 5}, "required": ["a"]}, {"a": None}),
        ({"enum": []}, "it is 21.5"),
        (None, None),
    ],
)
def test_arguments_follow_the_schema_and_no_schema_breaks_it(schema, expected):
    assert expected == sample(schema, "it is 21.5")


def test_a_schema_that_refers_to_itself_has_an_end():
    node = {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]}
    assert json.dumps(sample(node, ""))


def test_an_empty_message_is_answered_too():
    assert (
        "There is no text"
        in answer(DemoConversation.of([{"role": "user", "content": []}], {})).text
    )
    assert WHO in answer(DemoConversation.of([], {"tools": [{"type": "function"}]})).text
