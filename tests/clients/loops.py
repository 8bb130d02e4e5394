"""An agent's loop of three turns of tools, by each client, on each way to the bridge.

The scripted provider (`upstreams.agent_loop`) tells the story; here are the client's tools and the
ways: one socket, another server at every turn (two on one store, and a proxy that leads from one
to the other), HTTP.

LangChain is imported by its own loops: it is large, and each worker of a suite collects this file.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents import (
    Agent,
    CodeInterpreterTool,
    ModelSettings,
    OpenAIProvider,
    RunConfig,
    Runner,
    Tool,
    ToolSearchTool,
    WebSearchTool,
    function_tool,
    set_tracing_disabled,
    tool_namespace,
)
from clients.reading import ENDS
from clients.servers import KEY
from httpx import AsyncClient
from openai import AsyncOpenAI
from openai.types.responses import Response
from openai.types.shared import Reasoning
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.capabilities import NativeTool
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.native_tools import CodeExecutionTool
from pydantic_ai.native_tools import WebSearchTool as PydanticWebSearch
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider as PydanticProvider

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

set_tracing_disabled(disabled=True)

Json = dict[str, Any]

TLS = ssl.create_default_context()  # made once: it takes longer than a turn
BOOKER = "You book."
QUESTION = "Where is it dry? Book that."
REFERENCE = "item_reference"
SEALED = "reasoning.encrypted_content"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@dataclass
class Way:
    """How a client goes to the bridge, and what it does between two turns."""

    url: str
    is_http: bool
    is_streamed: bool
    is_chained: bool
    is_stored: bool
    move: Callable[[], Awaitable[None]]  # to another server, or nowhere


@dataclass
class Trip:
    """The client's tools: what they were asked, and what they say."""

    way: Way
    asked: list[str] = field(default_factory=list)

    async def get_weather(self, city: str) -> str:
        """The weather in a city."""
        self.asked.append(city)
        if city != "Rome":  # the other one of that turn
            await self.way.move()
        return f"Dry in {city}." if city == "Oslo" else f"Rain in {city}."

    async def book(self, city: str) -> str:
        """Book a trip."""
        self.asked.append(f"book {city}")
        await self.way.move()
        return "Booked."


async def by_openai(way: Way, model: str, hosted: str) -> str:
    """The plain client: it resends all items, or the outputs and the previous id."""
    return await _by_openai(way, model, hosted, lambda item: item.model_dump(exclude_none=True))


async def by_references(way: Way, model: str, hosted: str) -> str:
    """The plain client, which resends its history as the AI SDK does: by the ids of the items."""
    return await _by_openai(way, model, hosted, lambda item: {"type": REFERENCE, "id": item.id})


async def _by_openai(way: Way, model: str, hosted: str, again: Callable[[Any], Json]) -> str:
    trip = Trip(way)
    tools: list[Json] = [{"type": hosted, **CONTAINERS[hosted]}] if hosted else []
    for call in (trip.get_weather, trip.book):
        described = {"name": call.__name__, "description": call.__doc__, "parameters": CITY}
        tools.append({"type": "function", "strict": False, **described})
    options: Json = {"model": model, "tools": tools, "store": way.is_stored, "include": [SEALED]}
    options["reasoning"] = {"effort": "low", "summary": "auto"}
    items: list[Json] = [{"role": "user", "content": QUESTION}]
    async with AsyncOpenAI(api_key=KEY, base_url=way.url, max_retries=0) as client:
        ask = _asking(client, way)
        async with AsyncExitStack() as sockets:
            answer = await ask(sockets, input=items, **options)
            while calls := [item for item in answer.output if item.type == "function_call"]:
                outputs = [await _output(trip, call) for call in calls]
                said = [again(item) for item in answer.output]
                items = outputs if way.is_chained else [*items, *said, *outputs]
                parent = {"previous_response_id": answer.id} if way.is_chained else {}
                answer = await ask(sockets, input=items, **options, **parent)
    return answer.output_text


async def _output(trip: Trip, call: Any) -> Json:
    output = await getattr(trip, call.name)(**json.loads(call.arguments))
    return {"type": "function_call_output", "call_id": call.call_id, "output": output}


def _asking(client: AsyncOpenAI, way: Way) -> Callable[..., Awaitable[Response]]:
    """One turn: over HTTP, or on a socket that is opened again when it is closed."""
    open_now: list[Any] = []

    async def by_http(_: AsyncExitStack, **create: Any) -> Response:
        async with client.responses.stream(**create) as events:
            return await events.get_final_response()

    async def on_a_socket(sockets: AsyncExitStack, **create: Any) -> Response:
        if not open_now or open_now[-1]._connection.state.name != "OPEN":
            open_now.append(await sockets.enter_async_context(client.responses.connect()))
        connection = open_now[-1]
        await connection.response.create(**create)
        async for event in connection:
            if event.type in ENDS:
                assert event.type == "response.completed", event
                return event.response
        raise ConnectionError("the socket closed before the end")

    return by_http if way.is_http else on_a_socket


CONTAINERS = {"web_search": {}, "code_interpreter": {"container": {"type": "auto"}}, "": {}}


def _agents_tools(hosted: str) -> list[Tool]:
    if hosted == "web_search":
        return [WebSearchTool()]
    if hosted == "code_interpreter":
        spec: Any = {"type": hosted, **CONTAINERS[hosted]}
        return [CodeInterpreterTool(tool_config=spec)]
    return []


async def by_agents(way: Way, model: str, hosted: str) -> str:
    """openai-agents."""
    trip = Trip(way)
    tools = [function_tool(call, strict_mode=False) for call in (trip.get_weather, trip.book)]
    agent = Agent(name="a", tools=[*_agents_tools(hosted), *tools])
    return await _run_agent(agent, way, model)


async def _run_agent(agent: Agent, way: Way, model: str) -> str:
    client = AsyncOpenAI(api_key=KEY, base_url=way.url, max_retries=0)  # its own is of all loops
    provider = OpenAIProvider(
        openai_client=client, use_responses=True, use_responses_websocket=not way.is_http
    )
    settings = ModelSettings(
        store=way.is_stored,
        response_include=[SEALED],
        reasoning=Reasoning(effort="low", summary="auto"),
    )
    config = RunConfig(model=model, model_provider=provider, model_settings=settings)
    try:
        result = await Runner.run(
            agent, QUESTION, run_config=config, auto_previous_response_id=way.is_chained
        )
    finally:
        await provider.aclose()
        await client.close()
    return result.final_output


async def by_pydantic(way: Way, model: str, hosted: str) -> str:
    """pydantic-ai."""
    trip = Trip(way)
    native = {"web_search": [PydanticWebSearch()], "code_interpreter": [CodeExecutionTool()]}
    responses = OpenAIResponsesModel(
        model,
        provider=PydanticProvider(base_url=way.url, api_key=KEY),
        # It would resend thoughts as texts otherwise: it knows models by their names.
        profile=OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True),
    )
    settings = OpenAIResponsesModelSettings(
        openai_transport="http" if way.is_http else "websocket",
        openai_store=way.is_stored,
        openai_previous_response_id="auto" if way.is_chained else None,
        openai_reasoning_effort="low",
        openai_reasoning_summary="auto",
    )
    agent = PydanticAgent(
        responses,
        model_settings=settings,
        tools=[trip.get_weather, trip.book],
        capabilities=[NativeTool(tool) for tool in native.get(hosted, [])],
    )
    async with agent:
        result = await agent.run(QUESTION)
    return result.output


async def by_langchain(way: Way, model: str, hosted: str) -> str:
    """LangChain, which has no WebSocket."""
    own: list[Json] = [{"type": hosted, **CONTAINERS[hosted]}] if hosted else []
    tools = _langchain_tools(way)
    return await _run_langchain(way, model, tools, [*own, *tools.values()])


async def by_langchain_namespace(way: Way, model: str, search: str) -> str:
    """LangChain with its tools in a namespace, which it has no word for."""
    from langchain_core.utils.function_calling import convert_to_openai_function  # noqa: PLC0415

    tools = _langchain_tools(way)
    functions = [{"type": "function", **convert_to_openai_function(one)} for one in tools.values()]
    space = {"type": "namespace", "name": "travel", "description": "Trips.", "tools": functions}
    found = [{"type": "tool_search"}] if search == "web_search" else []
    return await _run_langchain(way, model, tools, [space, *found])


def _langchain_tools(way: Way) -> dict[str, BaseTool]:
    from langchain_core.tools import StructuredTool  # noqa: PLC0415

    trip = Trip(way)
    functions = (trip.get_weather, trip.book)
    return {call.__name__: StructuredTool.from_function(coroutine=call) for call in functions}


async def _run_langchain(
    way: Way, model: str, tools: dict[str, BaseTool], offered: list[Any]
) -> str:
    from langchain_core.messages import BaseMessage, HumanMessage  # noqa: PLC0415
    from langchain_openai import ChatOpenAI  # noqa: PLC0415

    async with AsyncClient(verify=TLS) as connections:  # its own are of all loops
        chat = ChatOpenAI(
            model=model,
            base_url=way.url,
            api_key=KEY,
            max_retries=0,
            http_async_client=connections,
            use_responses_api=True,
            use_previous_response_id=way.is_chained,
            streaming=way.is_streamed,
            store=way.is_stored,
            include=[SEALED],
            reasoning={"effort": "low", "summary": "auto"},
        )
        agent = chat.bind_tools(offered)
        messages: list[BaseMessage] = [HumanMessage(QUESTION)]
        answer = await agent.ainvoke(messages)
        while answer.tool_calls:
            said = [await tools[call["name"]].ainvoke(call) for call in answer.tool_calls]
            messages += [answer, *said]
            answer = await agent.ainvoke(messages)
    return answer.text


async def by_namespace(way: Way, model: str, search: str) -> str:
    """openai-agents with its tools in a namespace, and with a search where the family has one."""
    trip = Trip(way)
    tools = [function_tool(call, strict_mode=False) for call in (trip.get_weather, trip.book)]
    spaced = tool_namespace(name="travel", description="Trips.", tools=tools)
    found = [ToolSearchTool()] if search == "web_search" else []
    return await _run_agent(Agent(name="a", tools=[*spaced, *found]), way, model)


async def by_handoff(way: Way, model: str, _: str) -> str:
    """openai-agents: one agent asks for the weather, another one has the last word."""
    trip = Trip(way)
    booker = Agent(name="booker", instructions=BOOKER)
    tools = [function_tool(trip.get_weather, strict_mode=False)]
    agent = Agent(name="a", instructions="You look.", tools=tools, handoffs=[booker])
    return await _run_agent(agent, way, model)


# The story that a model tells, and the client: who tells it to the end.
LOOPS = {
    ("journey", "openai"): by_openai,
    ("journey", "references"): by_references,
    ("journey", "agents"): by_agents,
    ("journey", "pydantic"): by_pydantic,
    ("journey", "langchain"): by_langchain,
    ("namespaced", "agents"): by_namespace,
    ("namespaced", "langchain"): by_langchain_namespace,
    ("handover", "agents"): by_handoff,
}
