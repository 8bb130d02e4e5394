"""Whatever a reader says, in any order, clients get a strict stream; calls get their own type."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_checker import check_events

from ws_bridge.protocol.output.builder import OutputBuilder
from ws_bridge.protocol.output.tool_calls import ToolDelta
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.protocol.tools import ToolTable

PATCH = {"type": "create_file", "path": "a.py", "diff": "+x"}
TOOLS = ToolTable.of(
    [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "write"},
        {"type": "apply_patch"},
        {"type": "shell"},
        {"type": "local_shell"},
        {"type": "tool_search", "execution": "client"},
        {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "list"}]},
    ]
)


def new():
    count = itertools.count()
    return OutputBuilder(TOOLS, lambda prefix: f"{prefix}_{next(count)}")


def checked(drafts):
    """The final response, and the events, which are strictly right."""
    sequencer = Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0)
    events = [event.json() for event in sequencer.sequence(drafts)]
    assert check_events(events) == []
    return events[-1]["response"], events


def called(name, arguments, *, end=""):
    """The one item that a call of a tool becomes."""
    out = new()
    drafts = out.call(ToolDelta(0, "call_x", name))
    for fragment in arguments:
        drafts += out.call(ToolDelta(0, None, None, fragment))
    return checked(drafts + out.finish(end))[0]["output"][0]


def test_a_call_of_apply_patch_is_an_apply_patch_call():
    text = json.dumps(PATCH)
    item = called("apply_patch", [text[:9], text[9:]])
    assert item == {
        "id": "apc_0",
        "type": "apply_patch_call",
        "status": "completed",
        "call_id": "call_x",
        "operation": PATCH,
    }


def test_a_call_of_the_clients_own_tool_search_is_a_tool_search_call():
    item = called("tool_search", ['{"query":', '"q","limit":2}'])
    assert item == {
        "id": "tsc_0",
        "type": "tool_search_call",
        "status": "completed",
        "call_id": "call_x",
        "execution": "client",
        "arguments": {"query": "q", "limit": 2},
    }


def test_a_call_of_the_shell_is_a_shell_call():
    item = called("shell", ['{"commands":["ls"]}'])
    assert item["type"] == "shell_call"
    assert item["action"] == {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}


def test_a_call_of_the_local_shell_is_a_local_shell_call():
    item = called("local_shell", ['{"command":["ls","-l"]}'])
    assert item["type"] == "local_shell_call"
    assert item["action"]["command"] == ["ls", "-l"]


def test_a_call_in_a_namespace_has_it_again():
    item = called("crm__list", ["{}"])
    assert (item["name"], item["namespace"]) == ("list", "crm")


def test_a_function_that_only_resembles_a_namespaced_one_is_a_function():
    item = called("crm__lists", ["{}"])
    assert item["name"] == "crm__lists"
    assert "namespace" not in item


def test_a_patch_that_was_cut_is_an_incomplete_call_and_no_patch():
    item = called("apply_patch", ['{"type":"create_file","pa'], end="max_output_tokens")
    assert (item["type"], item["status"]) == ("function_call", "incomplete")


@pytest.mark.parametrize(
    "arguments", ['{"type":"paint","path":"a"}', "[]", "no json", '{"path":1}']
)
def test_arguments_that_do_not_fit_the_tool_stay_a_call_that_the_client_can_answer(arguments):
    item = called("apply_patch", [arguments])
    assert (item["type"], item["name"]) == ("function_call", "apply_patch")
    assert item["arguments"] == arguments


def test_a_hosted_call_has_its_own_events_and_keeps_its_place():
    out = new()
    search = {"type": "web_search_call", "action": {"type": "search", "query": "q"}}
    drafts = out.text("Let me look.") + out.begin_hosted("srv_1", search)
    drafts += out.end_hosted("srv_1", {"action": {"type": "search", "query": "q", "sources": []}})
    drafts += out.text("Found.") + out.finish()
    response, events = checked(drafts)
    assert [item["type"] for item in response["output"]] == [
        "message",
        "web_search_call",
        "message",
    ]
    kinds = [event["type"] for event in events]
    assert kinds.count("response.web_search_call.completed") == 1
    assert response["output"][1]["status"] == "completed"


def test_a_hosted_call_whose_end_did_not_come_has_failed():
    out = new()
    drafts = out.begin_hosted("s", {"type": "web_search_call", "action": {"type": "search"}})
    response, _ = checked(drafts + out.finish("max_output_tokens"))
    assert response["output"][0]["status"] == "failed"


def test_text_after_an_open_hosted_call_waits_with_its_end_only():
    out = new()
    code = {"type": "code_interpreter_call", "code": "1", "container_id": "c", "outputs": None}
    drafts = out.begin_hosted("s", code) + out.text("meanwhile")
    drafts += out.end_hosted("s", {"outputs": []}) + out.finish()
    response, _ = checked(drafts)
    assert [item["type"] for item in response["output"]] == ["code_interpreter_call", "message"]


def test_an_end_of_an_unknown_hosted_call_says_nothing():
    assert new().end_hosted("s", {}) == []


def test_a_seal_belongs_to_the_reasoning_before_it():
    out = new()
    drafts = out.reasoning("why") + out.seal("sealed") + out.reasoning("more") + out.finish()
    response, _ = checked(drafts)
    first, second = response["output"]
    assert first["encrypted_content"] == "sealed"
    assert "encrypted_content" not in second


def test_a_seal_without_reasoning_is_an_item_of_its_own():
    out = new()
    response, _ = checked(out.text("so") + out.seal("sealed") + out.finish())
    assert [item["type"] for item in response["output"]] == ["message", "reasoning"]
    assert response["output"][1]["summary"] == []


def test_a_citation_stands_where_the_reader_says():
    out = new()
    note = {"type": "url_citation", "url": "https://x.org", "title": "X"}
    drafts = out.text("one ")
    start = out.text_length
    drafts += out.text("two")
    drafts += out.annotate([{**note, "start_index": start, "end_index": out.text_length}])
    response, _ = checked(drafts + out.finish())
    part = response["output"][0]["content"][0]
    placed = part["annotations"][0]
    assert part["text"][placed["start_index"] : placed["end_index"]] == "two"


def test_the_length_of_reasoning_is_no_place_in_the_text():
    out = new()
    out.reasoning("long thoughts")
    assert out.text_length == 0


def test_half_a_character_waits_for_the_next_delta():
    out = new()
    response, events = checked(out.text("a\ud83d") + out.text("\ude00") + out.finish())
    assert response["output"][0]["content"][0]["text"] == "a\U0001f600"
    assert [e["delta"] for e in events if e["type"].endswith("text.delta")] == ["a", "\U0001f600"]


def test_half_a_character_in_arguments_is_joined_too():
    item = called("f", ['{"a":"\ud83d', '\ude00"}'])
    assert item["arguments"] == '{"a":"\U0001f600"}'


def test_a_call_that_the_provider_ended_takes_no_more():
    out = new()
    drafts = out.call(ToolDelta(0, "c", "f")) + out.end_call(0)
    drafts += out.call(ToolDelta(0, "c", None, "{}")) + out.finish()
    response, _ = checked(drafts)
    assert response["output"][0]["arguments"] == "{}"
    assert len(response["output"]) == 1


def test_nothing_opens_before_something_is_said():
    out = new()
    assert out.call(ToolDelta(0, "c", "f")) == []
    assert not out.is_open
    assert out.has_output


STEP = st.sampled_from(
    [
        lambda out: out.text("t"),
        lambda out: out.reasoning("r"),
        lambda out: out.refusal("no"),
        lambda out: out.seal("s"),
        lambda out: out.image("aGk="),
        lambda out: out.call(ToolDelta(0, "c0", "f", '{"a"')),
        lambda out: out.call(ToolDelta(0, "c0", None, ":1}")),
        lambda out: out.call(ToolDelta(1, "c1", "shell", '{"commands":["l"]}')),
        lambda out: out.call(ToolDelta(2, None, "write", '{"content":"x"}')),
        lambda out: out.end_call(0),
        lambda out: out.begin_hosted(
            "h", {"type": "web_search_call", "action": {"type": "search", "query": "q"}}
        ),
        lambda out: out.end_hosted("h", {}),
        lambda out: (out.end_text(), [])[1],
        lambda out: out.annotate([{"type": "url_citation", "url": "https://x.org", "title": "X"}]),
    ]
)


@given(st.lists(STEP, max_size=12), st.sampled_from(["", "max_output_tokens"]))
@settings(deadline=None)
def test_any_order_of_pieces_is_a_strict_stream(steps, reason):
    out = new()
    drafts = [draft for step in steps for draft in step(out)]
    response, _ = checked(drafts + out.finish(reason))
    assert response["status"] == ("incomplete" if reason else "completed")
