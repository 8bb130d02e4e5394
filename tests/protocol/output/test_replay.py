"""A finished response becomes the stream that a strict client would have accepted."""

import copy

import pytest
from support.event_checker import check_events

from ws_bridge.protocol.events import Event
from ws_bridge.protocol.output.replay import replay, replay_items, terminal
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer

CITATION = {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 0}
LOGPROB = {"token": "Hi", "bytes": [72, 105], "logprob": -0.1, "top_logprobs": []}
TEXT = {"type": "output_text", "text": "Hi", "annotations": [CITATION], "logprobs": [LOGPROB]}
REFUSAL = {"type": "refusal", "refusal": "No."}

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "phase": "final_answer",
    "content": [TEXT, REFUSAL],
}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
    "content": [{"type": "reasoning_text", "text": "raw"}],
    "encrypted_content": "sealed",
}
FUNCTION_CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"x":1}',
}
CUSTOM_CALL = {
    "id": "ctc_1",
    "type": "custom_tool_call",
    "status": "completed",
    "call_id": "call_2",
    "name": "patch",
    "input": "*** Begin",
}
MCP_CALL = {
    "id": "mcp_1",
    "type": "mcp_call",
    "server_label": "s",
    "name": "t",
    "arguments": "{}",
    "output": "ok",
    "error": None,
}
MCP_TOOLS = {
    "id": "mcpl_1",
    "type": "mcp_list_tools",
    "server_label": "s",
    "tools": [{"name": "t", "input_schema": {}}],
}
MCP_ERROR = {"type": "mcp_tool_execution_error", "content": "refused"}
CODE = {
    "id": "ci_1",
    "type": "code_interpreter_call",
    "status": "completed",
    "code": "print(1)",
    "container_id": "cntr_1",
    "outputs": [{"type": "logs", "logs": "1"}],
}
WEB_SEARCH = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "q"},
}
FILE_SEARCH = {
    "id": "fs_1",
    "type": "file_search_call",
    "status": "completed",
    "queries": ["q"],
    "results": None,
}
IMAGE = {
    "id": "ig_1",
    "type": "image_generation_call",
    "status": "completed",
    "result": "QUJD",
}
COMPACTION = {"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed"}
SHELL = {
    "id": "sh_1",
    "type": "shell_call",
    "call_id": "call_3",
    "status": "completed",
    "action": {"commands": ["ls"]},
}
EVERY = [
    REASONING,
    MESSAGE,
    FUNCTION_CALL,
    CUSTOM_CALL,
    MCP_TOOLS,
    MCP_CALL,
    CODE,
    WEB_SEARCH,
    FILE_SEARCH,
    IMAGE,
    COMPACTION,
    SHELL,
]


def finished(*items, **fields):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    response = {"id": "resp_x", "model": "real", "status": "completed", "usage": usage}
    return response | {"completed_at": 9, "output": list(items)} | fields


def streamed(response) -> list[Event]:
    sequencer = Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0)
    return sequencer.sequence(list(replay(response)))


def checked(*items, **fields):
    """The events as a client parses them; the stream is strict and folds to its end."""
    spoken = streamed(finished(*items, **fields))
    events = [event.json() for event in spoken]
    assert check_events(events) == []
    assert fold(spoken) == events[-1]["response"]
    return events


def inside(item):
    """The names of the item's events between its added and its done."""
    names = [event["type"].removeprefix("response.") for event in checked(item)]
    assert names[:3] == ["created", "in_progress", "output_item.added"]
    assert names[-2:] == ["output_item.done", "completed"]
    return names[3:-2]


@pytest.mark.parametrize("item", EVERY, ids=lambda item: item["type"])
def test_every_item_is_done_as_it_was(item):
    before = copy.deepcopy(item)
    events = checked(item)
    assert events[-2]["item"] == item == before
    assert events[-1]["response"]["output"] == [item]


def test_all_items_in_one_response_keep_their_order():
    events = checked(*EVERY)
    assert events[-1]["response"]["output"] == EVERY


def test_a_message_tells_its_parts_annotations_and_logprobs():
    assert inside(MESSAGE) == [
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]
    delta = checked(MESSAGE)[4]
    assert (delta["delta"], delta["logprobs"]) == ("Hi", [LOGPROB])


def test_reasoning_tells_summaries_and_raw_text_and_seals_at_the_end():
    assert inside(REASONING) == [
        *["reasoning_summary_part.added", "reasoning_summary_text.delta"],
        *["reasoning_summary_text.done", "reasoning_summary_part.done"],
        *["reasoning_summary_part.added", "reasoning_summary_text.delta"],
        *["reasoning_summary_text.done", "reasoning_summary_part.done"],
        *["content_part.added", "reasoning_text.delta"],
        *["reasoning_text.done", "content_part.done"],
    ]
    added = checked(REASONING)[2]["item"]
    assert added == {"id": "rs_1", "type": "reasoning", "summary": [], "content": []}


@pytest.mark.parametrize(
    ("item", "names"),
    [
        (FUNCTION_CALL, ["function_call_arguments.delta", "function_call_arguments.done"]),
        (CUSTOM_CALL, ["custom_tool_call_input.delta", "custom_tool_call_input.done"]),
        (
            MCP_CALL,
            [
                "mcp_call.in_progress",
                "mcp_call_arguments.delta",
                "mcp_call_arguments.done",
                "mcp_call.completed",
            ],
        ),
        (
            MCP_CALL | {"error": MCP_ERROR, "output": None},
            [
                "mcp_call.in_progress",
                "mcp_call_arguments.delta",
                "mcp_call_arguments.done",
                "mcp_call.failed",
            ],
        ),
        (MCP_TOOLS, ["mcp_list_tools.in_progress", "mcp_list_tools.completed"]),
        (
            CODE,
            [
                "code_interpreter_call.in_progress",
                "code_interpreter_call_code.delta",
                "code_interpreter_call_code.done",
                "code_interpreter_call.interpreting",
                "code_interpreter_call.completed",
            ],
        ),
        (
            CODE | {"code": None, "status": "failed"},
            ["code_interpreter_call.in_progress", "code_interpreter_call.interpreting"],
        ),
        (
            WEB_SEARCH,
            [
                "web_search_call.in_progress",
                "web_search_call.searching",
                "web_search_call.completed",
            ],
        ),
        (
            FILE_SEARCH,
            [
                "file_search_call.in_progress",
                "file_search_call.searching",
                "file_search_call.completed",
            ],
        ),
        (
            IMAGE,
            [
                "image_generation_call.in_progress",
                "image_generation_call.generating",
                "image_generation_call.completed",
            ],
        ),
        (SHELL, []),
        (COMPACTION, []),
    ],
)
def test_an_items_inside_is_told_in_the_contracts_order(item, names):
    assert inside(item) == names


def test_an_added_call_has_nothing_of_its_end():
    assert checked(FUNCTION_CALL)[2]["item"] == FUNCTION_CALL | {
        "arguments": "",
        "status": "in_progress",
    }
    assert checked(CODE)[2]["item"]["outputs"] is None
    assert checked(IMAGE)[2]["item"]["result"] is None


def test_an_item_that_nobody_knows_is_added_and_done():
    item = {"id": "x_1", "type": "time_travel_call", "status": "completed", "year": 1985}
    added, done = replay_items([item], 4)
    assert added.fields == {"output_index": 4, "item": item | {"status": "in_progress"}}
    assert done.fields == {"output_index": 4, "item": item}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "program_output", "id": "x", "call_id": "c", "result": "4"},
        {"type": "apply_patch_call_output", "id": "x", "call_id": "c", "output": ""},
    ],
)
def test_an_item_that_is_never_in_progress_is_added_with_its_end(item):
    added, done = replay_items([item | {"status": "completed"}], 0)
    assert added.fields["item"] == done.fields["item"] == item | {"status": "completed"}


def test_a_part_that_nobody_knows_is_added_and_done():
    part = {"type": "output_hologram", "data": "…"}
    drafts = list(replay_items([MESSAGE | {"content": [part]}], 0))
    assert [draft.type for draft in drafts[1:3]] == [
        "response.content_part.added",
        "response.content_part.done",
    ]
    assert drafts[-1].fields["item"]["content"] == [part]


def test_a_response_begins_empty_and_in_progress():
    response = finished(MESSAGE, error=None)
    created, in_progress, *_ = replay(response)
    for draft in (created, in_progress):
        said = draft.fields["response"]
        assert said | {"output": 1} == response | {
            "output": 1,
            "usage": None,
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
        }
        assert said["output"] == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("completed", "response.completed"),
        (None, "response.completed"),
        ("incomplete", "response.incomplete"),
        ("failed", "response.failed"),
        ("cancelled", "response.failed"),
    ],
)
def test_the_status_says_which_event_is_the_last(status, kind):
    draft = terminal(finished(MESSAGE, status=status))
    assert (draft.type, draft.fields["response"]["status"]) == (kind, status)


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
def test_every_end_is_strict(status):
    more = {
        "incomplete": {"incomplete_details": {"reason": "max_output_tokens"}},
        "failed": {"error": {"code": "server_error", "message": "m"}},
    }
    events = checked(MESSAGE | {"status": "incomplete"}, status=status, **more.get(status, {}))
    assert events[-1]["type"] in ("response." + status, "response.failed")


def test_an_empty_response_is_its_frame():
    assert [draft.type for draft in replay(finished())] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert next(reversed(list(replay({})))).fields == {"response": {"output": []}}


def test_nulls_that_strict_clients_refuse_are_left_out():
    bare = {"type": "output_text", "text": "Hi", "annotations": None}
    message = MESSAGE | {"phase": None, "content": [bare]}
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": None, "encrypted_content": None}
    output = checked(reasoning | {"content": None, "status": None}, message)[-1]["response"][
        "output"
    ]
    assert output[0] == {"id": "rs_1", "type": "reasoning", "summary": []}
    assert output[1]["content"] == [bare | {"annotations": [], "logprobs": []}]
    assert "phase" not in output[1]


def test_items_without_ids_get_the_same_ones_everywhere():
    nameless = [{k: v for k, v in item.items() if k != "id"} for item in (MESSAGE, FUNCTION_CALL)]
    ids = [item["id"] for item in checked(*nameless)[-1]["response"]["output"]]
    assert [one.partition("_")[0] for one in ids] == ["msg", "fc"]
    others = [
        [*replay({"id": own, "output": nameless}, owner)][-1].fields["response"]["output"]
        for own, owner in (("resp_1", "resp_2"), ("resp_1", "resp_3"), ("resp_4", ""))
    ]
    ids += [item["id"] for output in others for item in output]
    assert len({*ids}) == len(ids)  # a store finds items by them


def test_items_seen_poll_by_poll_are_the_whole_response():
    """A background response that is polled gives the events of one that was not."""
    whole = finished(*EVERY)
    polled = [
        *list(replay(whole))[:2],
        *replay_items(EVERY[:4], 0),
        *replay_items(EVERY[4:5], 4),
        *replay_items(EVERY[5:], 5),
        terminal(whole),
    ]
    assert polled == list(replay(whole))


# The checker itself: each defect is seen.


def numbers(events):
    for number, event in enumerate(events):
        event["sequence_number"] = number
    return events


def at(name, events):
    return next(i for i, event in enumerate(events) if event["type"] == "response." + name)


def without(name):
    def spoil(events):
        del events[at(name, events)]
        return numbers(events)

    return spoil


def changed(name, **fields):
    def spoil(events):
        events[at(name, events)].update(fields)
        return events

    return spoil


def swapped_ends(events):
    first, second = (i for i, e in enumerate(events) if e["type"] == "response.output_item.done")
    moved = events.pop(first)
    return numbers([*events[:second], moved, *events[second:]])


def other_output(events):
    events[-1]["response"]["output"][0]["status"] = "incomplete"
    return events


def missing_index(events):
    del events[at("output_text.delta", events)]["output_index"]
    return events


DEFECTS = {
    "no numbers": lambda events: [e | {"sequence_number": 0} for e in events],
    "no end": lambda events: events[:-1],
    "two ends": lambda events: numbers([*events, copy.deepcopy(events[-1])]),
    "late start": lambda events: numbers(events[1:]),
    "another id": lambda e: [*e[:-1], e[-1] | {"response": e[-1]["response"] | {"id": "x"}}],
    "lane": changed("content_part.done", stream_id="main"),
    "null": changed("output_item.done", phase=None),
    "missing field": missing_index,
    "coerced": changed("content_part.added", content_index="0"),
    "unknown type": changed("output_text.delta", type="response.output_text.piece"),
    "no added": without("output_item.added"),
    "no done": without("output_item.done"),
    "no part": without("content_part.added"),
    "part stays open": without("content_part.done"),
    "no text done": without("output_text.done"),
    "lost delta": without("output_text.delta"),
    "lost arguments": without("function_call_arguments.delta"),
    "other arguments": changed("function_call_arguments.done", arguments="{}"),
    "other annotation": changed("output_text.annotation.added", annotation={}),
    "other logprobs": changed("output_text.done", logprobs=[]),
    "other item": changed("output_text.delta", item_id="msg_x"),
    "other index": changed("output_item.added", output_index=7),
    "order of ends": swapped_ends,
    "other output": other_output,
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_checker_sees(defect):
    events = checked(MESSAGE, FUNCTION_CALL)
    assert check_events(DEFECTS[defect](copy.deepcopy(events))) != []


def test_the_checker_allows_a_repeated_opening():
    events = checked(MESSAGE)
    again = copy.deepcopy(events[1])
    assert check_events(numbers([*events[:4], again, *events[4:]])) == []
