"""A scripted upstream: the test decides what it yields, step by step.

It is another implementation of the seam, not a mock: the same promises, without a network.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError
from ws_bridge.jobs.idempotency import IdempotentCreates
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.jobs.log_reader import LogReader
from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, Draft
from ws_bridge.store.base import Store
from ws_bridge.store.conversations import MemoryConversations
from ws_bridge.types import Json
from ws_bridge.upstream.base import ABANDONED, Answer, Outcome, Request, Target
from ws_bridge.upstream.prices import PriceRow

Step = Draft | list[Draft] | BridgeError | asyncio.Event


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


class ScriptedAnswer(Answer):
    """An answer that reads its steps one after the other. ``closes`` has how it was closed."""

    def __init__(self, upstream: "Scripted", request: Request, steps: Iterable[Step]) -> None:
        super().__init__(request.target)
        self.closes: list[tuple[Outcome, bool]] = []
        self._upstream: Scripted | None = upstream
        self._steps = iter(steps)
        self._has_ended = False

    async def read(self) -> Sequence[Draft] | None:
        for step in self._steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, BridgeError):
                self._has_ended = True
                raise step
            else:
                batch = [step] if isinstance(step, Draft) else step
                self._has_ended = any(draft.type == COMPLETED for draft in batch)
                return batch
        return None

    async def close(self, outcome: Outcome = ABANDONED, *, keep_running: bool = False) -> None:
        self.closes.append((outcome, keep_running))
        await super().close(outcome, keep_running=keep_running)

    async def _release(self, **_: bool) -> None:
        if self._upstream is not None:
            self._upstream.open_now -= 1
            self._upstream.closed += not self._has_ended
            self._upstream = None


class Scripted:
    """An upstream ``Service``. A script is a list of steps, or a function of the request.

    A step is a draft or a list of drafts (a batch), an error (raised) or a gate (waited for).
    ``requests`` has all requests and ``answers`` their answers, ``closed`` counts the responses
    that ended before their script did.
    """

    def __init__(self, *scripts: Iterable[Step] | Callable[[Request], Iterable[Step]]) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.answers: list[ScriptedAnswer] = []
        self.known: list[str] = []
        self.closed = 0
        self.open_now = 0

    async def start(self) -> None:
        pass

    def set_targets(self, targets: Sequence[Target]) -> None:
        self.targets = targets

    def prices_of(self, target: Target) -> PriceRow | None:
        return target.prices

    def known_models(self, provider: str) -> Sequence[str]:
        return [one for one in self.known if one.startswith(f"{provider}/")]

    async def stop(self) -> None:
        pass

    async def count_tokens(self, request: Request) -> int:
        return len(request.input())

    async def open(self, request: Request) -> Answer:
        self.requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        answer = self.make(request, script(request) if callable(script) else script)
        answer.prices = request.target.prices
        self.answers.append(answer)
        self.open_now += 1
        try:
            answer.first = await answer.read() or ()
        except BaseException:
            await answer.close()
            raise
        if request.background:
            answer.upstream_id = "resp_upstream"
        return answer

    def make(self, request: Request, steps: Iterable[Step]) -> ScriptedAnswer:
        """The answer to a request, which has read nothing yet."""
        return ScriptedAnswer(self, request, steps)


def lineage_over(store: Store) -> Lineage:
    """A lineage over this store, with conversations of its own."""
    kept = MemoryConversations(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
    return Lineage(store, kept)


def keys_over(store: Store, clock: Clock | None = None) -> IdempotentCreates:
    """Idempotency keys in this store."""
    return IdempotentCreates(store, LogReader(store), clock or Clock())
