"""Bridge servers on a share of a core, with all that they start.

The kernel's quota does it where this machine lets us have one (control groups, of either version);
elsewhere the processes are stopped and continued by turns.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.control_groups import ControlGroup, parents
from support.fleet import Fresh
from support.redis_servers import Process

# version of the control groups: the file with the limit, how one is written, and none
LIMITS = {1: ("cpu.cfs_quota_us", "{quota}", "-1"), 2: ("cpu.max", "{quota} 100000", "max 100000")}
PERIOD_SECONDS = 0.1


class Quota(ControlGroup):
    """A control group whose processes get so much of a core together."""

    def __init__(self, parent: Path, version: int, share: float) -> None:
        self._file, limit, self._none = LIMITS[version]
        super().__init__(parent, self._file, limit.format(quota=int(share * 100_000)))

    def free(self) -> None:
        """No limit any more."""
        self.write(self._file, self._none)


def quota(share: float) -> Quota | None:
    """A group with this share of a core; None where the machine has none for us."""
    for parent, version in parents("cpu"):
        with contextlib.suppress(OSError):
            return Quota(parent, version, share)
    return None


class Turns:
    """Runs a process, and all that it starts, for this share of each tenth of a second."""

    def __init__(self, pid: int, share: float) -> None:
        self._pid = pid
        self._share = share
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            stopped = [pid for pid in family(self._pid) if _told(pid, signal.SIGSTOP)]
            time.sleep(PERIOD_SECONDS * (1 - self._share))
            for pid in stopped:
                _told(pid, signal.SIGCONT)
            time.sleep(PERIOD_SECONDS * self._share)

    def close(self) -> None:
        """Let all run."""
        self._ended.set()
        self._thread.join()


def _told(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def family(pid: int) -> list[int]:
    """A process, what it has started, what those have started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Starved(Fresh):
    """Started from nothing on a share of a core, in which it stays to its end."""

    def __init__(self, share: float, config: Mapping[str, Any], *, by_turns: bool = False) -> None:
        super().__init__(config)
        self._share = share
        self._quota = None if by_turns else quota(share)
        self._turns: Turns | None = None
        if self._quota is not None:
            joins = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._quota.members))
            self.program = (*joins, sys.executable, "-m", "ws_bridge")

    @property
    def how(self) -> str:
        """What limits it."""
        return "quota" if self._quota else "turns"

    def free(self) -> None:
        """Let it run as fast as it can."""
        if self._turns is not None:
            self._turns.close()
        if self._quota is not None:
            self._quota.free()

    def _spawn(self) -> Process:
        process = super()._spawn()
        if self._quota is None:
            self._turns = Turns(process.pid, self._share)
        return process

    def close(self) -> None:
        """End it, and remove what it left."""
        self.free()
        super().close()
        if self._quota is not None:
            self._quota.close()
