"""All that litellm and the dialects import, imported beforehand, for a process that forks others.

It leaves no thread, connection or event loop behind: such a process can be forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence

from ws_bridge.upstream.router import ASSEMBLY, Router, import_error


def preload() -> None:
    """Import all that providers are asked with. Raises ``ImportError``, in one line."""
    try:
        importlib.import_module(ASSEMBLY)
    except BaseException as failure:  # noqa: BLE001 - whatever a module raises, as in `Router`
        raise ImportError(import_error(failure)) from None
    for name in _modules_of_a_first_call():
        # Names in the table of modules may have been made up there; each process that needs such a
        # module will import it by itself.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _modules_of_a_first_call() -> Sequence[str]:
    """The modules that are loaded after litellm's first call; none if that fails.

    The call is made in a process of its own: it leaves threads and an event loop.
    """
    reads, writes = os.pipe()
    if not (pid := os.fork()):
        os.close(reads)
        _make_first_call(writes)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    names: Sequence[str] = json.loads(text or "[]")
    return names


def _make_first_call(writes: int) -> None:
    """Write the loaded modules' names to a pipe, and end the process."""
    logging.disable()  # a worker reports the same of its own first call
    try:
        asyncio.run(Router(()).start())
        with os.fdopen(writes, "w") as pipe:
            json.dump(list(sys.modules), pipe)
    finally:
        os._exit(0)
