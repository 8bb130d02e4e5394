"""Files that a configuration names, read so that none of them can hold up its reader.

Rule: only a regular file is read, and only up to a size. A FIFO would be waited for, a device may
have no end, and a server reads its files again while it serves.
"""

from __future__ import annotations

import errno
import os
import stat


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes.

    Raises ``OSError``, whose ``strerror`` is the reason.
    """
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "its path has a null byte")
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, "it is too large")
    return content


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for one who writes it."""
    return os.open(path, flags | os.O_NONBLOCK)
