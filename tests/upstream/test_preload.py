"""What is imported beforehand leaves a process that can be forked."""

import subprocess
import sys

import pytest

LOADED = """
import asyncio, os, sys, threading
from ws_bridge.upstream.preload import preload
def descriptors():
    return len(os.listdir("/proc/self/fd"))
before = descriptors()
preload()
assert "ws_bridge.upstream.assembly" in sys.modules
assert "litellm.litellm_core_utils.default_encoding" in sys.modules  # of a first call
assert threading.enumerate() == [threading.main_thread()]
assert asyncio.events._event_loop_policy is None
assert descriptors() == before
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("well")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_leaves_no_thread_no_loop_no_file_and_no_process():
    told = subprocess.run(  # noqa: S603 - this file
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    ).stdout
    assert told == "well\n"


def test_what_cannot_be_imported_is_one_line(tmp_path):
    (tmp_path / "litellm.py").write_text("raise ValueError('broken')")
    asked = "from ws_bridge.upstream.preload import preload\npreload()"
    ended = subprocess.run(  # noqa: S603 - this file
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "ImportError: ValueError at litellm.py:1: broken"
