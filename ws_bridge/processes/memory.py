"""What is freed goes back to the system.

From the first large piece that is freed, glibc learns to keep pieces of that size itself: a process
that once held bodies of 20 MB stays as large as its peak, and the next peak comes on top of it.
"""

from __future__ import annotations

import ctypes
import sys

M_MMAP_THRESHOLD = -3
LARGE = 512 * 1024  # bytes: such a piece is a mapping of its own, and is gone when it is freed


def give_back_large() -> None:
    """From now on this process's large pieces of memory are given back when they are freed."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries have no such switch
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, LARGE)
