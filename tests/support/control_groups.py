"""Control groups of the kernel, of either version: what processes take together is bounded."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

STEP_SECONDS = 0.02


class ControlGroup:
    """A group of its own below ``parent``. Raises ``OSError`` where none can be made."""

    def __init__(self, parent: Path, file: str, limit: str) -> None:
        self._folder = parent / f"ws-bridge-{os.getpid()}-{id(self):x}"
        self._folder.mkdir()
        try:
            self.write(file, limit)
        except OSError:
            self._folder.rmdir()
            raise

    @property
    def members(self) -> Path:
        """Who writes its process id into this file belongs to it, and all that it starts then."""
        return self._folder / "cgroup.procs"

    def write(self, file: str, text: str) -> None:
        """Set one of its numbers."""
        (self._folder / file).write_text(text)

    def read(self, file: str) -> str:
        """One of its numbers."""
        return (self._folder / file).read_text()

    def close(self) -> None:
        """Remove it, and end what is left in it."""
        while pids := self.members.read_text().split():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(STEP_SECONDS)
        self._folder.rmdir()


def parents(controller: str) -> Iterator[tuple[Path, int]]:
    """Where groups of a controller may be made, and their version: in our own, and at the top."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split()[4])
        if kind == "cgroup" and controller in options.split(","):
            yield place / own.get(controller, "/").lstrip("/"), 1
            yield place, 1
        elif kind == "cgroup2":
            yield place / own.get("", "/").lstrip("/"), 2
            yield place, 2
