"""Fixtures of the whole suite, and how it is spread over processes."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# The helpers beside this file (`scripted`, `strict`, `upstreams`, ...) are imported by name.
sys.path.insert(0, str(HERE))

# What starts bridge servers stays in one process: litellm's import is the dearest step there is.
TOGETHER = (
    "servers/",
    "test_cli.py",
    "test_faults.py",
    "test_fleet.py",
    "test_soak.py",
    "test_workers.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A file's tests stay together, so that its servers are started once."""
    for item in items:
        file = item.path.relative_to(HERE).as_posix()
        group = "bridges" if file.startswith(TOGETHER) else file
        item.add_marker(pytest.mark.xdist_group(group))
