"""What a serving process frees goes back to the system: in a process of its own."""

import subprocess
import sys

import pytest

PEAKS = """
from ws_bridge.processes.memory import give_back_large
MIB, kept = 2**20, []

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024

give_back_large()
before = resident()
for _ in range(20):
    bodies = [b"x" * 20 * MIB for _ in range(5)]
    kept.append(bytearray(100_000))  # small, and lives behind them
    del bodies
print(resident() - before)
"""


@pytest.mark.catalogue("A7")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_pieces_are_given_back_when_they_are_freed():
    """Without the switch some 100 MiB stay, and come on top of the next peak."""
    told = subprocess.run(  # noqa: S603 - this file
        [sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True
    ).stdout
    assert int(told) < 20
