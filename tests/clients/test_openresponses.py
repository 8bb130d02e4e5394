"""openresponses-py in its strict mode: it validates every event against the Open Responses schema.

Raw reasoning is left out: its event names are OpenAI's here, which that schema does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from clients.reading import WEATHER, call_output
from clients.servers import KEY, Bridge, Family
from openresponses import AsyncOpenResponses, OpenResponses
from openresponses.types.generated import ResponseResource
from openresponses.types.protocol import UnknownStreamingEvent
from openresponses.websocket import WebSocketConnection


@pytest.fixture(scope="session")
def strict(bridge: Bridge) -> Iterator[OpenResponses]:
    with OpenResponses(base_url=bridge.url, api_key=KEY) as client:
        assert client.config.response_compatibility == "strict"
        yield client


def unknown(events: Iterable[Any]) -> list[Any]:
    """Events that the schema lets pass without knowing them."""
    return [event for event in events if isinstance(event, UnknownStreamingEvent)]


def turn(connection: WebSocketConnection, **create: Any) -> ResponseResource:
    """Every event known to the schema; the completed response."""
    events = connection.create(create)
    assert not unknown(events)
    assert events.error is None, events.error
    assert events.final_response.status == "completed"
    return events.final_response


def text(response: ResponseResource) -> str:
    """Its items are unions with a root; as JSON they are plain."""
    items = response.model_dump(mode="json")["output"]
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


@pytest.mark.parametrize("store", [True, False])
def test_turns_continue_on_the_socket(strict: OpenResponses, family: Family, store: bool):
    options = {"model": family.model("echo"), "store": store}
    with strict.websocket() as connection:
        first = turn(connection, input="word heron", **options)
        second = turn(connection, input="next", previous_response_id=first.id, **options)
    assert "heron" in text(second)


def test_a_tool_turn_is_valid(strict: OpenResponses, family: Family):
    options = {"model": family.model("toolloop"), "tools": [WEATHER], "store": False}
    with strict.websocket() as connection:
        asked = turn(connection, input="weather in Paris?", **options)
        (call,) = (item.root for item in asked.output if item.root.type == "function_call")
        output = call_output(call.call_id, "raining herons")
        answer = turn(connection, input=[output], previous_response_id=asked.id, **options)
    assert "raining herons" in text(answer)


async def test_async_turns_continue_on_the_socket(bridge: Bridge, family: Family):
    model = family.model("echo")
    async with (
        AsyncOpenResponses(base_url=bridge.url, api_key=KEY) as client,
        client.websocket() as connection,
    ):
        first = await connection.create({"model": model, "input": "word heron"})
        assert [event async for event in first]
        second = await connection.create(
            {"model": model, "input": "next", "previous_response_id": first.final_response.id}
        )
        assert [event async for event in second]
    assert "heron" in text(second.final_response)


def test_an_unknown_parent_is_a_valid_error_and_the_socket_lives_on(
    strict: OpenResponses, family: Family
):
    model = family.model("text")
    with strict.websocket() as connection:
        refused = connection.create(
            {"model": model, "input": "hi", "previous_response_id": "resp_unknown"}
        )
        assert list(refused) == []
        assert refused.error.error.code == "previous_response_not_found"
        assert text(turn(connection, model=model, input="hi"))


@pytest.mark.parametrize("scenario", ["incomplete-length-maxtok", "drop", "tools", "refusal"])
def test_every_way_to_end_is_valid(strict: OpenResponses, family: Family, scenario: str):
    """Incomplete, failed, called and refused: the terminal response is the last event's."""
    with strict.websocket() as connection:
        events = connection.create({"model": family.model(scenario), "input": "hi"})
        *_, last = events
    assert events.error is None
    assert last.response == events.final_response


@pytest.mark.parametrize("scenario", ["text", "tools", "incomplete-length-maxtok", "drop"])
def test_a_stream_is_valid_to_its_done_line(strict: OpenResponses, family: Family, scenario: str):
    stream = strict.responses.create(
        {"model": family.model(scenario), "input": "hi", "stream": True}
    )
    with stream:
        events = list(stream)
    assert not unknown(events)
    assert events[-1].response == stream.final_response


def test_a_post_is_valid(strict: OpenResponses, family: Family):
    response = strict.responses.create({"model": family.model("text"), "input": "hi"})
    assert text(response)


def test_a_compacted_window_is_valid_and_starts_a_new_chain(strict: OpenResponses, family: Family):
    model = family.model("echo")
    window = strict.responses.compact({"model": model, "input": "word heron"})
    items = [item.model_dump(mode="json", exclude_unset=True) for item in window.output]
    with strict.websocket() as connection:
        after = turn(connection, model=model, input=items, store=False)
    assert "heron" in text(after)
