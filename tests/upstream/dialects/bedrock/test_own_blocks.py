"""What Nova's own tools were asked and found goes back to it in its own blocks."""

import json

import pytest
from support.dialect_answers import answer_of
from support.event_stream import event

from ws_bridge.protocol.history import PROVIDER_TURN
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import ReaderInput, WriterInput
from ws_bridge.upstream.dialects.bedrock import FAMILY
from ws_bridge.upstream.dialects.bedrock.own_blocks import side_data_of, text_blocks
from ws_bridge.upstream.dialects.cohere import FAMILY as COHERE
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("bedrock", lambda: [b"a key"])
NOVA, CLAUDE = "us.amazon.nova-2-lite-v1:0", "us.anthropic.claude-sonnet-4-20250514-v1:0"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
SEARCH = {"type": "web_search"}
PAGE = {"location": {"web": {"url": "https://x.test/", "domain": "x.test"}}}
SEARCHED = {
    "toolUse": {
        "toolUseId": "s_1",
        "name": "nova_grounding",
        "input": {"query": "rome"},
        "type": "server_tool_use",
    }
}
FOUND = {
    "toolResult": {
        "toolUseId": "s_1",
        "status": "success",
        "type": "nova_grounding_result",
        "content": [{"text": "[HIDDEN]"}],
    }
}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm."}}}
REDACTED = {"reasoningContent": {"redactedContent": "QUJD"}}
CITED = {"citationsContent": {"citations": [PAGE]}}
CALL = {"toolUse": {"name": "weather"}}  # as it is kept
USER = {"type": "message", "role": "user", "content": "Go on."}
GO_ON = {"role": "user", "content": [{"text": "Go on."}]}


def call(call_id="tooluse_1", name="weather", **arguments):
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}


def streamed(*blocks):
    """Blocks as a stream has them, the inputs and texts of each in two pieces."""
    wire = b""
    for at, block in enumerate(blocks):
        ((kind, value),) = block.items()
        start, deltas = {}, []
        if kind == "text":
            half = len(value) // 2
            deltas = [{"text": value[:half]}, {"text": value[half:]}]
        elif kind == "toolUse":
            start = {kind: {key: value[key] for key in value if key != "input"}}
            text = json.dumps(value["input"])
            deltas = [{kind: {"input": text[:3]}}, {kind: {"input": text[3:]}}]
        elif kind == "toolResult":
            start = {kind: {key: value[key] for key in value if key != "content"}}
            deltas = [{kind: [piece]} for piece in value["content"]]
        elif kind == "citationsContent":
            deltas = [{"citation": one} for one in value["citations"]]
        elif kind == "reasoningContent":
            deltas = [{kind: value.get("reasoningText", value)}]
        if start:
            wire += event("contentBlockStart", contentBlockIndex=at, start=start)
        for delta in deltas:
            wire += event("contentBlockDelta", contentBlockIndex=at, delta=delta)
        wire += event("contentBlockStop", contentBlockIndex=at)
    return wire


def kept(*blocks, end="end_turn", raw=b""):
    """The side data of an answer, and its items."""
    reader = FAMILY.reader(ReaderInput(ToolTable.of([WEATHER]), SEALS, "bedrock"))
    answer = answer_of(reader, streamed(*blocks), raw, event("messageStop", stopReason=end))
    assert answer.failure is None
    side_data = answer.drafts[-1].fields.get("side_data")
    return json.loads(json.dumps(side_data)), answer.response["output"]


def body(*items, model=NOVA, tools=(SEARCH, WEATHER), **options):
    options["tools"] = list(tools)
    table = ToolTable.of(tools)
    given = WriterInput(model, "bedrock", list(items), options, table, SEALS, prompt_cache=False)
    return FAMILY.write(given).body


def messages(*items, **options):
    return body(*items, **options)["messages"]


def turn(side_data, items):
    return {"type": PROVIDER_TURN, "side_data": side_data, "items": items}


def answers(items):
    """A result for each call of the items."""
    return [
        {"type": "function_call_output", "call_id": item["call_id"], "output": str(place)}
        for place, item in enumerate(i for i in items if i["type"] == "function_call")
    ]


def result(call_id, text):
    return {"toolResult": {"toolUseId": call_id, "content": [{"text": text}]}}


# What is kept


def test_an_answer_without_hosted_blocks_has_no_side_data():
    assert kept(THOUGHT, {"text": "Rome."}, CITED, call())[0] is None


def test_a_clients_function_named_like_a_hosted_tool_makes_none():
    assert kept(call(name="nova_grounding"), end="tool_use")[0] is None


def test_blocks_are_kept_in_their_order():
    blocks = [THOUGHT, REDACTED, SEARCHED, FOUND, {"text": "Rome."}, CITED]
    assert kept(*blocks, call(a=1))[0] == {"content": [*blocks, CALL]}


def test_a_signature_stays_with_its_thought():
    signed = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}}
    assert kept(signed, SEARCHED, FOUND)[0] == {"content": [signed, SEARCHED, FOUND]}


def test_what_is_empty_is_not_kept():
    nothing = {"reasoningContent": {"reasoningText": {"text": ""}}}
    assert kept(nothing, {"text": " \n"}, SEARCHED, FOUND)[0] == {"content": [SEARCHED, FOUND]}


def test_citations_amid_a_text_follow_it():
    cited = b"".join(
        event("contentBlockDelta", contentBlockIndex=7, delta=delta)
        for delta in ({"text": "Ro"}, {"citation": PAGE}, {"text": "me."})
    )
    assert kept(SEARCHED, FOUND, raw=cited)[0] == {
        "content": [SEARCHED, FOUND, {"text": "Rome."}, CITED]
    }


def test_of_a_citation_is_kept_what_converse_takes():
    odd = {"citationsContent": {"citations": [{**PAGE, "title": None, "invented": 1}]}}
    assert kept(SEARCHED, FOUND, {"text": "Rome."}, odd)[0] == {
        "content": [SEARCHED, FOUND, {"text": "Rome."}, CITED]
    }


def test_pieces_of_a_result_are_joined():
    pieces = [{"text": "a"}, {"text": "b"}, {"json": {"a": 1}}, {"text": "c"}]
    answered = {"toolResult": {"toolUseId": "s_1", "content": pieces}}
    joined = {"toolUseId": "s_1", "content": [{"text": "ab"}, {"json": {"a": 1}}, {"text": "c"}]}
    assert kept(SEARCHED, answered)[0] == {"content": [SEARCHED, {"toolResult": joined}]}


def test_a_result_of_odd_values_breaks_nothing():
    odd = {"toolUseId": {"a": 1}, "status": ["error"], "content": [1, {"text": 2}]}
    assert kept({"toolResult": odd}, SEARCHED, FOUND)[0] == {"content": [SEARCHED, FOUND]}
    answered = {"toolResult": {**odd, "toolUseId": "s_1", "type": 7}}
    result_ = {"toolResult": {"toolUseId": "s_1", "content": [{"text": 2}]}}
    assert kept(SEARCHED, answered)[0] == {"content": [SEARCHED, result_]}


def test_a_hosted_call_and_its_result_are_kept_together_or_not_at_all():
    text = {"text": "Rome."}
    other = {"toolUse": {**SEARCHED["toolUse"], "toolUseId": "s_2"}}
    assert kept(SEARCHED, text, end="max_tokens")[0] is None
    assert kept(FOUND, text)[0] is None
    assert kept(SEARCHED, other, FOUND, end="max_tokens")[0] == {"content": [SEARCHED, FOUND]}


def test_an_unknown_tool_of_the_providers_is_kept_though_no_item_shows_it():
    call_ = {"toolUse": {**SEARCHED["toolUse"], "name": "invented"}}
    assert kept(call_, FOUND, {"text": "a"})[0] == {"content": [call_, FOUND, {"text": "a"}]}


def test_a_whole_answer_has_the_same_side_data():
    blocks = [SEARCHED, FOUND, {"text": "Rome."}, CITED]
    message = {"role": "assistant", "content": blocks}
    raw = json.dumps({"output": {"message": message}, "stopReason": "end_turn"}).encode()
    answer = answer_of(FAMILY.reader(ReaderInput(seals=SEALS)), raw)
    assert answer.drafts[-1].fields["side_data"] == {"content": blocks}


def test_halves_of_a_character_are_joined():
    assert list(text_blocks("\ud83d\ude00", [])) == [{"text": "\U0001f600"}]


def test_no_blocks_are_no_side_data():
    assert side_data_of([]) is None


# What goes back


def test_blocks_go_back_in_the_place_of_the_items():
    blocks = [THOUGHT, SEARCHED, FOUND, {"text": "Rome."}, CITED]
    assert messages(USER, turn(*kept(*blocks)), USER) == [
        GO_ON,
        {"role": "assistant", "content": blocks},
        GO_ON,
    ]


def test_results_follow_the_calls_of_the_client():
    blocks = [SEARCHED, FOUND, {"text": "And now:"}, call("a", x=1), call("b")]
    side_data, items = kept(*blocks, end="tool_use")
    assert messages(USER, turn(side_data, items), *answers(items), USER) == [
        GO_ON,
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [result("a", "0"), result("b", "1"), {"text": "Go on."}]},
    ]


def test_a_call_that_was_cut_is_left_out():
    cut = event(
        "contentBlockStart",
        contentBlockIndex=7,
        start={"toolUse": {"toolUseId": "b", "name": "weather"}},
    )
    cut += event("contentBlockDelta", contentBlockIndex=7, delta={"toolUse": {"input": '{"x'}})
    cut += event("contentBlockStop", contentBlockIndex=7)
    side_data, items = kept(SEARCHED, FOUND, call("a"), raw=cut, end="max_tokens")
    assert items.pop()["status"] == "incomplete"
    assert messages(USER, turn(side_data, items), *answers(items)) == [
        GO_ON,
        {"role": "assistant", "content": [SEARCHED, FOUND, call("a")]},
        {"role": "user", "content": [result("a", "0")]},
    ]


def test_a_history_with_hosted_calls_has_tools_though_none_is_offered():
    sent = body(USER, turn(*kept(SEARCHED, FOUND, {"text": "Rome."})), USER, tools=())
    assert sent["messages"][1]["content"] == [SEARCHED, FOUND, {"text": "Rome."}]
    spec = {
        "name": "nova_grounding",
        "description": "It is not available now.",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
    }
    assert sent["toolConfig"] == {"tools": [{"toolSpec": spec}]}


def test_other_models_other_makers_and_stateless_clients_get_the_items():
    side_data, items = kept(SEARCHED, FOUND, {"text": "Rome."}, CITED)
    plain = [GO_ON, {"role": "assistant", "content": [{"text": "Rome."}]}, GO_ON]
    assert messages(USER, turn(side_data, items), USER, model=CLAUDE, tools=()) == plain
    assert messages(USER, *items, USER) == plain
    given = WriterInput("command-a", "cohere", [turn(side_data, items), USER], {}, seals=SEALS)
    assert COHERE.write(given).body["messages"] == [
        {"role": "assistant", "content": "Rome."},
        {"role": "user", "content": "Go on."},
    ]


def _with(block, **more):
    ((kind, value),) = block.items()
    return {kind: {**value, **more}}


@pytest.mark.parametrize(
    "side_data",
    [
        {},
        {"content": None},
        {"content": []},
        {"content": "text"},
        {"content": ["text"]},
        {"content": [{}]},
        {"content": [{"text": 1}]},
        {"content": [{"text": "a", "cachePoint": {"type": "default"}}]},
        {"content": [{"image": {"format": "png", "source": {"bytes": "QUJD"}}}]},
        {"content": [{"toolUse": "text"}]},
        {"content": [{"toolUse": {}}]},
        {"content": [{"toolUse": {"name": 1}}]},
        {"content": [call()]},  # with an input, and no type
        {"content": [_with(SEARCHED, type="invented")]},
        {"content": [_with(SEARCHED, input="text")]},
        {"content": [_with(SEARCHED, of_a_later_release=1)]},
        {"content": [{"toolUse": {"type": "server_tool_use"}}]},
        {"content": [_with(FOUND, content=None)]},
        {"content": [_with(FOUND, content=["text"])]},
        {"content": [_with(FOUND, content=[{"document": {}}])]},
        {"content": [_with(FOUND, content=[{"text": "a", "json": {}}])]},
        {"content": [_with(FOUND, status=1)]},
        {"content": [{"toolResult": {"content": []}}]},
        {"content": [_with(CITED, content=[])]},
        {"content": [{"citationsContent": {}}]},
        {"content": [{"citationsContent": {"citations": [{"invented": 1}]}}]},
        {"content": [{"citationsContent": {"citations": ["text"]}}]},
        {"content": [{"reasoningContent": {}}]},
        {"content": [{"reasoningContent": {"reasoningText": None}}]},
        {"content": [{"reasoningContent": {"reasoningText": {"signature": "s"}}}]},
        {"content": [{"reasoningContent": {"redactedContent": 1}}]},
        {"parts": [{"text": "a"}]},
    ],
)
def test_side_data_of_another_form_is_nothing_and_the_items_are_sent(side_data):
    _, items = kept(SEARCHED, FOUND, {"text": "Rome."})
    assert messages(USER, turn(side_data, items), USER) == [
        GO_ON,
        {"role": "assistant", "content": [{"text": "Rome."}]},
        GO_ON,
    ]


@pytest.mark.parametrize("calls", [[], [{"toolUse": {"name": "another"}}]])
def test_blocks_without_the_calls_of_the_items_are_nothing(calls):
    blocks = [SEARCHED, FOUND, {"text": "Rome."}]
    _, items = kept(*blocks, call("a"))
    side_data = {"content": [*blocks, *calls]}
    assert messages(USER, turn(side_data, items), *answers(items)) == [
        GO_ON,
        {"role": "assistant", "content": [{"text": "Rome."}, call("a")]},
        {"role": "user", "content": [result("a", "0")]},
    ]
