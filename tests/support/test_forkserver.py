"""A fork is to its tests what a started process is, and nothing of it is left behind."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.fleet import Bridge, Fresh
from support.forkserver import Fork, Stem
from support.hang import HANG_SECONDS

HERE = Path(__file__).parent
# A stem that has imported nothing; what is forked off it says what it was given.
BARE = f"""
import json, os, signal, socket, sys
sys.path.insert(0, {str(HERE)!r})
import forkserver_stem as stem
questions = socket.socket(fileno=int(sys.argv[1]))
given = stem.attend(stem.Forks({{"ADDED": "1"}}), questions)
if given is not None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    print(json.dumps([given, dict(os.environ), os.getcwd()]), flush=True)
    while True:
        signal.pause()
"""


@pytest.fixture
def bare():
    stem = Stem("-c", BARE)
    yield stem
    stem.end()


@pytest.fixture
def fork(bare, tmp_path):
    fork = Fork(bare.path, ["word"], {"GIVEN": "2"}, str(tmp_path), str(tmp_path / "log"))
    assert said(tmp_path / "log") == [["word"], {"GIVEN": "2", "ADDED": "1"}, str(tmp_path)]
    return fork


def said(log):
    deadline = time.monotonic() + HANG_SECONDS
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return json.loads(log.read_text())


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_fork_has_its_own_arguments_environment_folder_and_output_and_ends_alone(fork):
    assert fork.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        fork.wait(0)
    fork.terminate()
    assert (fork.wait(), fork.poll(), fork.returncode) == (3, 3, 3)
    fork.kill()  # nobody: it has ended


def test_a_fork_is_killed_and_says_by_what(fork):
    fork.kill()
    assert fork.wait() == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_fork_stands_still_and_ends_with_its_stem(fork, bare):
    fork.send_signal(signal.SIGSTOP)
    fork.stopped()
    assert state(fork.pid) == "T"
    bare.end()
    with pytest.raises(FileNotFoundError):
        state(fork.pid)


@pytest.mark.parametrize("kind", [Bridge, Fresh])
async def test_however_it_is_started_a_bridge_that_cannot_start_says_why(kind):
    with pytest.raises(AssertionError, match=r"ended with 2:\nws-bridge: .*'server\.colour'"):
        async with kind({"server": {"colour": "red"}}):
            pass
