"""The bridge, and what its event loop does: ``python -m tests.bench.watched FILE serve …``.

It runs in asyncio's own loop, whose turns can be measured: what the project does in a turn is the
same in uvloop's. ``FILE`` gets a line for each turn that took the thread more than ``LONG`` of CPU,
and for each pass of the garbage collector of that length, in whichever thread.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import orjson

LONG = 5_000_000  # ns
STEP_SECONDS = 0.004  # between two looks at what the loop does
DEEP = 6  # functions of a place that are told
HERE = str(Path(__file__).resolve().parents[2])


class Watch:
    """Measures each turn, and looks at those that last."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._loop_thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._loop_thread)
        self._began: int | None = None  # CPU of the loop's thread when the turn began
        self._place = ""
        self._pass_began = 0

    def begin(self) -> None:
        """From now on."""
        turn = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]  # noqa: SLF001

        def measured(loop: Any) -> None:
            self._place, self._began = "", time.thread_time_ns()
            turn(loop)
            spent, self._began = time.thread_time_ns() - self._began, None
            if spent > LONG:
                self._tell("turn", spent, self._place)

        asyncio.BaseEventLoop._run_once = measured  # type: ignore[attr-defined]  # noqa: SLF001
        gc.callbacks.append(self._collected)
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(STEP_SECONDS)
            began = self._began
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001
            if began is None or frame is None:
                continue
            if time.clock_gettime_ns(self._clock) - began > LONG:
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
    """Serve in asyncio's loop."""
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # as where there is none
    out = Path(sys.argv.pop(1)).open("a", encoding="utf-8")  # noqa: SIM115 - to the end
    Watch(out).begin()
    from ws_bridge.cli import main as serve  # noqa: PLC0415 - after what it measures

    raise SystemExit(serve())


if __name__ == "__main__":
    main()
