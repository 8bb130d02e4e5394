"""What a process is told from outside: to stop, and to hurry.

Rule 1: the first SIGTERM or SIGINT stops, which is a drain; any later one hurries it.
Rule 2: they are heard from the first moment, so that a start can be stopped as well.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ws_bridge.processes.leaving import SIGNALS


@dataclass(frozen=True, slots=True)
class Orders:
    """``stop``: begin nothing new, let what runs finish. ``hurry``: wait for nothing any more."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def more(self) -> None:
        """Stop; if that was said already, hurry."""
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()

    def at_once(self) -> None:
        """Stop, and hurry."""
        self.stop.set()
        self.hurry.set()


def of_signals() -> Orders:
    """The orders that this process's signals give from now on; call it in the running loop."""
    orders = Orders()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, orders.more)
    return orders


async def first_of(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
