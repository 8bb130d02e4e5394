"""New settings in all workers: all of them prepare, then all of them commit.

Rule 1: one worker that refuses, or gives no answer, is enough: all discard.
Rule 2: a worker that starts meanwhile gets the settings in use, and is asked to prepare what is
under way like the others. One that ends is waited for no longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ws_bridge.clock import Clock
from ws_bridge.config import Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.children import ANSWER_SECONDS, Child
from ws_bridge.processes.messages import (
    COMMIT,
    COMMITTED,
    DISCARD,
    LISTENING,
    PREPARE,
    PREPARED,
    REFUSED,
)
from ws_bridge.processes.signals import wait_until_any

log = logging.getLogger(__name__)

ANSWERS = (LISTENING, PREPARED, REFUSED, COMMITTED)


@dataclass(eq=False, slots=True)
class Participant:
    """A worker, and the newest generation that it has prepared and that it has in use."""

    number: int
    is_listening: bool = False
    prepared: int = 0
    committed: int = 0


class WorkerReload:
    """A ``Reloadable``: the workers of a supervisor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._participants: dict[Child, Participant] = {}
        self._under_way: tuple[int, Settings] | None = None  # from prepare to commit or discard
        self._refusal = ""
        self._changed = asyncio.Event()

    def join(self, child: Child, number: int, generation: int) -> None:
        """A worker has been started, and sent the settings in use, which are of this generation."""
        self._participants[child] = Participant(number, committed=generation)
        if self._under_way is not None:
            self._ask(child)

    def leave(self, child: Child) -> None:
        """A worker has ended."""
        self._participants.pop(child, None)
        self._changed.set()

    def receive(self, child: Child, word: str, more: str) -> None:
        """A worker has answered."""
        generation, _, reason = more.partition(" ")
        participant = self._participants.get(child)
        if participant is None:
            return
        if word == LISTENING:
            participant.is_listening = True
        elif word == PREPARED:
            participant.prepared = int(generation)
        elif word == COMMITTED:
            participant.committed = int(generation)
        elif self._under_way is not None and self._under_way[0] == int(generation):
            self._refusal = reason
        self._changed.set()

    async def prepare(self, generation: int, settings: Settings) -> None:
        """See ``Reloadable``."""
        self._under_way, self._refusal = (generation, settings), ""
        for child in self._participants:
            self._ask(child)
        while True:
            serving = [one for one in self._participants.values() if one.is_listening]
            missing = await self._within_limit(lambda one: one.prepared == generation)
            if self._refusal:
                raise ConfigError(self._refusal)
            if not missing:
                return
            # A start takes as long as it takes; one that serves has no reason to be silent.
            if silent := [one for one in serving if one in missing]:
                raise ConfigError(f"worker {silent[0].number} gives no answer")

    async def commit(self, generation: int) -> None:
        """See ``Reloadable``. It returns when all have; one that gives no answer will have it."""
        self._under_way = None
        self._send_all(f"{COMMIT} {generation}")
        for late in await self._within_limit(lambda one: one.committed == generation):
            log.warning("worker_reloads_late number=%d generation=%d", late.number, generation)

    async def discard(self, generation: int) -> None:
        """See ``Reloadable``."""
        self._under_way = None
        self._send_all(f"{DISCARD} {generation}")

    async def _within_limit(self, has_answered: Callable[[Participant], bool]) -> list[Participant]:
        """Wait until all have answered; those that gave no answer in time."""
        over = asyncio.Event()
        limit = asyncio.ensure_future(self._clock.sleep(ANSWER_SECONDS))
        limit.add_done_callback(lambda _: over.set())
        try:
            return await self._wait(has_answered, over)
        finally:
            limit.cancel()

    async def _wait(
        self, has_answered: Callable[[Participant], bool], over: asyncio.Event
    ) -> list[Participant]:
        """Wait for all answers, one refusal, or ``over``; those that have not answered.

        A worker whose commit is waited for can refuse no more: it has nothing under way.
        """
        while True:
            missing = [one for one in self._participants.values() if not has_answered(one)]
            if not missing or self._refusal or over.is_set():
                return missing
            self._changed.clear()
            await wait_until_any(self._changed, over)

    def _ask(self, child: Child) -> None:
        assert self._under_way is not None  # noqa: S101 - the callers have looked
        generation, settings = self._under_way
        child.send(f"{PREPARE} {generation} {settings.to_json()}")

    def _send_all(self, message: str) -> None:
        for child in self._participants:
            child.send(message)
