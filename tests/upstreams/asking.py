"""Asking the fake providers through `LitellmUpstream`, as the bridge does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Any

from support.answers import each_draft, events_of

from upstreams.server import FakeProviders
from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.preface import PrefacedDrafts
from ws_bridge.upstream.base import Request, Target, Upstream
from ws_bridge.upstream.litellm.upstream import LitellmUpstream

Json = dict[str, Any]

KEY = "sk-operators-own-key"
# family: what litellm is asked for, and the path of its address
FAMILIES = {
    "native": ("openai/gpt-", "/v1"),
    "vllm": ("hosted_vllm/gpt-", "/v1"),
    "chat": ("groq/m-", "/v1"),
    "sdk": ("openai/chat_completions/m-", "/v1"),
    "anthropic": ("anthropic/claude-", ""),
    "gemini": ("gemini/gemini-", ""),
    "ollama": ("ollama_chat/o-", ""),
}
HELLO: Json = {"type": "message", "role": "user", "content": "hi"}


@dataclass
class Pauses:
    """A clock that never waits, and remembers how long it should have."""

    taken: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)

    @property
    def clock(self) -> Clock:
        return Clock(sleep=self.sleep)


def target(fake: FakeProviders, family: str, scenario: str, **more: Any) -> Target:
    prefix, path = FAMILIES[family]
    given = {"api_base": fake.base_url + path, "api_key": KEY, "retries": 0, **more}
    return Target(name=scenario, model=prefix + scenario, **given)


def name_of(target: Target) -> str:
    """The model's name at the provider."""
    return target.model.rpartition("/")[2]


def request(
    target: Target,
    *items: Json,
    parent: Turn | None = None,
    background: bool = False,
    **options: Any,
) -> Request:
    return Request(target, Chain(parent, items or (HELLO,)), options, background)


@dataclass
class Answered:
    """What one request came to."""

    drafts: list[Draft] = field(default_factory=list)
    error: UpstreamError | None = None

    @property
    def response(self) -> Json:
        """The terminal draft's response."""
        return self.drafts[-1].fields["response"]

    @property
    def output(self) -> tuple[Json, ...]:
        return tuple(self.response["output"])

    @property
    def text(self) -> str:
        parts = [part for item in self.output for part in item.get("content", ())]
        return "".join(part.get("text", "") for part in parts)

    def events(self) -> list[Json]:
        """As a client would see them."""
        return [event.json() for event in events_of(self.drafts)]


async def ask(wanted: Request, upstream: Upstream | None = None) -> Answered:
    answered = Answered()
    try:
        answer = await (upstream or LitellmUpstream()).open(wanted)
        preface = answer.preface
        prefaced = PrefacedDrafts(preface.items, preface.usage) if preface else None
        async for draft in each_draft(answer):
            answered.drafts += prefaced.of((draft,)) if prefaced else (draft,)
    except UpstreamError as error:
        answered.error = error
    return answered


async def take(drafts: AsyncGenerator[Draft, None], until: str) -> list[str]:
    """Read up to a draft whose type ends so; the types read."""
    types: list[str] = []
    async for draft in drafts:
        types.append(draft.type)
        if draft.type.endswith(until):
            break
    return types


def types(drafts: Iterable[Draft]) -> list[str]:
    return [draft.type for draft in drafts]
