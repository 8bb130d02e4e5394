"""A turn on an openai connection, in as few words as a test needs."""

from __future__ import annotations

from typing import Any

from openai.resources.responses.responses import AsyncResponsesConnection, ResponsesConnection
from openai.types.responses import Response, ResponsesServerEvent

ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": False,
}


def until(connection: ResponsesConnection, *kinds: str) -> ResponsesServerEvent:
    """The next event of one of these types."""
    while (event := connection.recv()).type not in kinds:
        assert event.type not in ENDS, event
    return event


async def auntil(connection: AsyncResponsesConnection, *kinds: str) -> ResponsesServerEvent:
    while (event := await connection.recv()).type not in kinds:
        assert event.type not in ENDS, event
    return event


def end(connection: ResponsesConnection, **create: Any) -> ResponsesServerEvent:
    """Send a create, and read to its last event, whatever that is."""
    connection.response.create(**create)
    return until(connection, *ENDS)


async def aend(connection: AsyncResponsesConnection, **create: Any) -> ResponsesServerEvent:
    await connection.response.create(**create)
    return await auntil(connection, *ENDS)


def turn(connection: ResponsesConnection, **create: Any) -> Response:
    """Send a create; the completed response."""
    event = end(connection, **create)
    assert event.type == "response.completed", event
    return event.response


async def aturn(connection: AsyncResponsesConnection, **create: Any) -> Response:
    event = await aend(connection, **create)
    assert event.type == "response.completed", event
    return event.response


def code(event: ResponsesServerEvent) -> tuple[int | None, str | None]:
    """The status and code of an error frame."""
    assert event.type == "error", event
    return event.status, event.error.code


def call_output(call_id: str, output: str) -> dict[str, str]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}
