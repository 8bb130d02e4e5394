"""A program on a root on which nothing can be written but one folder, as a user who owns nothing.

Rule: nothing of it is seen outside of the program's own mount namespace. Only root can make one.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOBODY = 65534

# `$1` is the folder, `$2` its owner, `$3` where this Python is, `$4` a folder above that which only
# root may enter, if there is one: an empty one takes its place, with Python in it.
# The kernel's own file systems stay as they are: nobody can write there.
MOUNTS = """
set -e
mount --make-rprivate /
if [ -n "$4" ]; then
  mount --bind "$3" "$1"
  mount -t tmpfs -o mode=0755 tmpfs "$4"
  mkdir -p "$3"
  mount --move "$1" "$3"
fi
mount -t tmpfs -o mode=0700,uid=$2,gid=$2 tmpfs "$1"
cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do
  case $place in
    /proc|/proc/*|/sys|/sys/*|"$1") ;;
    *) mount -o remount,bind,ro "$place" ;;
  esac
done
shift 4
cd /
exec "$@"
"""
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all", "--no-new-privs"),
)


def inside(folder: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs a command there; ``folder`` is empty then, and can be written."""
    python = Path(sys.base_prefix).resolve()
    closed = [str(each) for each in python.parents if not each.stat().st_mode & 0o001]
    places = (str(folder), str(NOBODY), str(python), closed[-1] if closed else "")
    return ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", *places, *AS_NOBODY, *command]


def beside(
    pid: int, command: Sequence[str], environ: Mapping[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """What became of another command, run where the process of that id is."""
    entered = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--wd=/", *AS_NOBODY, *command]
    return subprocess.run(  # noqa: S603 - programs of the tests
        entered, env=environ, capture_output=True, text=True, check=False, **options
    )
