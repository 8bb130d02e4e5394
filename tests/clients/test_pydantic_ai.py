"""pydantic-ai: concurrent runs on lanes of one socket, history by previous id, tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clients.servers import KEY, Bridge, Family, Gate
from clients.tape import Tape
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

# It falls back to HTTP with a warning; here that is a failure.
pytestmark = pytest.mark.filterwarnings("error:.*cannot open a socket.*")


def agent(bridge: Bridge, model: str, **options: Any) -> Agent:
    responses = OpenAIResponsesModel(
        model,
        provider=OpenAIProvider(base_url=bridge.url, api_key=KEY),
        profile=OpenAIModelProfile(openai_responses_supports_websocket_stream_id=True),
    )
    settings = OpenAIResponsesModelSettings(openai_transport="websocket", openai_store=False)
    return Agent(responses, model_settings=settings, **options)


async def test_four_runs_share_a_socket_on_four_lanes(
    bridge: Bridge, gate: Callable[[str], Gate], tape: Tape
):
    """No answer goes on before all four are asked for."""
    closed = gate("gate2-echo")
    echo = agent(bridge, closed.model)
    words = ["heron", "osprey", "kestrel", "bittern"]
    sent = asyncio.Semaphore(0)
    tape.on_sent = sent.release
    async with echo, asyncio.TaskGroup() as group:
        runs = [group.create_task(echo.run(f"word {word}")) for word in words]
        for _ in words:
            await sent.acquire()
        closed.release()
    results = [run.result() for run in runs]
    said = [[word for word in words if word in result.output] for result in results]
    assert said == [[word] for word in words]
    (socket,) = tape.sockets
    assert {create.get("stream_id") for create in socket.sent} == {
        None,
        "lane-1",
        "lane-2",
        "lane-3",
    }


async def test_history_is_the_previous_id(bridge: Bridge, family: Family, tape: Tape):
    """The unstored parent is on the lane that the client goes back to."""
    echo = agent(bridge, family.model("echo"))
    async with echo:
        first = await echo.run("word heron")
        second = await echo.run("next", message_history=first.all_messages())
    assert "heron" in second.output
    (socket,) = tape.sockets
    assert socket.sent[1]["previous_response_id"] == first.all_messages()[-1].provider_response_id
    assert "heron" not in str(socket.sent[1]["input"])


async def test_a_tool_runs_and_its_output_answers(bridge: Bridge, family: Family, tape: Tape):
    cities = []
    weather = agent(bridge, family.model("toolloop"))

    @weather.tool_plain
    def get_weather(city: str, days: int = 1) -> str:
        cities.append(city)
        return f"raining herons for {days} days"

    async with weather:
        result = await weather.run("weather in Paris?")
    assert cities == ["Paris"]
    assert "raining herons" in result.output
    (socket,) = tape.sockets
    assert len(socket.sent) == 2


async def test_a_streamed_run_streams_its_answer(bridge: Bridge, family: Family, tape: Tape):
    text = agent(bridge, family.model("text"))
    async with text, text.run_stream("hi") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        assert "".join(pieces) == await result.get_output()
    assert len(pieces) > 1
    assert len(tape.sockets) == 1


async def test_reasoning_is_kept_apart_from_the_answer(bridge: Bridge, family: Family):
    thinking = agent(bridge, family.model("reasoning-thinking"))
    async with thinking:
        result = await thinking.run("hi")
    kinds = [part.part_kind for part in result.new_messages()[-1].parts]
    assert kinds == ["thinking", "text"]


async def test_a_refused_request_is_its_status_and_the_socket_lives_on(
    bridge: Bridge, family: Family, tape: Tape
):
    text = agent(bridge, family.model("text"))
    async with text:
        with pytest.raises(ModelHTTPError) as refused:
            await text.run(
                "hi",
                model_settings=OpenAIResponsesModelSettings(
                    openai_previous_response_id="resp_unknown"
                ),
            )
        assert refused.value.status_code == 400
        assert (await text.run("hi")).output
    assert len(tape.sockets) == 1
