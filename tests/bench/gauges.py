"""What the kernel says of a process and of those it started. Linux's ``/proc``, nothing else."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_PRIVATE_DIRTY = re.compile(r"^Private_Dirty: +(\d+) kB$", re.MULTILINE)


def family(pid: int) -> list[int]:
    """The process, and those it started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(each for child in children for each in family(child))]


def cpu_ns(pid: int) -> int:
    """CPU time since the start: user and system, all threads, the ended ones too."""
    # the clock id that clock_getcpuclockid(3) makes of a process id: all its threads together
    return sum(time.clock_gettime_ns((~one << 3) | 2) for one in family(pid))


def rss_mib(pid: int) -> float:
    """Resident memory."""
    pages = (int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return sum(pages) * _PAGE_MIB


def private_kib(pid: int) -> int:
    """Memory that is this process's alone: what a connection adds to it, and no library's pages."""
    texts = (Path(f"/proc/{one}/smaps_rollup").read_text() for one in family(pid))
    return sum(int(found) for text in texts for found in _PRIVATE_DIRTY.findall(text))


def descriptors(pid: int) -> int:
    """Open files, sockets among them."""
    return sum(1 for one in family(pid) for _ in _targets(one))


def sockets_to(pid: int) -> Counter[int]:
    """Open IPv4 sockets by their peer's port; 0 are those that listen, wait, or are no TCP."""
    ports: Counter[int] = Counter()
    for one in family(pid):
        inodes = [target[8:-1] for target in _targets(one) if target.startswith("socket:")]
        lines = Path(f"/proc/{one}/net/tcp").read_text().splitlines()[1:]
        peers = {words[9]: int(words[2].partition(":")[2], 16) for words in map(str.split, lines)}
        ports.update(peers.get(inode, 0) for inode in inodes)
    return ports


def _targets(pid: int) -> Iterator[str]:
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            try:
                yield str(Path(entry.path).readlink())
            except FileNotFoundError:  # closed between the two looks
                continue
