"""The signals that stop and reload a process, and its exit.

Rule 1: the first SIGTERM asks it to leave: for a while it says that it is not ready, and goes on
accepting clients (``lame_duck``); then it drains. The first SIGINT, which comes from a terminal,
starts the drain at once. Any later one of both cuts all waits short.
Rule 2: they work from the first moment, so that a start can be stopped as well. Before anything has
been started, a signal ends the process at once, with exit code 0.
Rule 3: SIGHUP asks for a reload and never ends a process, not even before it has started anything.
Rule 4: a process exits without waiting for daemon threads: all else has ended in order by then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from ws_bridge.clock import Clock
from ws_bridge.pacing import first_of

log = logging.getLogger("ws_bridge")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class StopSignals:
    """``leave``: be no longer ready. ``stop``: start nothing new, let what runs finish.

    ``force``: wait for nothing. ``hangup``: reload.
    """

    leave: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    force: asyncio.Event = field(default_factory=asyncio.Event)
    hangup: asyncio.Event = field(default_factory=asyncio.Event)

    def signal_received(self) -> None:
        """Stop; if a stop has begun already, force it."""
        if self.stop.is_set() or self.leave.is_set():
            self.force.set()
        self.stop.set()

    def leave_received(self) -> None:
        """Leave; if that has begun already, stop now."""
        if self.stop.is_set() or self.leave.is_set():
            self.stop_now()
        self.leave.set()

    def stop_now(self) -> None:
        """Stop, and wait for nothing."""
        self.stop.set()
        self.force.set()


_hangups: list[int] = []  # that came before there was a loop


def catch_signals() -> StopSignals:
    """What the signals of this process set from now on. Call it in the running loop."""
    stop_signals = StopSignals()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop_signals.leave_received)
    loop.add_signal_handler(signal.SIGINT, stop_signals.signal_received)
    loop.add_signal_handler(signal.SIGHUP, stop_signals.hangup.set)
    if _hangups:
        stop_signals.hangup.set()
    return stop_signals


async def lame_duck(
    stop_signals: StopSignals,
    seconds: Callable[[], float],
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> None:
    """Wait until the process is asked to leave, and ``seconds`` longer; then stop it."""
    await wait_until_any(stop_signals.leave, stop_signals.stop)
    if (wanted := seconds()) > 0 and not stop_signals.stop.is_set():
        log.info("lame_duck seconds=%g", wanted)
        over = asyncio.Event()
        pause = asyncio.ensure_future(clock.sleep(wanted))
        pause.add_done_callback(lambda _: over.set())
        try:
            await wait_until_any(over, stop_signals.stop)
        finally:
            pause.cancel()
    stop_signals.stop.set()


async def wait_until_any(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    await first_of(*(event.wait() for event in events))


def exit_on_signal() -> None:
    """From now on a signal to stop ends the process at once, until ``catch_signals``."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, lambda number, _: _hangups.append(number))


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
