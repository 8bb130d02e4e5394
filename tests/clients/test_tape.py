"""The tape itself: it lets a right turn pass, and every kind of breach is caught."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clients.tape import DONE, Socket, SseStream
from openai._streaming import ServerSentEvent

Json = dict[str, Any]


NULL = (
    "completed_at incomplete_details previous_response_id instructions error reasoning usage "
    "max_output_tokens max_tool_calls safety_identifier prompt_cache_key"
)
SAMPLING = "top_p temperature presence_penalty frequency_penalty"


def response(**fields: Any) -> Json:
    """A snapshot with all the keys that somebody insists on."""
    words = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "m"}
    lists = {"output": [], "tools": [], "metadata": {}, "text": {"format": {"type": "text"}}}
    modes = {"truncation": "disabled", "tool_choice": "auto", "service_tier": "default"}
    flags = {"store": True, "background": False, "parallel_tool_calls": True}
    numbers = {"created_at": 1, "top_logprobs": 0, **dict.fromkeys(SAMPLING.split(), 1.0)}
    nothing = dict.fromkeys(NULL.split())
    return {**words, **lists, **modes, **flags, **numbers, **nothing, **fields}


def turn() -> list[Json]:
    """The shortest turn with a text: numbered, in order."""
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "hey", "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant"}
    added = {**message, "status": "in_progress", "content": []}
    done = {**message, "status": "completed", "content": [part]}
    events: list[Json] = [
        {"type": "response.created", "response": response()},
        {"type": "response.output_item.added", "output_index": 0, "item": added},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **at, "delta": "hey", "logprobs": []},
        {"type": "response.output_text.done", **at, "text": "hey", "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": response(status="completed", output=[done])},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def check(events: list[Json]) -> None:
    Socket(None, received=[json.dumps(event) for event in events]).check()


def check_sse(events: list[Json], *, done: bool = True) -> None:
    sse = [ServerSentEvent(event=event["type"], data=json.dumps(event)) for event in events]
    end = [ServerSentEvent(data=DONE)] if done else []
    SseStream(sse + end, exhausted=True).check()


def test_right_turns_pass():
    check(turn() + turn())
    check_sse(turn())


def test_a_resumed_stream_passes():
    check_sse(turn()[4:])


BREACHES = {
    "a key that is absent": (0, {"response": {"id": "resp_1", "status": "in_progress"}}),
    "a null that may not be": (0, {"response": response(temperature=None)}),
    "a number that stays": (3, {"sequence_number": 2}),
    "a number as text": (3, {"sequence_number": "3"}),
    "a start that is not 0": (0, {"sequence_number": 1}),
    "a null lane": (3, {"stream_id": None}),
    "a lane that appears": (3, {"stream_id": "main"}),
    "another response": (7, {"response": response(id="resp_2", status="completed")}),
    "a status that contradicts": (7, {"response": response(status="failed")}),
    "an output that lacks an item": (7, {"response": response(status="completed")}),
    "deltas that do not add up": (4, {"text": "hi"}),
    "logprobs left out": (3, {"logprobs": None}),
    "a type that nobody knows": (5, {"type": "response.brand_new"}),
    "an item that changes": (6, {"item": {**turn()[6]["item"], "id": "msg_2"}}),
    "an index twice": (2, turn()[1]),
    "an end in the middle": (5, turn()[7]),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_caught(breach: str):
    index, change = BREACHES[breach]
    events = turn()
    events[index] = {**events[index], "sequence_number": index, **change}
    with pytest.raises(AssertionError):
        check(events)


def test_a_stream_without_its_done_line_is_caught():
    with pytest.raises(AssertionError):
        check_sse(turn(), done=False)


FRAME = {
    "type": "error",
    "status": 400,
    "error": {"type": "invalid_request_error", "code": "a", "message": "b"},
}


def test_the_error_envelope_passes():
    check([FRAME])


def test_an_error_frame_within_a_turn_is_caught():
    """After `created` the one way to fail is `response.failed`."""
    with pytest.raises(AssertionError):
        check([*turn()[:4], FRAME])


@pytest.mark.parametrize(
    "change",
    [
        {"status": "400"},
        {"status": None},
        {"sequence_number": 1},
        {"error": {**FRAME["error"], "code": None}},
        {"error": None, "code": "a", "message": "b"},
    ],
)
def test_an_envelope_that_some_client_hangs_on_is_caught(change: Json):
    with pytest.raises(AssertionError):
        check([{**FRAME, **change}])
