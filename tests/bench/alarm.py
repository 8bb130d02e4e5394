"""Linux's timerfd: an alarm clock with nanoseconds.

Both event loops round their timers to whole milliseconds. At 200 streams x 100 events/s that
would send twenty events in the same instant, and measure the queue among them.
"""

import ctypes
import os
import time

_NONBLOCK, _ABSOLUTE = os.O_NONBLOCK, 1


class _Spec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "due_s", "due_ns")]


class Alarm:
    """Readable once its time has come."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def fileno(self) -> int:
        return int(self._fd)

    def set(self, due: int) -> None:
        """Be quiet, and ring at ``due`` ns of the monotonic clock only."""
        spec = _Spec(0, 0, *divmod(due, 1_000_000_000))
        if self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Be quiet until set anew."""
        self.set(0)  # what timerfd takes for "disarmed"
