"""The fold of events: what a poller sees."""

import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, LIFECYCLE, Draft, Event
from ws_bridge.protocol.reducer import DELTAS, DONES, OTHERS, PARTS, STATES, Reducer, fold

Json = dict[str, Any]

GOLDEN = Path(__file__).parents[1] / "golden"
TRANSCRIPTS = sorted(
    path.stem for path in GOLDEN.glob("*.jsonl") if not path.stem.startswith("error")
)
ADDED = "response.output_item.added"
DONE = "response.output_item.done"


def transcript(name: str) -> list[Event]:
    events = []
    for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines():
        fields = orjson.loads(line)
        kind, number = fields.pop("type"), fields.pop("sequence_number")
        lane = fields.pop("stream_id", None)
        events.append(Event.of(Draft(kind, fields), number, lane))
    return events


def numbered(*drafts: tuple[str, Json]) -> list[Event]:
    return [Event.of(Draft(kind, fields), at, None) for at, (kind, fields) in enumerate(drafts)]


def opened(item: Json, *drafts: tuple[str, Json]) -> Json:
    """The only item after an opened response got the drafts."""
    start = (CREATED, {"response": {"id": "resp_1", "status": "in_progress", "output": []}})
    reducer = Reducer().fold(
        numbered(start, (ADDED, {"output_index": 0, "item": item}), *drafts),
    )
    assert [reducer.output()[0]] == reducer.response()["output"]
    return reducer.output()[0]


# Transcripts


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_fold_of_all_events_is_the_response_of_the_terminal_event(name):
    events = transcript(name)
    assert fold(events) == events[-1].json()["response"]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_before_its_terminal_event_a_response_has_what_the_end_will_say(name):
    events = transcript(name)
    final = events[-1].json()["response"]["output"]
    assert [_without_status(item) for item in Reducer().fold(events[:-1]).output()] == [
        _without_status(item) for item in final
    ]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_snapshots_of_growing_prefixes_only_grow(name):
    reducer, before = Reducer(), ""
    for event in transcript(name):
        snapshot = reducer.fold([event]).response()
        words = _words(snapshot["output"])
        assert words.startswith(before)
        assert snapshot["id"] == transcript(name)[0].json()["response"]["id"]
        before = words


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_events_that_were_folded_already_change_nothing(name):
    events = transcript(name)
    for cut in range(len(events)):
        reducer = Reducer().fold(events[: cut + 1])
        before = reducer.response()
        for start in range(cut + 1):
            assert reducer.fold(events[start : cut + 1]).response() == before
        assert reducer.number == cut
        assert reducer.fold(events).response() == fold(events)


def _without_status(item: Json) -> Json:
    return {key: value for key, value in item.items() if key != "status"}


def _words(value: Any) -> str:
    if isinstance(value, dict):
        found = [value.get(name) for name in ("text", "refusal", "arguments", "input", "code")]
        own = "".join(text for text in found if isinstance(text, str))
        return own + "".join(_words(inner) for inner in value.values())
    return "".join(_words(inner) for inner in value) if isinstance(value, list) else ""


# Every kind of event


@pytest.mark.parametrize("kind", sorted(DELTAS))
def test_deltas_add_up_at_their_place(kind):
    where, name = DELTAS[kind]
    part = {"type": "part"}
    item = {"type": "item"} if where is None else {"type": "item", where[0]: [{}, part]}
    at = {"output_index": 0} | ({} if where is None else {where[1]: 1})
    item = opened(item, (kind, {**at, "delta": "a"}), (kind, {**at, "delta": "b"}))
    target = item if where is None else item[where[0]][1]
    assert target[name] == "ab"


@pytest.mark.parametrize("kind", sorted(DONES))
def test_a_done_event_has_the_last_word(kind):
    where, name = DONES[kind]
    item = {"type": "item", name: "x"} if where is None else {"type": "item", where[0]: [{}]}
    at = {"output_index": 0} | ({} if where is None else {where[1]: 0})
    item = opened(item, (kind, {**at, name: "whole"}))
    target = item if where is None else item[where[0]][0]
    assert target[name] == "whole"


def test_every_delta_has_its_done():
    assert {kind.removesuffix(".delta") for kind in DELTAS} == {
        kind.removesuffix(".done") for kind in DONES
    }
    assert {kind.removesuffix(".delta"): place for kind, place in DELTAS.items()} == {
        kind.removesuffix(".done"): place for kind, place in DONES.items()
    }


@pytest.mark.parametrize("kind", sorted(kind for kind in PARTS if kind.endswith("added")))
def test_parts_are_added_in_order_and_replaced_when_done(kind):
    name, index = PARTS[kind]
    done = kind.replace(".added", ".done")
    item = opened(
        {"type": "item"},
        (kind, {"output_index": 0, index: 0, "part": {"text": ""}}),
        (kind, {"output_index": 0, index: 1, "part": {"text": "second"}}),
        (done, {"output_index": 0, index: 0, "part": {"text": "first"}}),
    )
    assert item[name] == [{"text": "first"}, {"text": "second"}]


@pytest.mark.parametrize("kind", sorted(STATES))
def test_the_states_of_hosted_tools_are_the_items_status(kind):
    item = opened({"type": "call", "status": "x"}, (kind, {"output_index": 0}))
    assert item["status"] == kind.rpartition(".")[2]


def test_annotations_are_kept_in_order():
    kind = "response.output_text.annotation.added"
    at = {"output_index": 0, "content_index": 0}
    item = opened(
        {"type": "message", "content": [{"type": "output_text", "text": "", "annotations": []}]},
        (kind, {**at, "annotation_index": 0, "annotation": {"type": "url_citation"}}),
        (kind, {**at, "annotation_index": 1, "annotation": {"type": "file_citation"}}),
    )
    kinds = [annotation["type"] for annotation in item["content"][0]["annotations"]]
    assert kinds == ["url_citation", "file_citation"]


def test_logprobs_of_deltas_are_collected():
    kind = "response.output_text.delta"
    at = {"output_index": 0, "content_index": 0}
    item = opened(
        {"type": "message", "content": [{"type": "output_text", "text": "", "logprobs": []}]},
        (kind, {**at, "delta": "a", "logprobs": [{"token": "a"}]}),
        (kind, {**at, "delta": "b", "logprobs": [{"token": "b"}]}),
    )
    assert [entry["token"] for entry in item["content"][0]["logprobs"]] == ["a", "b"]


def test_a_partial_image_is_the_result_so_far():
    kind = "response.image_generation_call.partial_image"
    item = opened(
        {"type": "image_generation_call", "result": None},
        (kind, {"output_index": 0, "partial_image_b64": "AAA", "partial_image_index": 0}),
        (kind, {"output_index": 0, "partial_image_b64": "BBB", "partial_image_index": 1}),
        (kind, {"output_index": 0}),
    )
    assert item["result"] == "BBB"


def test_shell_commands_grow_by_their_index():
    kind = "response.shell_call_command"
    at = {"output_index": 0, "command_index": 0}
    item = opened(
        {"type": "shell_call", "action": {}},
        (f"{kind}.added", {**at, "command": ""}),
        (f"{kind}.delta", {**at, "delta": "l"}),
        (f"{kind}.delta", {**at, "delta": "s"}),
        (f"{kind}.added", {**at, "command_index": 1, "command": "pwd"}),
        (f"{kind}.done", {**at, "command": "ls -l"}),
    )
    assert item["action"]["commands"] == ["ls -l", "pwd"]


def test_a_done_item_replaces_what_its_deltas_made():
    item = {"id": "fc_1", "type": "function_call", "arguments": "{}", "status": "completed"}
    before = {**item, "arguments": "", "status": "in_progress"}
    kind = "response.function_call_arguments.delta"
    delta = (kind, {"output_index": 0, "delta": "{garbled"})
    assert opened(before, delta, (DONE, {"output_index": 0, "item": item})) == item


def test_items_stand_in_the_order_of_their_index_whatever_came_first():
    response = {"id": "resp_1", "status": "in_progress"}
    events = numbered(
        (CREATED, {"response": response}),
        (ADDED, {"output_index": 2, "item": {"id": "c"}}),
        (ADDED, {"output_index": 0, "item": {"id": "a"}}),
    )
    assert [item["id"] for item in fold(events)["output"]] == ["a", "c"]


def test_a_repeated_in_progress_takes_nothing_away():
    """The keepalive (docs/protocol.md §3.6) is such an event."""
    events = numbered(
        (CREATED, {"response": {"status": "in_progress", "output": []}}),
        (ADDED, {"output_index": 0, "item": {"id": "a"}}),
        (IN_PROGRESS, {"response": {"status": "in_progress", "output": []}}),
        (IN_PROGRESS, {"response": {"output": []}}),
    )
    assert fold(events)["output"] == [{"id": "a"}]


def test_an_empty_final_output_is_definitive():
    events = numbered(
        (CREATED, {"response": {"status": "in_progress"}}),
        (ADDED, {"output_index": 0, "item": {"id": "a"}}),
        (COMPLETED, {"response": {"status": "completed", "output": []}}),
    )
    assert fold(events)["output"] == []


# What is done and what is not


def test_unfinished_items_are_incomplete_and_finished_ones_stay_as_they_are():
    done = {"id": "a", "type": "message", "status": "completed"}
    open_ = {"id": "b", "type": "function_call", "status": "in_progress"}
    events = numbered(
        (CREATED, {"response": {"status": "in_progress"}}),
        (ADDED, {"output_index": 0, "item": done}),
        (DONE, {"output_index": 0, "item": done}),
        (ADDED, {"output_index": 1, "item": open_}),
    )
    reducer = Reducer().fold(events)
    assert reducer.finished_items() == [done]
    assert reducer.partial_output() == [done, {**open_, "status": "incomplete"}]
    assert reducer.output() == [done, open_]


def test_before_the_first_event_there_is_no_snapshot():
    assert Reducer().response() == {}
    assert fold([]) == {}


def test_a_snapshot_is_the_readers_own():
    reducer = Reducer().fold(transcript("text"))
    reducer.response()["output"].clear()
    reducer.response()["output"][0]["content"][0]["text"] = "changed"
    assert reducer.response() == transcript("text")[-1].json()["response"]


# Nothing is fatal


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("response.brand_new.delta", {"output_index": 0, "delta": "x"}),
        ("response.output_text.delta", {"output_index": 0, "content_index": 7, "delta": "x"}),
        ("response.output_text.delta", {"output_index": 0, "content_index": -1, "delta": "x"}),
        ("response.output_text.delta", {"output_index": 9, "content_index": 0, "delta": "x"}),
        ("response.output_text.delta", {"output_index": True, "content_index": 0, "delta": "x"}),
        ("response.output_text.delta", {"output_index": 0, "content_index": 0, "delta": 5}),
        ("response.output_text.delta", {"output_index": 0, "content_index": 0}),
        ("response.output_text.done", {"output_index": 0, "content_index": 0, "text": None}),
        ("response.content_part.added", {"output_index": 0, "content_index": 5, "part": {}}),
        ("response.content_part.added", {"output_index": 0, "content_index": 0, "part": None}),
        (ADDED, {"output_index": -1, "item": {}}),
        (ADDED, {"output_index": 1, "item": None}),
        (DONE, {"output_index": "0", "item": {}}),
        (IN_PROGRESS, {"response": "no object"}),
        ("error", {"message": "x"}),
    ],
)
def test_what_cannot_be_folded_is_passed_over(kind, fields):
    item = {"type": "message", "content": [{"type": "output_text", "text": "kept"}]}
    assert opened(item, (kind, fields)) == item


KINDS = sorted({*DELTAS, *DONES, *PARTS, *STATES, *OTHERS, *LIFECYCLE, ADDED, DONE, "error", "x"})
FIELDS = """item response part delta text refusal arguments input code annotation logprobs status
    annotations content summary action commands command command_index output_index content_index
    summary_index annotation_index partial_image_b64 output""".split()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)
EVENTS = st.lists(
    st.builds(
        lambda kind, fields, index: {"output_index": index, **fields, "type": kind},
        st.sampled_from(KINDS) | VALUES,
        st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
        st.integers(0, 1),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=100)
@given(EVENTS)
def test_no_sequence_of_events_is_fatal(events):
    """Any types, any fields, any values, in any order: there is always a snapshot."""
    reducer = Reducer()
    reducer.apply({"type": CREATED, "response": {"id": "resp_1"}})
    reducer.apply({"type": ADDED, "output_index": 0, "item": {"content": [{}], "action": {}}})
    for event in events:
        reducer.apply(orjson.loads(orjson.dumps(event)))
        snapshot = reducer.response()
        assert all(isinstance(item, dict) for item in snapshot.get("output", []))
        assert orjson.loads(orjson.dumps(snapshot)) == snapshot
        reducer.partial_output()
        reducer.finished_items()


def test_a_long_text_is_not_copied_for_each_of_its_deltas():
    """Else 20 MB in pieces of 64 KiB are three gigabytes of copies, at each first poll."""
    item = {"id": "m", "type": "message", "content": [{"type": "output_text", "text": ""}]}
    reducer = Reducer()
    reducer.apply({"type": ADDED, "output_index": 0, "item": item})
    at = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
    reducer.apply(at | {"delta": "x" * 2**22})
    tracemalloc.start()
    try:
        reducer.apply(at | {"delta": "y" * 1000})
        reducer.apply(at | {"delta": "z" * 1000})
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        reducer.apply(at | {"delta": "w" * 1000})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 2**20
    assert reducer.output()[0]["content"][0]["text"] == "x" * 2**22 + "".join(
        letter * 1000 for letter in "yzw"
    )
