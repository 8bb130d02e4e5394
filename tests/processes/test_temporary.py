"""A server without the usual directories for temporary files."""

import os
import subprocess
import sys

import pytest
from support.hang import HANG_SECONDS

from ws_bridge.errors import ConfigError
from ws_bridge.processes.temporary import usable

# A root on which nothing can be written, but where `$1` says.
READ_ONLY = """
mount --make-rprivate /
for folder in /tmp /var/tmp /usr/tmp /dev/shm /run; do
  [ -d $folder ] && [ $folder != "$1" ] || continue
  mount --bind $folder $folder && mount -o remount,bind,ro $folder
done
cd /proc
shift
exec "$@"
"""
CHOOSE = """
import tempfile
from ws_bridge.errors import ConfigError
from ws_bridge.processes.temporary import choose_directory
try:
    choose_directory()
    import ws_bridge.upstream.litellm.setup
    print(tempfile.gettempdir())
except ConfigError as refused:
    print(refused)
"""


def test_the_first_folder_that_takes_a_file_is_used(tmp_path):
    assert usable(("/proc", str(tmp_path / "missing"), str(tmp_path))) == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_the_error_names_what_is_needed(tmp_path):
    with pytest.raises(ConfigError, match=r"mount one at /tmp .* TMPDIR") as refused:
        usable(("/proc", str(tmp_path / "missing")))
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(("writable", "said"), [("/dev/shm", "/dev/shm"), ("", "mount one at")])  # noqa: S108
def test_on_a_read_only_root_litellm_is_imported_or_one_line_says_what_is_needed(writable, said):
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    environ = {key: value for key, value in os.environ.items() if key != "TMPDIR"}
    command = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", writable]
    ended = subprocess.run(  # noqa: S603 - our own program
        [*command, sys.executable, "-c", CHOOSE],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        env=environ,
        check=False,
    )
    (line,) = ended.stdout.splitlines() or [ended.stderr]
    assert said in line
