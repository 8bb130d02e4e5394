"""Bridge servers in a control group whose memory the kernel bounds: beyond it, it kills."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.control_groups import ControlGroup, parents
from support.fleet import Fresh

MIB = 2**20
# version of the control groups: the files of the limit, and of what was taken at most
FILES = {
    1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    2: ("memory.max", "memory.peak"),
}


def memory_limit(mib: int) -> "MemoryLimit | None":
    """A group with this limit; None where the machine has none for us."""
    for parent, version in parents("memory"):
        with contextlib.suppress(OSError):
            return MemoryLimit(parent, version, mib)
    return None


class MemoryLimit(ControlGroup):
    """A control group whose processes may take so much memory together."""

    def __init__(self, parent: Path, version: int, mib: int) -> None:
        limit, self._peak = FILES[version]
        super().__init__(parent, limit, str(mib * MIB))

    def peak_mib(self) -> int:
        """What its processes took at most, of caches of files too."""
        return int(self.read(self._peak)) // MIB


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
