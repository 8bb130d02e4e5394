"""The bridge of a run, and the loopback providers behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support import fleet
from upstreams import FakeProviders

KEY, OTHER_KEY = "client-key-one", "client-key-two"
ENVIRONMENT = {"CLIENT_KEYS": f"{KEY},{OTHER_KEY}", "PROVIDER_KEY": "provider-key"}


@dataclass(frozen=True)
class Family:
    """A kind of provider: how clients call its models, and litellm, and where its API begins."""

    name: str
    route: str
    path: str

    def model(self, scenario: str) -> str:
        """The model whose answers follow a scenario of the loopback providers."""
        return f"{self.name}-{scenario}"

    def entries(self, providers: str) -> list[dict[str, Any]]:
        """The family's wildcard, and one model with a plain name."""
        target = {"api_base": providers + self.path, "api_key_env": "PROVIDER_KEY", "retries": 0}
        return [
            {"name": self.name + end, "model": self.route + model, **target}
            for end, model in (("-*", "*"), ("", "text"))
        ]


FAMILIES = (
    Family("native", "openai/", "/v1"),
    Family("chat", "groq/", "/v1"),
    Family("claude", "anthropic/claude-", ""),
)


@dataclass(frozen=True)
class Bridge:
    """A running bridge."""

    address: str

    @property
    def url(self) -> str:
        return f"{self.address}/v1"


@dataclass(frozen=True)
class Gate:
    """A model whose every stream waits before one of its events until it is released, once."""

    providers: FakeProviders
    family: Family
    scenario: str

    @property
    def model(self) -> str:
        return self.family.model(self.scenario)

    def release(self) -> None:
        """Let its streams go on, those to come too."""
        self.providers.release(self.family.route.partition("/")[2] + self.scenario)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its outcome; in a loop of its own, whatever loop runs here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@contextmanager
def serving(config: dict[str, Any]) -> Iterator[fleet.Bridge]:
    """A bridge that is ready; nothing of it is left."""
    bridge = fleet.Bridge(config, ENVIRONMENT)
    try:
        run(bridge.start())
        run(bridge.wait_ready())
        yield bridge
    finally:
        bridge.close()


UNLIMITED = {"connections_per_key": 0, "running_per_key": 0, "creates_per_minute": 0}


def config(providers: str) -> dict[str, Any]:
    return {
        "server": {"drain_seconds": 2},
        "auth": {"keys_env": ["CLIENT_KEYS"]},
        "limits": UNLIMITED,
        "models": [entry for family in FAMILIES for entry in family.entries(providers)],
    }
