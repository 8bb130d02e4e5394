"""A directory for temporary files, which litellm wants to know of when it is imported.

A container with a read-only root may have none at the usual places, but shared memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

from ws_bridge.errors import ConfigError

SPARE = ("/dev/shm", "/run")  # noqa: S108 - they are looked at only where the usual ones are missing


def choose_directory(spare: Iterable[str] = SPARE) -> None:
    """See that this process and its children have one. Raises ``ConfigError``."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        os.environ["TMPDIR"] = usable(spare)
        tempfile.tempdir = None  # it looks again


def usable(folders: Iterable[str]) -> str:
    """The first folder in which a file can be made. Raises ``ConfigError``."""
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    raise ConfigError(
        "there is no directory for temporary files: mount one at /tmp (a tmpfs will do), or name "
        "one in the environment variable TMPDIR"
    )
