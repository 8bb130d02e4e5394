"""The demo model: a litellm custom provider without any network, for the first run and the tests.

Rule 1: it takes the road of every other provider: litellm calls it, and it yields chat chunks.
Rule 2: what it says is decided in `demo_rules.py`; here it only becomes chunks, words and counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ws_bridge.types import Json
from ws_bridge.upstream.litellm.demo_rules import DemoConversation, answer, text_of
from ws_bridge.upstream.litellm.setup import litellm

PROVIDER = "demo"
DELAY_SECONDS = 0.03  # between words: quick, yet slow enough to watch and to stop


class DemoReply:
    """One answer on its way out: at most ``max_tokens`` words of it, counted."""

    def __init__(self, model: str, messages: list[Json], options: Json) -> None:
        reply = answer(DemoConversation.of(messages, options))
        every = list(reply.deltas())
        limit = options.get("max_completion_tokens") or options.get("max_tokens") or len(every)
        self.model = model
        self.deltas = every[:limit]
        ended = "tool_calls" if reply.tool else "stop"
        self.finish_reason = "length" if limit < len(every) else ended
        self.usage = self._usage(messages)

    def _usage(self, messages: list[Json]) -> Json:
        """Words stand for tokens."""
        read = sum(len(text_of(message).split()) for message in messages)
        written = len(self.deltas)
        thought = sum("reasoning_content" in delta for delta in self.deltas)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def chunk(self, delta: Json, **more: Any) -> Any:
        """One chat chunk; ``more`` is a finish_reason or the usage."""
        finish_reason = more.pop("finish_reason", None)
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return litellm.ModelResponseStream(model=self.model, choices=[choice], **more)

    def whole(self) -> Any:
        """The answer as one chat completion."""
        message: Json = {"role": "assistant", "content": self._joined("content")}
        if thought := self._joined("reasoning_content"):
            message["reasoning_content"] = thought
        if calls := [delta["tool_calls"][0] for delta in self.deltas if "tool_calls" in delta]:
            arguments = "".join(call["function"]["arguments"] for call in calls)
            function = {**calls[0]["function"], "arguments": arguments}
            message["tool_calls"] = [{**calls[0], "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return litellm.ModelResponse(model=self.model, choices=[choice], usage=self.usage)

    def _joined(self, key: str) -> str:
        return "".join(delta.get(key, "") for delta in self.deltas)


class Demo(litellm.CustomLLM):  # type: ignore[misc]  # litellm is Any to mypy
    """The provider as litellm calls it: every argument by name."""

    def __init__(self, delay_seconds: float = DELAY_SECONDS) -> None:
        super().__init__()
        self.delay_seconds = delay_seconds

    async def astreaming(
        self, *, model: str, messages: list[Json], optional_params: Json, **_others: Any
    ) -> AsyncIterator[Any]:
        """Yield the answer word by word, then the usage, then the reason of the end."""
        reply = DemoReply(model, messages, optional_params)
        for delta in reply.deltas:
            await asyncio.sleep(self.delay_seconds)
            yield reply.chunk(delta)
        # The usage goes first: litellm ends the stream at the first empty chunk after a reason.
        yield reply.chunk({}, usage=reply.usage)
        yield reply.chunk({}, finish_reason=reply.finish_reason)

    async def acompletion(
        self, *, model: str, messages: list[Json], optional_params: Json, **_others: Any
    ) -> Any:
        """The whole answer at once, without delay."""
        return DemoReply(model, messages, optional_params).whole()


def register(delay_seconds: float = DELAY_SECONDS) -> None:
    """Make ``demo/…`` callable through litellm; a second call replaces the first."""
    others = [entry for entry in litellm.custom_provider_map if entry["provider"] != PROVIDER]
    entry = {"provider": PROVIDER, "custom_handler": Demo(delay_seconds)}
    litellm.custom_provider_map = [*others, entry]
    # litellm cuts "demo/demo" to "demo" and then crashes on a name that equals its provider
    # (https://github.com/BerriAI/litellm/pull/32521); an alias spells it out in time.
    litellm.model_alias_map[PROVIDER] = f"{PROVIDER}/words"
