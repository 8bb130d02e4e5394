"""The signals that stop a process, and its exit.

Rule 1: the first SIGTERM or SIGINT starts a drain; any later one cuts the drain short.
Rule 2: they work from the first moment, so that a start can be stopped as well. Before anything has
been started, a signal ends the process at once, with exit code 0.
Rule 3: a process exits without waiting for daemon threads: all else has ended in order by then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class StopSignals:
    """``stop``: start nothing new, let what runs finish. ``force``: wait for nothing."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    force: asyncio.Event = field(default_factory=asyncio.Event)

    def signal_received(self) -> None:
        """Stop; if a stop has begun already, force it."""
        if self.stop.is_set():
            self.force.set()
        self.stop.set()

    def stop_now(self) -> None:
        """Stop, and wait for nothing."""
        self.stop.set()
        self.force.set()


def catch_signals() -> StopSignals:
    """What the signals of this process set from now on. Call it in the running loop."""
    stop_signals = StopSignals()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop_signals.signal_received)
    return stop_signals


async def wait_until_any(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def exit_on_signal() -> None:
    """From now on a signal ends the process at once, until ``catch_signals``."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def exit_process(code: int) -> int:
    """Return the exit code; with daemon threads running, end the process with it at once.

    A daemon thread may be in the middle of litellm's import. To wait for it takes seconds, and the
    interpreter would tear down what the thread uses.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        end_process(code)
    return code


def end_process(code: int) -> NoReturn:
    """End the process at once, with all that it has logged and printed written."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
