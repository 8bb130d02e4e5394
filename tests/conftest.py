"""Fixtures of the whole suite, and how it is spread over processes."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# The helpers beside this file (`scripted`, `strict`, `upstreams`, ...) are imported by name.
sys.path.insert(0, str(HERE))

# What starts bridge servers stays together, in processes that take about as long as each other:
# litellm's import is the dearest step there is.
TOGETHER = {
    "servers": ("servers/",),
    "workers": ("servers/test_rolling.py", "test_workers.py"),
    "bridges": ("test_cli.py", "test_faults.py", "test_fleet.py", "test_scale.py", "test_soak.py"),
}


def _group(file: str) -> str:
    """The last that names the file; else it is a group of its own."""
    return ([name for name, files in TOGETHER.items() if file.startswith(files)] or [file])[-1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A file's tests stay together, so that its servers are started once."""
    for item in items:
        file = item.path.relative_to(HERE).as_posix()
        item.add_marker(pytest.mark.xdist_group(_group(file)))
