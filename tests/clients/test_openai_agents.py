"""openai-agents: its WebSocket session, which takes every error for the end of its socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from agents import (
    Agent,
    ModelSettings,
    ResponsesWebSocketSession,
    function_tool,
    responses_websocket_session,
    set_tracing_disabled,
)
from agents.models.openai_responses import ResponsesWebSocketError
from clients.servers import KEY, Bridge, Family
from clients.tape import Tape
from openai.types.responses import ResponseTextDeltaEvent

set_tracing_disabled(disabled=True)


@pytest.fixture
async def session(bridge: Bridge) -> AsyncIterator[ResponsesWebSocketSession]:
    async with responses_websocket_session(api_key=KEY, base_url=bridge.url) as session:
        yield session


def creates(tape: Tape) -> list[dict]:
    """What was sent, on the one socket there is."""
    (socket,) = tape.sockets
    return socket.sent


async def test_a_run_answers(session: ResponsesWebSocketSession, family: Family):
    result = await session.run(Agent(name="a", model=family.model("text")), "hi")
    assert result.final_output


async def test_a_streamed_run_streams_its_answer(
    session: ResponsesWebSocketSession, family: Family
):
    result = session.run_streamed(Agent(name="a", model=family.model("text")), "hi")
    texts = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
    ]
    assert "".join(texts) == result.final_output


@pytest.mark.parametrize("store", [True, False])
async def test_turns_follow_each_other_on_one_socket(
    session: ResponsesWebSocketSession, family: Family, tape: Tape, store: bool
):
    settings = ModelSettings(store=store)
    agent = Agent(name="a", model=family.model("echo"), model_settings=settings)
    first = await session.run(agent, "word heron")
    second = await session.run(agent, "word osprey", previous_response_id=first.last_response_id)
    third = await session.run(agent, "next", previous_response_id=second.last_response_id)
    assert "heron" in third.final_output
    assert "osprey" in third.final_output
    assert "heron" not in str(creates(tape)[1:])


@pytest.mark.parametrize("chained", [False, True], ids=["resent", "chained"])
async def test_a_tool_loop_comes_to_its_end(
    session: ResponsesWebSocketSession, family: Family, tape: Tape, chained: bool
):
    """Whether the client sends its history again, or only the output and the previous id."""
    cities = []

    @function_tool(strict_mode=False)
    def get_weather(city: str, days: int = 1) -> str:
        """The weather in a city."""
        cities.append(city)
        return f"raining herons for {days} days"

    agent = Agent(name="a", model=family.model("toolloop"), tools=[get_weather])
    result = await session.run(agent, "weather in Paris?", auto_previous_response_id=chained)
    assert cities == ["Paris"]
    assert "raining herons" in result.final_output
    assert [bool(create.get("previous_response_id")) for create in creates(tape)] == [
        False,
        chained,
    ]


async def test_an_unknown_parent_fails_at_once_and_the_next_run_reconnects(
    session: ResponsesWebSocketSession, family: Family
):
    agent = Agent(name="a", model=family.model("text"))
    with pytest.raises(ResponsesWebSocketError) as refused:
        await session.run(agent, "hi", previous_response_id="resp_unknown")
    assert refused.value.code == "previous_response_not_found"
    assert (await session.run(agent, "hi")).final_output
