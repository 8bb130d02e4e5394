"""The faults: of the servers, of the store and of the lines between, thrown by the round's die.

Rule: whatever was broken is whole again when ``run`` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from support.fleet import Bridge
from support.redis_servers import Node
from support.tcp_proxy import Proxy

STORE = -1
PAUSE_SECONDS = (0.3, 2.5)  # between two faults of a loop
LINE_PAUSE_SECONDS = (0.5, 4)


@dataclass(frozen=True)
class Stage:
    """What can be broken, and the limits that faults stay within or go beyond, in seconds."""

    bridges: Sequence[Bridge]
    node: Node
    lines: Sequence[Proxy]  # from each server to the store
    lease: float
    end_waits: float


@dataclass(eq=False)
class Fault:
    """One fault, for as long as it lasted."""

    kind: str
    target: int  # a server's index, or STORE
    began: float
    ended: float = float("inf")


class Nemesis:
    """Breaks and heals until it is told to stop. ``done`` is all it did."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.done: list[Fault] = []
        self._stage = stage
        self._dice = dice
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
        on_lines = (self._reset, self._cut, self._cut, self._half_open, self._cut_long)
        await asyncio.gather(
            self._go_on(on_servers, PAUSE_SECONDS),
            self._go_on(on_store, PAUSE_SECONDS),
            self._go_on(on_lines, LINE_PAUSE_SECONDS),
        )

    async def _go_on(
        self,
        faults: Sequence[Callable[[random.Random], Awaitable[None]]],
        pause: tuple[float, float],
    ) -> None:
        dice = random.Random(self._dice.random())  # noqa: S311 - a die that can be thrown again
        while not await self._rest(dice.uniform(*pause)):
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
        index = dice.randrange(len(self._stage.bridges))
        with self._noted("kill", index):
            await self._stage.bridges[index].kill()
            await asyncio.sleep(dice.uniform(0.1, 2))
            await self._stage.bridges[index].start()

    async def _freeze_long(self, dice: random.Random) -> None:
        await self._freeze(dice, "freeze", self._stage.lease + dice.uniform(0.5, 3))

    async def _freeze_shortly(self, dice: random.Random) -> None:
        await self._freeze(dice, "pause", dice.uniform(0.1, self._stage.lease / 2))

    async def _freeze(self, dice: random.Random, kind: str, seconds: float) -> None:
        index = dice.randrange(len(self._stage.bridges))
        with self._noted(kind, index):
            self._stage.bridges[index].freeze()
            await asyncio.sleep(seconds)
            self._stage.bridges[index].thaw()

    # The lines from the servers to the store

    async def _reset(self, dice: random.Random) -> None:
        index = dice.randrange(len(self._stage.lines))
        with self._noted("reset", index):
            self._stage.lines[index].cut()
            await asyncio.sleep(0)

    async def _cut(self, dice: random.Random) -> None:
        await self._cut_off(dice, "cut", dice.uniform(0.2, self._stage.end_waits / 2))

    async def _cut_long(self, dice: random.Random) -> None:
        await self._cut_off(dice, "long cut", self._stage.end_waits + dice.uniform(0.5, 3))

    async def _cut_off(self, dice: random.Random, kind: str, seconds: float) -> None:
        index = dice.randrange(len(self._stage.lines))
        with self._noted(kind, index):
            self._stage.lines[index].refuse()
            await asyncio.sleep(seconds)
            await self._stage.lines[index].accept()

    async def _half_open(self, dice: random.Random) -> None:
        """Nothing passes, and connections stand; what was on its way arrives late, or never."""
        index = dice.randrange(len(self._stage.lines))
        with self._noted("half open", index):
            self._stage.lines[index].freeze()
            await asyncio.sleep(dice.uniform(0.2, self._stage.end_waits / 2))
            if dice.random() < 0.5:
                self._stage.lines[index].cut()
            self._stage.lines[index].thaw()

    # The store

    async def _freeze_store(self, dice: random.Random) -> None:
        with self._noted("store freeze", STORE):
            self._stage.node.freeze()
            await asyncio.sleep(dice.uniform(0.2, 2 * self._stage.lease))
            self._stage.node.thaw()

    async def _kill_store(self, dice: random.Random) -> None:
        with self._noted("store kill", STORE):
            self._stage.node.kill()
            await asyncio.sleep(dice.uniform(0.1, 1.5 * self._stage.lease))
            await asyncio.to_thread(self._stage.node.start)

    async def _end_subscriptions(self, _: random.Random) -> None:
        with self._noted("hints kill", STORE):
            await asyncio.to_thread(self._stage.node.cli, "CLIENT", "KILL", "TYPE", "pubsub")

    async def _forget_scripts(self, _: random.Random) -> None:
        with self._noted("scripts flush", STORE):
            await asyncio.to_thread(self._stage.node.cli, "SCRIPT", "FLUSH")
