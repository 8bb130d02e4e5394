"""systemd's own checker on the unit of `deploy/`."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "ws-bridge.service"
PROGRAM = "/opt/ws-bridge/bin/ws-bridge"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_to_mend(tmp_path):
    """With a program of this machine in the place of the one that the unit starts."""
    text = UNIT.read_text(encoding="utf-8")
    assert text.count(PROGRAM) == text.count("Exec")
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(PROGRAM, "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    found = subprocess.run(  # noqa: S603 - systemd's own
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_its_control_socket_is_the_one_that_a_reload_asks():
    text = UNIT.read_text(encoding="utf-8")
    assert "CONTROL_SOCKET=%t/ws-bridge/control" in text
    assert re.search(r"^RuntimeDirectory=ws-bridge$", text, re.MULTILINE)
    assert "reload --socket ${RUNTIME_DIRECTORY}/control" in text
