"""How a serving process ends when the interpreter's own end would not do.

Rule 1: before anything was begun, a signal ends it on the spot, and well.
Rule 2: what was begun has been ended by then, in order: what is left are threads nobody waits for.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def at_once_on_a_signal() -> None:
    """From now on, until somebody else listens to the signals."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def leave(code: int) -> int:
    """The code, for the interpreter to end with; with daemon threads, the end.

    One of them may be in the middle of litellm's import. To wait for it takes seconds, and the
    interpreter would tear down what it is using.
    """
    if not any(thread.daemon for thread in threading.enumerate()):
        return code
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
