"""The faults: one loop for the servers, one for the store, both thrown by the round's die.

Rule: whatever was broken is whole again when ``run`` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fleet import Bridge
from valkeys import Node

STORE = -1
PAUSE_SECONDS = (0.5, 4)  # between two faults


@dataclass(eq=False)
class Fault:
    """One fault, for as long as it lasted."""

    kind: str
    target: int  # a server's index, or STORE
    began: float
    ended: float = float("inf")


class Nemesis:
    """Breaks and heals until it is told to stop. ``done`` is all it did."""

    def __init__(
        self, bridges: Sequence[Bridge], node: Node, dice: random.Random, lease_seconds: float
    ) -> None:
        self.done: list[Fault] = []
        self._bridges = bridges
        self._node = node
        self._dice = dice
        self._lease = lease_seconds
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """No new fault from now on."""
        self._stopped.set()

    async def run(self) -> None:
        """Break things until stopped."""
        on_servers = (self._kill, self._kill, self._freeze_long, self._freeze_shortly)
        on_store = (
            *(self._freeze_store, self._kill_store, self._end_subscriptions),
            *(self._end_subscriptions, self._forget_scripts),
        )
        await asyncio.gather(self._go_on(on_servers), self._go_on(on_store))

    async def _go_on(self, faults: Sequence[Callable[[random.Random], Awaitable[None]]]) -> None:
        dice = random.Random(self._dice.random())  # noqa: S311 - a die that can be thrown again
        while not await self._rest(dice.uniform(*PAUSE_SECONDS)):
            await dice.choice(faults)(dice)

    async def _rest(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        return self._stopped.is_set()

    @contextlib.contextmanager
    def _noted(self, kind: str, target: int):
        fault = Fault(kind, target, time.monotonic())
        self.done.append(fault)
        yield
        fault.ended = time.monotonic()

    # Servers

    async def _kill(self, dice: random.Random) -> None:
        index = dice.randrange(len(self._bridges))
        with self._noted("kill", index):
            await self._bridges[index].kill()
            await asyncio.sleep(dice.uniform(0.1, 2))
            await self._bridges[index].start()

    async def _freeze_long(self, dice: random.Random) -> None:
        await self._freeze(dice, "freeze", self._lease + dice.uniform(0.5, 3))

    async def _freeze_shortly(self, dice: random.Random) -> None:
        await self._freeze(dice, "pause", dice.uniform(0.1, self._lease / 2))

    async def _freeze(self, dice: random.Random, kind: str, seconds: float) -> None:
        index = dice.randrange(len(self._bridges))
        with self._noted(kind, index):
            self._bridges[index].freeze()
            await asyncio.sleep(seconds)
            self._bridges[index].thaw()

    # The store

    async def _freeze_store(self, dice: random.Random) -> None:
        with self._noted("store freeze", STORE):
            self._node.freeze()
            await asyncio.sleep(dice.uniform(0.2, 2 * self._lease))
            self._node.thaw()

    async def _kill_store(self, dice: random.Random) -> None:
        with self._noted("store kill", STORE):
            self._node.kill()
            await asyncio.sleep(dice.uniform(0.1, 1.5 * self._lease))
            await asyncio.to_thread(self._node.start)

    async def _end_subscriptions(self, _: random.Random) -> None:
        with self._noted("hints kill", STORE):
            await asyncio.to_thread(self._node.cli, "CLIENT", "KILL", "TYPE", "pubsub")

    async def _forget_scripts(self, _: random.Random) -> None:
        with self._noted("scripts flush", STORE):
            await asyncio.to_thread(self._node.cli, "SCRIPT", "FLUSH")
