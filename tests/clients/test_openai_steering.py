"""openai: `connection.response.steer()` against every provider family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clients.reading import ENDS, WEATHER, auntil, call_output, code, turn, until
from clients.servers import Family, Gate
from openai import AsyncOpenAI, OpenAI
from openai.lib.responses_websocket import ResponsesWebSocketAccumulator
from openai.resources.responses.responses import ResponsesConnection
from openai.types.responses import ResponseSteerFailedEvent

Gates = Callable[[str], Gate]

# Before which of its events a provider waits, so that an item is half said then.
PLACES = {"native": 6, "chat": 3, "claude": 5}
ACCEPTED, PENDING, FAILED = (f"response.steer.{kind}" for kind in ("accepted", "pending", "failed"))
DELTAS = ("response.output_text.delta", "response.function_call_arguments.delta")


def held(gate: Gates, family: Family, scenario: str) -> Gate:
    return gate(f"{scenario}-gate{PLACES[family.name]}")


def begin(connection: ResponsesConnection, **create) -> str:
    """A create whose provider has begun to speak; the response's id."""
    connection.response.create(**create)
    target = until(connection, "response.created").response.id
    until(connection, *DELTAS)
    return target


def steered(connection: ResponsesConnection, target: str, text: str) -> str:
    """A steer that is accepted; its id."""
    connection.response.steer(previous_response_id=target, input=text)
    event = until(connection, ACCEPTED)
    assert event.steer.previous_response_id == target
    return event.steer.id


def refused(connection: ResponsesConnection, target: str, given="no") -> str:
    """The code of a steer that is not taken."""
    connection.response.steer(previous_response_id=target, input=given)
    event = until(connection, FAILED)
    assert event.steer.id is None
    assert (event.steer.previous_response_id, event.steer.input) == (target, given)
    return event.error.code


@pytest.mark.parametrize("store", [True, False])
def test_a_steered_response_is_followed_by_its_successor(
    client: OpenAI, gate: Gates, family: Family, store: bool
):
    closed = held(gate, family, "echo")
    with client.responses.connect() as connection:
        target = begin(
            connection, model=closed.model, input="heron", store=store, instructions="Be brief."
        )
        steered(connection, target, "osprey")
        steered(connection, target, "kestrel")
        closed.release()
        cut = until(connection, "response.incomplete").response
        assert (cut.id, cut.incomplete_details.reason) == (target, "steered")
        assert [item.status for item in cut.output] == ["completed"]
        successor = until(connection, "response.completed").response
    assert successor.previous_response_id == target
    assert (successor.model, successor.instructions) == (cut.model, "Be brief.")
    said = successor.output_text
    assert said.index("heron") < said.index("osprey") < said.index("kestrel")
    if store:
        kept = client.responses.retrieve(target)
        assert (kept.status, kept.incomplete_details.reason) == ("incomplete", "steered")
        assert kept.output_text == cut.output_text
        asked = client.responses.input_items.list(successor.id, order="asc")
        texts = [item.content[0].text for item in asked if item.role == "user"]
        assert texts == ["heron", "osprey", "kestrel"]


def test_an_accumulator_reads_both_responses_from_one_lane(
    client: OpenAI, gate: Gates, family: Family
):
    closed = held(gate, family, "echo")
    accumulator = ResponsesWebSocketAccumulator()
    ends, closing = [], False
    with client.responses.connect() as connection:
        connection.response.create(model=closed.model, input="heron", stream_id="main")
        while len(ends) < 2:
            event = connection.recv()
            assert event.stream_id == "main"
            accumulator.add_event(event)
            if event.type == "response.created" and not ends:
                target = event.response.id
            elif event.type in DELTAS and not closing:
                connection.response.steer(previous_response_id=target, input="osprey")
                closing = True
            elif event.type == ACCEPTED:
                closed.release()
            elif event.type in ENDS:
                ends.append(accumulator.get_final_response())
                accumulator.reset()
    assert [end.status for end in ends] == ["incomplete", "completed"]
    assert "osprey" in ends[1].output_text


def test_after_a_call_the_steers_wait_for_its_output(client: OpenAI, gate: Gates, family: Family):
    closed = held(gate, family, "toolloop")
    options = {"model": closed.model, "tools": [WEATHER], "store": False, "stream_id": "main"}
    with client.responses.connect() as connection:
        target = begin(connection, input="weather?", **options)
        steer_id = steered(connection, target, "osprey")
        closed.release()
        asked = until(connection, "response.completed").response
        call = next(item for item in asked.output if item.type == "function_call")
        pending = until(connection, PENDING)
        assert (pending.reason, pending.stream_id) == ("waiting_for_required_input", "main")
        assert (pending.steer.id, pending.steer.previous_response_id) == (steer_id, target)
        [stub] = pending.required_input
        assert (stub.type, stub.call_id, stub.name) == (
            "function_call_output",
            call.call_id,
            "get_weather",
        )
        output = call_output(stub.call_id, "raining herons")
        answer = turn(connection, input=[output], previous_response_id=target, **options)
        assert "raining herons" in answer.output_text
        echo = options | {"model": family.model("echo")}
        heard = turn(connection, input="all?", previous_response_id=answer.id, **echo)
    assert "osprey" in heard.output_text


def test_what_cannot_be_steered_says_why(client: OpenAI, gate: Gates, family: Family):
    closed = held(gate, family, "echo")
    with client.responses.connect() as connection:
        first = turn(connection, model=family.model("text"), input="hi")
        assert refused(connection, first.id) == "response_already_completed"
        assert refused(connection, "resp_unknown") == "response_not_found"
        assert refused(connection, first.id, []) == "invalid_input"
        target = begin(connection, model=closed.model, input="hi")
        assert refused(connection, target, []) == "invalid_input"
        for number in range(16):
            steered(connection, target, str(number))
        assert refused(connection, target) == "too_many_pending_steers"
        closed.release()
        until(connection, "response.incomplete")
        assert until(connection, "response.completed").response.previous_response_id == target


def test_a_response_of_a_conversation_is_not_steered(client: OpenAI, gate: Gates, family: Family):
    closed = held(gate, family, "echo")
    conversation = client.conversations.create()
    with client.responses.connect() as connection:
        target = begin(connection, model=closed.model, input="hi", conversation=conversation.id)
        assert refused(connection, target) == "steering_not_supported"
        closed.release()
        assert until(connection, "response.completed").response.id == target


def test_a_cancelled_target_hands_its_steer_back(client: OpenAI, gate: Gates, family: Family):
    closed = held(gate, family, "echo")
    with client.responses.connect() as connection:
        target = begin(connection, model=closed.model, input="hi")
        steer_id = steered(connection, target, "osprey")
        connection.send({"type": "response.cancel", "response_id": target})
        assert until(connection, "response.failed").response.status == "cancelled"
        _check_returned(connection, steer_id, "response_not_active")


def test_a_refused_continuation_hands_its_steer_back(client: OpenAI, gate: Gates, family: Family):
    closed = held(gate, family, "toolloop")
    options = {"model": closed.model, "tools": [WEATHER]}
    with client.responses.connect() as connection:
        target = begin(connection, input="weather?", **options)
        steer_id = steered(connection, target, "osprey")
        closed.release()
        until(connection, "response.completed")
        until(connection, PENDING)
        connection.response.create(
            input=[call_output("call_none", "?")], previous_response_id=target, **options
        )
        assert code(until(connection, "error"))[0] == 400
        _check_returned(connection, steer_id, "successor_creation_failed")


def _check_returned(connection: ResponsesConnection, steer_id: str, expected: str) -> None:
    event = until(connection, FAILED)
    assert isinstance(event, ResponseSteerFailedEvent)
    assert (event.steer.id, event.steer.input) == (steer_id, "osprey")
    assert (event.error.code, event.error.type) == (expected, "invalid_request_error")


async def test_an_async_client_steers_too(aclient: AsyncOpenAI, gate: Gates, family: Family):
    closed = held(gate, family, "echo")
    parts = [{"type": "input_text", "text": "osprey"}]
    message = {"type": "message", "role": "user", "content": parts}
    async with aclient.responses.connect() as connection:
        await connection.response.create(model=closed.model, input="hi")
        target = (await auntil(connection, "response.created")).response.id
        await auntil(connection, *DELTAS)
        await connection.response.steer(previous_response_id=target, input=[message])
        await auntil(connection, ACCEPTED)
        closed.release()
        await auntil(connection, "response.incomplete")
        successor = (await auntil(connection, "response.completed")).response
    assert "osprey" in successor.output_text
