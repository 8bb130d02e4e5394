"""Fixtures of the whole suite, and how it is spread over processes."""

import gc
import logging
import sys
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# The helpers beside this file (`scripted`, `strict`, `upstreams`, ...) are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

from support import forkserver, long_limits
from support.fleet import Bridge
from support.skips import (  # noqa: F401 - hooks
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

from ws_bridge import logs

HERE = Path(__file__).parent

# litellm's import is the dearest step there is: servers are forked off a process that has done it.
Bridge.process = forkserver.Forked
# No slowness of the machine is to reach a server's own limits.
Bridge.settings = staticmethod(long_limits.config)
Bridge.constants = long_limits.CONSTANTS

# The suite does not know what time it is: an example may take as long as the machine lets it. Some
# examples of each are enough here: `tests/defence/fuzz` makes a million.
hypothesis.settings.register_profile("timeless", deadline=None, max_examples=50)
hypothesis.settings.load_profile("timeless")

# What the imports of the whole suite leave behind stays to the end: nobody is to look through it
# again and again.
gc.disable()

OURS = logging.getLogger(logs.OURS)

# What shares its servers stays together.
TOGETHER = {
    "servers": ("servers/",),
    "dump": ("servers/test_dump.py",),  # has a server and providers of its own
    "bridges": ("support/test_fleet.py", "support/test_forkserver.py"),
    "clients": ("clients/",),
    "loops": ("clients/test_agent_loops.py",),  # has servers and providers of its own
}
# What takes longest comes first, so that nobody waits for it in the end.
FIRST = (
    "processes/test_workers.py",
    "servers",
    "bridges",
    "clients",
    "loops",
    "server/transport/test_transport.py",
    "test_cli.py",
    "test_docs_clients.py",
    "server/test_histories.py",
    "store/test_fences.py",
    "server/test_store_faults.py",
)


# Each test of these starts servers of several processes from nothing, which costs seconds of CPU:
# `make test-real` runs them.
SLOW = tuple(
    f"processes/test_{name}.py"
    for name in ("workers", "children", "control", "template", "signals", "temporary", "sockets")
)


def _group(file: str) -> str:
    """The last that names the file; else it is a group of its own."""
    return ([name for name, files in TOGETHER.items() if file.startswith(files)] or [file])[-1]


def _rank(group: str) -> int:
    return FIRST.index(group) if group in FIRST else len(FIRST)


def pytest_configure(config):
    """Where several processes run tests, they share the stem, which loads while they collect."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        forkserver.share()
        # Groups begin in the order they are collected in, not by how many tests they have.
        config.option.loadscopereorder = False


class Groups(LoadScopeScheduling):
    """A group's tests stay together, so that its servers are started once.

    xdist's own groups are none: it writes them into what pytest 9.2 no longer reads
    (``Item._nodeid``).
    """

    def _split_scope(self, nodeid):
        return _group(nodeid.partition("::")[0].removeprefix("tests/"))


@pytest.fixture(autouse=True)
def _log():
    """The bridge's log is as it was after a test that has changed it, as a reload does."""
    level, cleaner = OURS.level, logs.CleanRecord.cleaner
    yield
    if OURS.level != level:
        OURS.setLevel(level)
    logs.CleanRecord.secrets, logs.CleanRecord.cleaner = frozenset(), cleaner


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of ``--dist loadgroup``."""
    return Groups(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items):
    """In the order of the groups; those of slow files are marked."""
    for item in items:
        if item.path.relative_to(HERE).as_posix() in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: _rank(_group(item.path.relative_to(HERE).as_posix())))


def pytest_collection_finish():
    """Garbage is what tests make."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    """The CPU time of what was forked is the run's, too."""
    forkserver.end()
