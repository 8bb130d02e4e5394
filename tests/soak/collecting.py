"""``ws-bridge``, and one thing more: at a signal it collects garbage, and says what is left.

Rings of objects wait for a collection, those that grew old for one in many minutes; and what was
freed stays with the allocator. To a leak neither of them matters: it is what is left after this.
"""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ws_bridge import cli

ASKS = signal.SIGUSR2
SAYS = "in use MiB: "
PROGRAM = (sys.executable, str(Path(__file__)))


class Held(ctypes.Structure):
    """``struct mallinfo2`` of glibc, all arenas together."""

    _fields_: Sequence[tuple[str, type]] = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def in_use() -> int:
    """Bytes that malloc has given away: all that is too large to be one of Python's blocks."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = Held
    held = ask()
    return int(held.uordblks + held.hblkhd)


def tell(*_: object) -> None:
    """Collect, and say it in one write: another thread may log."""
    gc.collect()
    os.write(sys.stderr.fileno(), f"{SAYS}{in_use() / 2**20:.3f}\n".encode())


if __name__ == "__main__":
    signal.signal(ASKS, tell)
    sys.exit(cli.main(sys.argv[1:]))
