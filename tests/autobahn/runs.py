"""The fuzzing client's environment, and a run of it against the bridge that says all back."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from support.fleet import Fresh

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[1] / ".venv-autobahn"
PYTHON = ENVIRONMENT / "bin" / "python"
BUILT = ENVIRONMENT / ".installed"
SUITE = "autobahntestsuite==25.10.1"
LIBRARIES = ("autobahn==0.10.9", "twisted<24")  # the last ones that the cases run on
SIDE_BY_SIDE = 3
SECONDS = 600
# The cases send 65,536 fragments, and 1,000 empty messages in a row.
CONFIG = {
    "limits": {"message_fragments": 1_000_000, "control_frames": 1_000_000},
    "models": [{"name": "demo", "model": "demo/demo"}],
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case."""

    id: str
    behavior: str
    close: str
    result: str

    @property
    def kind(self) -> int:
        return int(self.id.partition(".")[0])

    @property
    def verdict(self) -> str:
        """The worse of what it did and how it closed."""
        well = ("OK", "INFORMATIONAL")
        return self.behavior if self.close in well else "FAILED"


class Echo(Fresh):
    """`ws-bridge serve` with the sockets of ``echo.py``."""

    program = (sys.executable, str(HERE / "echo.py"))


async def run(cases: str) -> list[Result]:
    """The results of the cases, in no order."""
    async with Echo(CONFIG) as echo:
        await echo.wait_ready()
        arguments = [HERE / "client.py", echo.ws_url, cases, str(SIDE_BY_SIDE)]
        client = await asyncio.create_subprocess_exec(
            PYTHON, *arguments, env={"PYTHONPATH": str(ENVIRONMENT)}, stdout=subprocess.PIPE
        )
        try:
            said, _ = await asyncio.wait_for(client.communicate(), SECONDS)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
    found = json.loads(said)
    return [Result(one["id"], one["behavior"], one["close"], one["result"]) for one in found]


def is_built() -> bool:
    """Whether the client can be run as it is."""
    return BUILT.exists()


def build() -> None:
    """Make the environment: the cases come as source of Python 2, and are made to run."""
    if not is_built():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        _call(sys.executable, "-m", "venv", ENVIRONMENT)
        _pip("install", "setuptools<81", "wheel")
        _pip("install", "--no-build-isolation", *LIBRARIES)
        _unpack()
        _call(PYTHON, "-W", "ignore", HERE / "port.py")
        BUILT.touch()


def _unpack() -> None:
    with TemporaryDirectory() as folder:
        _pip("download", "--no-deps", "--no-binary", ":all:", "-d", folder, SUITE)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (source,) = Path(folder).glob("*/autobahntestsuite")
        for name in ("case", "testdata"):
            shutil.copytree(source / name, ENVIRONMENT / name)
        shutil.copy(source / "caseset.py", ENVIRONMENT)


def _pip(*arguments: str) -> None:
    _call(PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _call(*command: str | Path) -> None:
    where = ENVIRONMENT if ENVIRONMENT.exists() else HERE
    subprocess.run(command, check=True, cwd=where)  # noqa: S603 - commands of this file
