"""Bridge servers in a control group whose memory the kernel bounds: beyond it, it kills."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.fleet import Fresh

MIB = 2**20
# version of the control groups: the files of the limit, and of what was taken at most
FILES = {
    1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    2: ("memory.max", "memory.peak"),
}
STEP_SECONDS = 0.02


class MemoryLimit:
    """A control group whose processes may take so much memory together."""

    def __init__(self, parent: Path, version: int, mib: int) -> None:
        self._folder = parent / f"ws-bridge-{os.getpid()}-{id(self):x}"
        limit, self._peak = FILES[version]
        self._folder.mkdir()
        try:
            (self._folder / limit).write_text(str(mib * MIB))
        except OSError:
            self._folder.rmdir()
            raise

    @property
    def members(self) -> Path:
        """Who writes its process id into this file belongs to it, and all that it starts then."""
        return self._folder / "cgroup.procs"

    def peak_mib(self) -> int:
        """What its processes took at most, of caches of files too."""
        return int((self._folder / self._peak).read_text()) // MIB

    def close(self) -> None:
        """Remove it, and end what is left in it."""
        while pids := self.members.read_text().split():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(STEP_SECONDS)
        self._folder.rmdir()


def memory_limit(mib: int) -> MemoryLimit | None:
    """A group with this limit; None where the machine has none for us."""
    for parent, version in _parents():
        with contextlib.suppress(OSError):
            return MemoryLimit(parent, version, mib)
    return None


def _parents() -> Iterator[tuple[Path, int]]:
    """The places where groups that limit memory can be made."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split()[4])
        if kind == "cgroup" and "memory" in options.split(","):
            yield place, 1
        elif kind == "cgroup2":
            yield place, 2


class Bounded(Fresh):
    """Started from nothing in a control group, in which it stays to its end."""

    def __init__(
        self, limit: MemoryLimit, config: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        super().__init__(config, environ)
        self.limit = limit
        joins = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(limit.members))
        self.program = (*joins, sys.executable, "-m", "ws_bridge")

    def close(self) -> None:
        """End it, and remove its group."""
        super().close()
        self.limit.close()
