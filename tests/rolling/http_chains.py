"""Chains whose clients open no socket: event streams, and long polls of background responses.

Each create has an idempotency key: it may be sent again, and is made once.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from rolling.chains import TERMINALS, Again, Chain, Turn, events_of

WAIT_SECONDS = 20
FINAL = {end.partition(".")[2] for end in TERMINALS}
NUMBER = "x-sequence-number"


@dataclass
class SseChain(Chain):
    """Turns are event streams of the POST; what is cut off is followed by a GET."""

    keyed = True

    async def _created(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        try:
            async with post(self, turn, {"stream": True}) as answer:
                await self._accepted(answer)
                async with aclosing(events_of(answer)) as texts:
                    async for text in texts:
                        yield text
        except aiohttp.ClientError:
            self.closes["cut"] += 1
            raise
        finally:
            self.repeats += not turn.texts


@dataclass
class PolledTurn(Turn):
    """Snapshots, each with what the one before it had, and more."""

    snapshot: dict[str, Any] = field(default_factory=dict)
    lost: bool = False  # whether a snapshot had less than the one before

    def see(self, snapshot: dict[str, Any], number: int) -> None:
        self.lost |= number < self.number or not _text(snapshot).startswith(_text(self.snapshot))
        self.snapshot, self.number = snapshot, number
        self.end = f"response.{snapshot['status']}" if snapshot["status"] in FINAL else ""

    @property
    def is_whole(self) -> bool:
        return not self.lost

    def is_as_seen(self, replayed: list[bytes]) -> bool:
        return bool(json.loads(replayed[-1])["response"] == self.snapshot)


@dataclass
class PollingChain(Chain):
    """Turns are background responses, polled until their end."""

    turn_type = PolledTurn
    keyed = True

    async def _read_on(self, turn: Turn) -> None:
        assert isinstance(turn, PolledTurn)
        if not turn.id:
            turn.id = await self._begin(turn)
        while not turn.end:
            query = {"wait": WAIT_SECONDS, "after": turn.number}
            url = f"{self.url}/v1/responses/{turn.id}"
            try:
                async with self.session.get(url, params=query) as answer:
                    await self._accepted(answer)
                    turn.see(await answer.json(), int(answer.headers[NUMBER]))
            except aiohttp.ClientError:
                self.closes["cut"] += 1
                raise

    async def _begin(self, turn: Turn) -> str:
        try:
            async with post(self, turn, {"background": True}) as answer:
                await self._accepted(answer)
                return str((await answer.json())["id"])
        except (Again, aiohttp.ClientError):
            self.repeats += 1
            raise


def post(chain: Chain, turn: Turn, more: dict[str, Any]) -> Any:
    """A create of the turn; sent again, it is the same one."""
    body = {"model": chain.model, "input": turn.said, "previous_response_id": turn.previous, **more}
    headers = {"Idempotency-Key": f"{chain.model} {turn.said} {turn.previous}"}
    return chain.session.post(f"{chain.url}/v1/responses", json=body, headers=headers)


def _text(snapshot: dict[str, Any]) -> str:
    """All that it says so far."""
    items = snapshot.get("output", ())
    parts = [part for item in items for part in item.get("content") or ()]
    return "".join(part.get("text", "") for part in parts)
