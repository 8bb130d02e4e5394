"""The bridge, and what its event loop does: ``python -m tests.bench.watched FILE serve …``.

A timer of ``TICK_SECONDS`` fires in each turn of the loop that lasts longer, so that the CPU of its
thread between two of them is that of one turn, or a tick more. ``FILE`` gets a line for each turn
of more than ``LONG``, and for each such pass of the garbage collector, in whichever thread.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import orjson

from ws_bridge import cli
from ws_bridge.processes import serving

LONG = 5_000_000  # ns
TICK_SECONDS = 0.002
STEP_SECONDS = 0.004  # between two looks at what the loop does
DEEP = 6  # functions of a place that are told
HERE = str(Path(__file__).resolve().parents[2])


class Watch:
    """Measures each turn, and looks at those that last."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._loop_thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._loop_thread)
        self._began = 0  # CPU of the loop's thread at the last tick
        self._place = ""
        self._pass_began = 0

    async def begin(self) -> None:
        """From now on."""
        gc.callbacks.append(self._collected)
        threading.Thread(target=self._look, daemon=True).start()
        self._tick(asyncio.get_running_loop())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.thread_time_ns()
        if now - self._began > LONG:
            self._tell("turn", now - self._began, self._place)
        self._place, self._began = "", time.thread_time_ns()
        loop.call_later(TICK_SECONDS, self._tick, loop)

    def _look(self) -> None:
        while True:
            time.sleep(STEP_SECONDS)
            frame = sys._current_frames().get(self._loop_thread)
            if frame and time.clock_gettime_ns(self._clock) - self._began > LONG:
                self._place = place_of(frame)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._pass_began = time.monotonic_ns()
            return
        spent = time.monotonic_ns() - self._pass_began
        if spent > LONG:
            is_loop = threading.get_ident() == self._loop_thread
            where = f"{'loop' if is_loop else 'thread'}, generation {info['generation']}"
            self._tell("collection", spent, where)

    def _tell(self, kind: str, spent: int, where: str) -> None:
        at = time.monotonic_ns()
        line = {"kind": kind, "at": at, "ms": round(spent / 1e6, 1), "where": where}
        self._out.write(orjson.dumps(line).decode() + "\n")
        self._out.flush()


def place_of(frame: FrameType) -> str:
    """The innermost functions of the project, and what they have called."""
    told = []
    for each, line in traceback.walk_stack(frame):
        path = each.f_code.co_filename
        is_ours = path.startswith(HERE) and ".venv" not in path and __file__ != path
        if is_ours or not told:
            told.append(f"{Path(path).name}:{line} {each.f_code.co_name}")
        if len(told) == DEEP:
            break
    return " < ".join(told)


def main() -> None:
    """Serve, and watch the loop."""
    out = Path(sys.argv.pop(1)).open("a", encoding="utf-8")  # noqa: SIM115 - to the end
    run = serving.run

    async def watched(serve: Coroutine[Any, Any, int]) -> int:
        await Watch(out).begin()
        return await serve

    serving.run = lambda serve: run(watched(serve))
    raise SystemExit(cli.main())


if __name__ == "__main__":
    main()
