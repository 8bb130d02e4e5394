"""A program on a root on which nothing can be written but one folder, as a user who owns nothing.

Rule: nothing of it is seen outside of the program's own mount namespace. Only root can make one.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOBODY = 65534

# `$1` is the folder. The kernel's own file systems stay as they are: nobody can write there.
MOUNTS = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0700,uid=$2,gid=$2 tmpfs "$1"
cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do
  case $place in
    /proc|/proc/*|/sys|/sys/*|"$1") ;;
    *) mount -o remount,bind,ro "$place" ;;
  esac
done
shift 2
cd /
exec "$@"
"""
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all", "--no-new-privs"),
)


def inside(folder: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs a command there; ``folder`` is empty then, and can be written."""
    mounts = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", str(folder), str(NOBODY)]
    return [*mounts, *AS_NOBODY, *command]


def beside(
    pid: int, command: Sequence[str], environ: Mapping[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """What became of another command, run where the process of that id is."""
    entered = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--wd=/", *AS_NOBODY, *command]
    return subprocess.run(  # noqa: S603 - programs of the tests
        entered, env=environ, capture_output=True, text=True, check=False, **options
    )
