"""A Chat Completions provider that answers as the demo model does, with gates, on loopback.

What the examples print is the same with the demo model and with it. Of the tools that it is offered
it calls the one for the weather, where there is one: Codex offers its own before those of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from upstreams.server import FakeProviders
from ws_bridge.upstream.litellm.demo_rules import DemoConversation, answer

Json = dict[str, Any]

CHUNK = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 1_700_000_000}


class DemoProvider(FakeProviders):
    """``FakeProviders`` for chat; ``...-answerN-gateM`` waits in the N-th answer of its model."""

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request)
        model = body["model"]
        number = len(self.requests(model))
        is_held = f"-answer{number}-" in model
        name = model if is_held else model.partition("-answer")[0]
        return await self._stream(request, name, _chunks(body), named=False)


def _chunks(body: Json) -> Iterator[Json]:
    tools = body.get("tools") or []
    weather = [tool for tool in tools if "get_weather" in tool["function"]["name"]]
    talk = DemoConversation.of(body["messages"], {**body, "tools": weather or tools})
    reply = answer(talk)
    for delta in reply.deltas():
        yield _chunk(body["model"], delta)
    yield _chunk(body["model"], {}, "tool_calls" if reply.tool else "stop")


def _chunk(model: str, delta: Json, finish_reason: str | None = None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {**CHUNK, "model": model, "choices": [choice]}
