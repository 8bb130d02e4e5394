"""Events of Responses providers: what is right passes byte for byte, what is not is put right."""

import json
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_checker import check_events
from upstreams.responses_wire import ANNOTATION, WireStream, legal_stream

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import LIFECYCLE, Draft
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.upstream.dialects.responses.normaliser import Normaliser
from ws_bridge.upstream.dialects.responses.stream import draft_of

SEEDS = st.integers(0, 2**32)
DELTA = "response.output_text.delta"
MESSAGE = {
    "id": "msg_0",
    "type": "message",
    "status": "in_progress",
    "role": "assistant",
    "content": [],
}


def drafts_of(events):
    """What the normaliser makes of a provider's events."""
    numbers = count()
    normaliser = Normaliser(mint=lambda prefix: f"{prefix}_minted{next(numbers)}")
    texts = [json.dumps(event).encode() for event in events]
    return [draft for text in texts for draft in normaliser.take(draft_of(text))]


def published(drafts):
    """The events that a client gets."""
    return Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0).sequence(drafts)


def client_events(events):
    return [event.json() for event in published(drafts_of(events))]


def stream_of(*events, output=(), status="completed"):
    """A stream of these events, from its opening to its end."""
    response = {"id": "r", "model": "m", "status": status, "output": list(output)}
    created = response | {"status": "in_progress", "output": []}
    opening = {"type": "response.created", "response": created}
    return [opening, *events, {"type": f"response.{status}", "response": response}]


def delta(text, **fields):
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    return {"type": DELTA, **at, "delta": text, "logprobs": []} | fields


def added(item, index=0):
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item, index=0):
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def part(text):
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def types(events):
    return [event["type"].removeprefix("response.") for event in events]


WHOLE = [
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "completed",
]


# What is right


@settings(deadline=None)
@given(SEEDS)
def test_a_legal_stream_keeps_its_bytes(seed):
    events = legal_stream(seed)
    drafts = drafts_of(events)
    assert [draft.type for draft in drafts] == [event["type"] for event in events]
    for draft, event in zip(drafts, events, strict=True):
        assert draft.text == (b"" if draft.type in LIFECYCLE else json.dumps(event).encode())
    assert drafts[-1].fields["response"] == events[-1]["response"]


@settings(deadline=None)
@given(SEEDS)
def test_a_legal_stream_is_legal_for_the_official_types(seed):
    assert check_events(client_events(legal_stream(seed))) == []


def test_interleaved_items_stay_as_they_are():
    thought = {"id": "rs_0", "type": "reasoning", "summary": []}
    stream = WireStream(Random(1))  # noqa: S311
    stream.add("response.output_item.added", output_index=0, item=thought)
    stream.output.append(thought)
    stream.message()
    stream.add("response.output_item.done", output_index=0, item=thought)
    events = stream.finish()
    assert [draft.type for draft in drafts_of(events)] == [event["type"] for event in events]


def test_a_provider_may_seal_a_thought_again_in_its_final_object():
    thought = {"id": "rs_0", "type": "reasoning", "summary": [], "encrypted_content": "one"}
    final = thought | {"encrypted_content": "two"}
    drafts = drafts_of(stream_of(added(thought), done(thought), output=[final]))
    assert drafts[-1].fields["response"]["output"] == [final]


def test_an_unknown_event_passes_and_what_is_not_of_the_response_does_not():
    unknown = {"type": "response.time_travel", "year": 1985}
    inside = {"type": "response.time_travel.started", "item_id": "msg_0", "output_index": 0}
    events = [added(MESSAGE), unknown, inside, {"type": "keepalive"}, {"type": "x.rate_limits"}]
    drafts = drafts_of(stream_of(*events))
    assert [draft.text for draft in drafts[2:4]] == [json.dumps(e).encode() for e in events[1:3]]
    assert not {"keepalive", "x.rate_limits"} & {draft.type for draft in drafts}


# What is put right


@settings(deadline=None, max_examples=80)
@given(SEEDS)
def test_a_stream_with_events_missing_has_a_legal_structure(seed):
    random = Random(seed)  # noqa: S311
    events = legal_stream(seed)
    kept = [event for event in events if not is_droppable(event) or random.random() < 0.6]
    if random.random() < 0.3:
        kept[-1] = kept[-1] | {"response": {**kept[-1]["response"], "output": None}}
    assert_legal(kept)


@settings(deadline=None, max_examples=80)
@given(SEEDS, st.sampled_from(["ids", "no ids", "no indices", "indices", "places", "neither"]))
def test_a_stream_with_other_ids_and_indices_has_a_legal_structure(seed, how):
    random = Random(seed)  # noqa: S311
    events = client_events([damaged(event, how, random) for event in legal_stream(seed)])
    assert [words for words in check_events(events) if "missing" not in words] == []
    assert contents(events[-1]) == contents(client_events(legal_stream(seed))[-1])


def is_droppable(event):
    """Not what tells a second part from the first one, nor annotations."""
    is_first = {event.get(name, 0) for name in ("content_index", "summary_index")} == {0}
    return is_first and "annotation" not in event and event["type"].endswith((".added", ".done"))


def damaged(event, how, random):
    """The event as a provider sends it that has no stable names for things."""
    event = json.loads(json.dumps(event))
    for holder, name in ((event, "item_id"), (event.get("item", {}), "id")):
        if name in holder and how in ("no ids", "neither"):
            del holder[name]
        elif name in holder and how == "ids":
            holder[name] = f"x{random.random()}"
    if how in ("no indices", "neither"):
        event.pop("output_index", None)
    elif how == "indices" and "output_index" in event:
        event["output_index"] = random.randint(10, 20)
    elif how == "places" and not event["type"].endswith(".added"):
        event |= {k: random.randint(5, 9) for k in ("content_index", "summary_index") if k in event}
    return event


def contents(end):
    """What an answer says, without the names of its items."""
    return [{**item, "id": ""} for item in end["response"]["output"]]


def assert_legal(events):
    """A client gets a legal stream, but for the order in which items end, and missing names."""
    seen = published(drafts_of(events))
    allowed = ("out of order", "missing")
    problems = check_events([event.json() for event in seen])
    assert [words for words in problems if not any(word in words for word in allowed)] == []
    assert fold(seen) == seen[-1].json()["response"]


def test_a_delta_before_its_item_adds_it():
    events = client_events(stream_of(delta("he", item_id="m1"), delta("llo", item_id="m1")))
    assert types(events) == [*WHOLE[:5], *WHOLE[4:]]
    assert {event["item_id"] for event in events if "item_id" in event} == {"m1"}
    assert check_events(events) == []
    assert contents(events[-1])[0]["content"] == [part("hello")]


def test_an_item_that_is_added_after_its_first_delta_is_the_same():
    item = MESSAGE | {"status": "completed", "content": [part("hi")]}
    events = client_events(stream_of(delta("hi"), added(MESSAGE), done(item), output=[item]))
    assert types(events) == WHOLE
    assert events[-1]["response"]["output"] == [item]


def test_a_calls_deltas_wait_for_its_name():
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    early = {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{}"}
    finished = call | {"arguments": "{}", "status": "completed"}
    events = client_events(stream_of(early, added(call), done(finished), output=[finished]))
    assert types(events)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert check_events(events) == []


def test_a_call_that_comes_whole_is_not_repeated_in_a_delta():
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    ended = {"type": "response.function_call_arguments.done", "item_id": "fc_1"}
    ended |= {"output_index": 0, "arguments": "{}", "name": "f"}
    finished = call | {"status": "completed"}
    events = client_events(stream_of(added(call), ended, done(finished), output=[finished]))
    assert types(events)[2:-1] == [
        "output_item.added",
        "function_call_arguments.done",
        "output_item.done",
    ]


def test_a_finished_thought_has_a_summary():
    thought = {"id": "rs_0", "type": "reasoning", "content": [], "summary": None}
    events = client_events(stream_of(added(thought), done(thought), output=[thought]))
    assert events[-1]["response"]["output"] == [thought | {"summary": []}]


@pytest.mark.parametrize("name", ["output_item", "output_text", "content_part"])
def test_what_ends_twice_ends_once(name):
    stream = legal_stream(2)
    twice = [again for event in stream for again in [event] * (1 + is_end_of(name, event))]
    assert len(twice) > len(stream)
    assert drafts_of(twice) == drafts_of(stream)


def is_end_of(name, event):
    return event["type"] == f"response.{name}.done"


def test_items_that_only_the_final_object_has_are_added():
    item = MESSAGE | {"status": "completed", "content": [part("hi")]}
    events = client_events(stream_of(output=[item]))
    assert types(events) == WHOLE
    assert check_events(events) == []


def test_parallel_calls_without_ids_are_told_apart_by_their_call_ids():
    calls = [
        {"type": "function_call", "call_id": name, "name": name, "arguments": ""} for name in "ab"
    ]
    finished = [call | {"arguments": "{}", "status": "completed"} for call in calls]
    events = [*map(added, calls), *map(done, finished)]
    for event in events:
        del event["output_index"]
    got = client_events(stream_of(*events, output=finished))
    assert [item["name"] for item in got[-1]["response"]["output"]] == ["a", "b"]
    assert [e["output_index"] for e in got if "item" in e] == [0, 1, 0, 1]


def test_a_content_index_that_counts_up_means_the_open_part():
    item = MESSAGE | {"content": [part("abcd")], "status": "completed"}
    begin = {"type": "response.content_part.added", "item_id": "msg_0", "output_index": 0}
    part_added = begin | {"content_index": 0, "part": part("")}
    deltas = [delta("ab"), delta("cd", content_index=1)]
    events = client_events(stream_of(added(MESSAGE), part_added, *deltas, done(item)))
    assert {event["content_index"] for event in events if "content_index" in event} == {0}
    assert check_events(events) == []


def test_an_annotation_without_a_place_gets_the_next_one():
    note = {"type": "response.output_text.annotation.added", "annotation": ANNOTATION}
    events = client_events(stream_of(added(MESSAGE), delta("x"), note, note))
    assert [e["annotation_index"] for e in events if "annotation" in e] == [0, 1]
    assert contents(events[-1])[0]["content"][0]["annotations"] == [ANNOTATION] * 2
    assert check_events(events) == []


def test_a_done_text_that_goes_on_is_completed_by_a_delta():
    ended = {"type": "response.output_text.done", "item_id": "msg_0", "output_index": 0}
    ended |= {"content_index": 0, "text": "hello", "logprobs": []}
    events = client_events(stream_of(added(MESSAGE), delta("he"), ended))
    assert [event["delta"] for event in events if "delta" in event] == ["he", "llo"]
    assert check_events(events) == []


def test_a_done_text_that_differs_is_the_providers_last_word():
    ended = {"type": "response.output_text.done", "item_id": "msg_0", "output_index": 0}
    ended |= {"content_index": 0, "text": "other", "logprobs": []}
    events = client_events(stream_of(added(MESSAGE), delta("he"), ended))
    assert contents(events[-1])[0]["content"] == [part("other")]


@pytest.mark.parametrize("output", [[], None, "x"])
def test_a_final_output_that_is_missing_is_what_was_said(output):
    stream = legal_stream(3)
    expected = stream[-1]["response"]["output"]
    stream[-1] = stream[-1] | {"response": stream[-1]["response"] | {"output": output}}
    assert drafts_of(stream)[-1].fields["response"]["output"] == expected


def test_raw_reasoning_without_parts_stays_so():
    """Some providers stream it so, and clients read it."""
    thought = {"id": "rs_0", "type": "reasoning", "summary": []}
    said = {"type": "response.reasoning_text.delta", "item_id": "rs_0", "output_index": 0}
    said |= {"content_index": 0, "delta": "hm"}
    final = thought | {"content": [{"type": "reasoning_text", "text": "hm"}]}
    events = client_events(stream_of(added(thought), said, done(final), output=[final]))
    assert types(events)[2:-1] == ["output_item.added", "reasoning_text.delta", "output_item.done"]
    assert events[-1]["response"]["output"] == [final]


def test_a_program_output_is_added_with_a_status_that_it_may_have():
    item = {"type": "program_output", "id": "po", "call_id": "c", "result": "4"}
    events = [added(item | {"status": "in_progress"}), done(item | {"status": "completed"})]
    assert check_events(client_events(stream_of(*events))) == []


def test_a_hosted_call_keeps_its_own_words():
    item = {"type": "image_generation_call", "id": "ig", "status": "generating", "result": "x"}
    drafts = drafts_of(stream_of(added(item), done(item), output=[item]))
    assert [draft.fields["item"] for draft in drafts[1:3]] == [item, item]


# Halves of characters


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
def test_what_a_provider_calls_side_data_is_none_of_ours(kind):
    response = {"id": "r", "status": kind, "output": []}
    end = {"type": f"response.{kind}", "response": response, "side_data": {"a": 1}}
    assert [draft.fields for draft in drafts_of([end])] == [{"response": response}]


@pytest.mark.parametrize("kind", ["message", "of_tomorrow"])
def test_arguments_that_name_another_item_end_somewhere(kind):
    """A message has none: they are the call's. An unknown item may have them."""
    other = {"id": "x_0", "type": kind, "status": "in_progress"}
    asked = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    delta = {"type": "response.function_call_arguments.delta", "delta": "{}", "output_index": 1}
    response = {"id": "r", "status": "completed", "output": []}
    events = [
        added(other | ({"role": "assistant", "content": []} if kind == "message" else {})),
        added(asked, 1),
        delta | {"item_id": "x_0"},
        {"type": "response.completed", "response": response},
    ]
    drafts = drafts_of(events)
    owner = "fc_1" if kind == "message" else "x_0"
    [sent] = [d for d in drafts if d.type.endswith("arguments.delta")]
    [ended] = [d for d in drafts if d.fields.get("arguments") == "{}"]
    assert (sent.fields["item_id"], ended.fields["item_id"]) == (owner, owner)


def test_half_of_a_character_waits_for_the_other_one():
    events = client_events(stream_of(added(MESSAGE), delta("a\ud83d"), delta("\ude42b")))
    assert [event["delta"] for event in events if "delta" in event] == ["a", "🙂b"]
    assert contents(events[-1])[0]["content"] == [part("a🙂b")]


def test_a_half_that_stays_alone_is_replaced():
    ended = MESSAGE | {"status": "completed", "content": [part("a\ud83d")]}
    stream = stream_of(added(MESSAGE), delta("a"), delta("\ud83d"), done(ended), output=[ended])
    events = client_events(stream)
    assert [event["delta"] for event in events if "delta" in event] == ["a", "\ufffd"]
    assert events[-1]["response"]["output"][0]["content"] == [part("a\ufffd")]
    assert check_events(events) == []


def test_a_delta_after_a_half_is_not_passed_as_it_is():
    events = client_events(stream_of(added(MESSAGE), delta("a"), delta("\ud83d"), delta("b")))
    assert [event["delta"] for event in events if "delta" in event] == ["a", "\ufffdb"]


# Ends


@pytest.mark.parametrize(
    ("event", "message", "status"),
    [
        ({"type": "error", "message": "gone", "code": "rate_limit_exceeded"}, "gone", 429),
        ({"type": "error", "error": {"message": "no", "type": "server_error"}}, "no", 500),
        (
            {"type": "response.failed", "response": {"error": {"code": "x", "message": "bad"}}},
            "bad",
            502,
        ),
        (
            {"type": "response.completed", "response": {"status": "failed", "error": {"code": 1}}},
            "The model provider failed.",
            502,
        ),
        ({"type": "keepalive", "error": {"message": "no"}}, "no", 502),
        ({"type": "response.cancelled"}, "The model provider cancelled the response.", 502),
        (
            {"type": "response.completed", "response": {"status": "cancelled"}},
            "The model provider cancelled the response.",
            502,
        ),
    ],
)
def test_errors_are_the_providers(event, message, status):
    with pytest.raises(UpstreamError) as failed:
        drafts_of([event])
    assert (failed.value.message, failed.value.status) == (message, status)


def test_a_cut_answer_has_incomplete_items():
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    call["status"] = "in_progress"
    early = {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a'}
    events = client_events(stream_of(added(call), early, status="incomplete"))
    assert events[-1]["response"]["output"] == [call | {"arguments": '{"a', "status": "incomplete"}]


def test_a_call_cut_in_its_arguments_is_never_completed():
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    call["status"] = "in_progress"
    early = {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a'}
    [item] = client_events(stream_of(added(call), early))[-1]["response"]["output"]
    assert item["status"] == "incomplete"


def test_an_end_is_what_its_object_calls_itself():
    response = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    [draft] = drafts_of([{"type": "response.completed", "response": response}])
    assert draft == Draft("response.incomplete", {"response": response | {"output": []}})


@pytest.mark.parametrize("response", [None, [], "x", {}])
def test_an_end_without_an_object_ends_the_answer(response):
    events = client_events([{"type": "response.completed", "response": response}])
    assert events[-1]["response"]["status"] == "completed"


@settings(deadline=None)
@given(SEEDS)
def test_nothing_that_a_provider_sends_crashes(seed):
    random = Random(seed)  # noqa: S311
    values = [None, True, -1, 0, 7, "x", "msg_0", [], {}, [None], {"type": "message"}, "\ud83d"]
    events = legal_stream(seed)
    for event in random.sample(events, len(events) // 2):
        event[random.choice([*event])] = random.choice(values)
        event["type"] = event["type"] if isinstance(event["type"], str) else "response.x"
    try:
        published(drafts_of(events))
    except UpstreamError as failed:
        assert failed.message  # noqa: PT017 - either way is right
