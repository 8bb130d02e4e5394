"""openai, sync and async: `responses.connect()` against every provider family."""

from __future__ import annotations

import pytest
from clients.reading import ENDS, WEATHER, aend, aturn, auntil, call_output, code, end, turn
from clients.servers import Bridge, Family
from clients.tape import Tape
from openai import AsyncOpenAI, OpenAI
from openai.lib.responses_websocket import ResponsesWebSocketAccumulator
from websockets.exceptions import InvalidStatus

NOT_FOUND = (400, "previous_response_not_found")


def test_a_turn_streams_and_its_accumulated_text_is_the_final_one(client: OpenAI, family: Family):
    accumulator = ResponsesWebSocketAccumulator()
    deltas = []
    with client.responses.connect() as connection:
        connection.response.create(model=family.model("text"), input="hi")
        for event in connection:
            accumulator.add_event(event)
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
            if event.type in ENDS:
                break
    final = accumulator.get_final_response()
    assert final.output_text
    assert (final.status, final.output_text) == ("completed", "".join(deltas))
    assert accumulator.snapshot().output_text == final.output_text


@pytest.mark.parametrize("store", [True, False])
def test_a_turn_continues_the_one_before(client: OpenAI, family: Family, store: bool):
    model = family.model("echo")
    with client.responses.connect() as connection:
        first = turn(connection, model=model, input="first word heron", store=store)
        second = turn(
            connection,
            model=model,
            input="second word osprey",
            store=store,
            previous_response_id=first.id,
        )
    assert second.previous_response_id == first.id
    assert second.store is store
    assert "heron" in second.output_text
    assert "osprey" in second.output_text


def test_instructions_are_of_one_turn_only(client: OpenAI, family: Family):
    model = family.model("echo")
    with client.responses.connect() as connection:
        first = turn(connection, model=model, input="hi", instructions="speak like a kestrel")
        second = turn(connection, model=model, input="again", previous_response_id=first.id)
    assert (first.instructions, second.instructions) == ("speak like a kestrel", None)
    # An answer quotes all that its model was told, and the first answer is history of the second.
    assert second.output_text.count("kestrel") == first.output_text.count("kestrel")


async def test_async_turns_continue(aclient: AsyncOpenAI, family: Family):
    model = family.model("echo")
    async with aclient.responses.connect() as connection:
        first = await aturn(connection, model=model, input="first word heron", store=False)
        second = await aturn(
            connection, model=model, input="next", store=False, previous_response_id=first.id
        )
    assert "heron" in second.output_text


def test_a_stored_parent_is_found_from_another_socket(client: OpenAI, family: Family):
    model = family.model("echo")
    with client.responses.connect() as connection:
        first = turn(connection, model=model, input="first word heron")
    with client.responses.connect() as connection:
        second = turn(connection, model=model, input="next", previous_response_id=first.id)
    assert "heron" in second.output_text


def test_an_unstored_parent_is_unknown_to_another_socket(client: OpenAI, family: Family):
    model = family.model("text")
    with client.responses.connect() as connection:
        first = turn(connection, model=model, input="hi", store=False)
    with client.responses.connect() as connection:
        refused = end(connection, model=model, input="next", previous_response_id=first.id)
        assert code(refused) == NOT_FOUND
        assert refused.error.param == "previous_response_id"
        assert turn(connection, model=model, input="the socket lives on").output_text


def test_a_warm_up_answers_at_once_and_its_input_is_history(client: OpenAI, family: Family):
    model = family.model("echo")
    with client.responses.connect() as connection:
        warm = turn(connection, model=model, input="warm word heron", generate=False, store=False)
        assert warm.output == []
        assert warm.usage is not None
        second = turn(
            connection, model=model, input="next", store=False, previous_response_id=warm.id
        )
    assert "heron" in second.output_text


def test_a_tool_is_called_and_its_output_answers(client: OpenAI, family: Family):
    options = {"model": family.model("toolloop"), "tools": [WEATHER], "store": False}
    with client.responses.connect() as connection:
        asked = turn(connection, input="weather in Paris?", **options)
        call = next(item for item in asked.output if item.type == "function_call")
        assert (call.name, call.status) == ("get_weather", "completed")
        output = call_output(call.call_id, "raining herons")
        answer = turn(connection, input=[output], previous_response_id=asked.id, **options)
    assert "raining herons" in answer.output_text


def test_an_output_nobody_asked_for_fails_and_evicts_the_parent(client: OpenAI, family: Family):
    """As docs/protocol.md §6.3 says; the Open Responses suite has the same three turns."""
    model = family.model("text")
    stray = [call_output("call_never_made", "?")]
    with client.responses.connect() as connection:
        first = turn(connection, model=model, input="hi", store=False)
        failed = end(
            connection, model=model, input=stray, store=False, previous_response_id=first.id
        )
        assert failed.type in ("error", "response.failed")
        evicted = end(
            connection, model=model, input="hi", store=False, previous_response_id=first.id
        )
        assert code(evicted) == NOT_FOUND


def test_reasoning_comes_before_the_text(client: OpenAI, family: Family):
    with client.responses.connect() as connection:
        response = turn(connection, model=family.model("reasoning-thinking"), input="hi")
    assert [item.type for item in response.output] == ["reasoning", "message"]


def test_an_incomplete_response_can_be_continued(client: OpenAI, family: Family):
    with client.responses.connect() as connection:
        cut = end(connection, model=family.model("incomplete-length-maxtok"), input="word heron")
        assert cut.type == "response.incomplete"
        assert cut.response.incomplete_details.reason == "max_output_tokens"
        after = turn(
            connection,
            model=family.model("echo"),
            input="go on",
            previous_response_id=cut.response.id,
        )
    assert "heron" in after.output_text


def test_a_provider_that_breaks_off_fails_the_response_only(client: OpenAI, family: Family):
    with client.responses.connect() as connection:
        failed = end(connection, model=family.model("drop"), input="hi")
        assert failed.type == "response.failed"
        assert failed.response.status == "failed"
        assert failed.response.error.code == "server_error"
        assert turn(connection, model=family.model("text"), input="again").output_text


@pytest.mark.parametrize(
    ("scenario", "status", "error_code"),
    [
        ("err429", 429, "rate_limit_exceeded"),
        ("err400ctx", 400, "context_length_exceeded"),
        ("err503", 503, "server_error"),
    ],
)
def test_a_provider_that_refuses_is_one_error_frame(
    client: OpenAI, family: Family, scenario: str, status: int, error_code: str
):
    with client.responses.connect() as connection:
        refused = end(connection, model=family.model(scenario), input="hi")
        assert code(refused) == (status, error_code)
        if status == 429:
            assert refused.error.headers["retry-after"]
        assert turn(connection, model=family.model("text"), input="again").output_text


def test_an_unknown_model_is_refused_and_the_socket_lives_on(client: OpenAI, family: Family):
    with client.responses.connect() as connection:
        refused = end(connection, model="nobody-has-this", input="hi")
        assert code(refused) == (404, "model_not_found")
        assert turn(connection, model=family.model("text"), input="hi").output_text


def test_a_wrong_key_is_refused_before_the_upgrade(bridge: Bridge):
    wrong = OpenAI(api_key="wrong", base_url=bridge.url)
    with pytest.raises(InvalidStatus) as refused, wrong.responses.connect():
        pass
    assert refused.value.response.status_code == 401
    assert b"invalid_api_key" in refused.value.response.body


async def test_a_running_response_is_visible_to_get_and_cancelled_on_the_socket(
    aclient: AsyncOpenAI, family: Family
):
    """P1 and P3: the provider stalls after some text, so the response is surely running."""
    async with aclient.responses.connect() as connection:
        await connection.response.create(model=family.model("stall"), input="hi")
        created = await auntil(connection, "response.created")
        delta = await auntil(connection, "response.output_text.delta")
        assert delta.delta
        seen = await aclient.responses.retrieve(created.response.id)
        assert seen.status == "in_progress"
        await connection.send({"type": "response.cancel"})
        ended = await auntil(connection, *ENDS)
        assert (ended.type, ended.response.status) == ("response.failed", "cancelled")
        seen = await aclient.responses.retrieve(created.response.id)
        assert seen.status == "cancelled"
        assert (await aturn(connection, model=family.model("text"), input="again")).output_text


async def test_event_handlers_are_called(aclient: AsyncOpenAI, family: Family):
    """`dispatch_events` raises on an error frame: there was none."""
    texts = []
    async with aclient.responses.connect() as connection:

        @connection.on("response.output_text.delta")
        def keep(event) -> None:
            texts.append(event.delta)

        @connection.once("response.completed")
        async def leave(_) -> None:
            await connection.close()

        await connection.response.create(model=family.model("text"), input="hi")
        await connection.dispatch_events()
    assert "".join(texts)


def test_a_named_lane_is_on_every_frame_and_the_default_lane_on_none(
    client: OpenAI, family: Family, tape: Tape
):
    with client.responses.connect() as connection:
        turn(connection, model=family.model("text"), input="hi", stream_id="main")
        named = len(tape.sockets[0].received)
        turn(connection, model=family.model("text"), input="hi")
    frames = tape.sockets[0].received
    assert all('"stream_id":"main"' in frame.replace(": ", ":") for frame in frames[:named])
    assert not any("stream_id" in frame for frame in frames[named:])


async def test_a_bad_lane_name_is_refused_without_a_lane(aclient: AsyncOpenAI, family: Family):
    async with aclient.responses.connect() as connection:
        refused = await aend(connection, model=family.model("text"), input="hi", stream_id="a b")
    assert code(refused) == (400, "invalid_stream_id")
    assert refused.stream_id is None
