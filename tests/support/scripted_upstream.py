"""A scripted upstream: the test decides what it yields, step by step.

It is another implementation of the seam, not a mock: the same promises, without a network.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

from ws_bridge.errors import BridgeError
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, Draft
from ws_bridge.store.base import Store
from ws_bridge.store.conversations import MemoryConversations
from ws_bridge.types import Json
from ws_bridge.upstream.base import Request

Step = Draft | BridgeError | asyncio.Event


def opening(model: str = "gpt-scripted") -> list[Draft]:
    response = {"id": "resp_upstream", "model": model, "status": "in_progress"}
    return [Draft(CREATED, {"response": response}), Draft(IN_PROGRESS, {"response": response})]


def message(*deltas: str, index: int = 0, item_id: str = "msg_1") -> list[Draft]:
    """One message item from added to done."""
    at: Json = {"item_id": item_id, "output_index": index, "content_index": 0}
    text = "".join(deltas)
    item = {"id": item_id, "type": "message", "role": "assistant"}
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    empty = {**part, "text": ""}
    return [
        Draft(
            "response.output_item.added",
            {"output_index": index, "item": {**item, "status": "in_progress", "content": []}},
        ),
        Draft("response.content_part.added", {**at, "part": empty}),
        *(
            Draft("response.output_text.delta", {**at, "delta": delta, "logprobs": []})
            for delta in deltas
        ),
        Draft("response.output_text.done", {**at, "text": text, "logprobs": []}),
        Draft("response.content_part.done", {**at, "part": part}),
        Draft("response.output_item.done", {"output_index": index, "item": done_item(text)}),
    ]


def done_item(text: str, item_id: str = "msg_1") -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def completed(*items: Json) -> Draft:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return Draft(COMPLETED, {"response": {"output": list(items), "usage": usage}})


def answer(*deltas: str) -> list[Draft]:
    """A whole text response."""
    return [*opening(), *message(*deltas), completed(done_item("".join(deltas)))]


def call(name: str = "get_weather", arguments: str = "{}", call_id: str = "call_1") -> Json:
    return {
        "id": "fc_1",
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def tool_call(**fields: str) -> list[Draft]:
    """A whole response that calls one tool."""
    item = call(**fields)
    added = {**item, "arguments": "", "status": "in_progress"}
    at = {"item_id": item["id"], "output_index": 0}
    done = {**at, "name": item["name"], "arguments": item["arguments"]}
    return [
        *opening(),
        Draft("response.output_item.added", {"output_index": 0, "item": added}),
        Draft("response.function_call_arguments.delta", {**at, "delta": item["arguments"]}),
        Draft("response.function_call_arguments.done", done),
        Draft("response.output_item.done", {"output_index": 0, "item": item}),
        completed(item),
    ]


class Scripted:
    """An upstream ``Service``. A script is a list of steps, or a function of the request.

    A step is a draft (yielded), an error (raised) or a gate (waited for). ``requests`` has all
    requests, ``closed`` counts the responses that ended before their script did.
    """

    def __init__(self, *scripts: Iterable[Step] | Callable[[Request], Iterable[Step]]) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.closed = 0
        self.open_now = 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def count_tokens(self, request: Request) -> int:
        return len(request.input())

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        self.requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.open_now += 1
        ended = False
        try:
            for step in script(request) if callable(script) else script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BridgeError):
                    ended = True
                    raise step
                else:
                    ended = step.type == COMPLETED
                    yield step
        finally:
            self.open_now -= 1
            self.closed += not ended


def lineage_over(store: Store) -> Lineage:
    """A lineage over this store, with conversations of its own."""
    kept = MemoryConversations(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
    return Lineage(store, kept)
