"""The files of `examples/` as processes: what runs each of them, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from support.hang import HANG_SECONDS
from support.snippets import ADDRESS, ROOT, surroundings

FOLDER = ROOT / "examples"
PACKAGES = ROOT / ".venv-node"
COMMANDS = {".py": (sys.executable,), ".mjs": ("node",), ".sh": ("bash",)}
PAGE_DRIVER = Path(__file__).parent / "example_page.py"


@dataclass(frozen=True)
class Outcome:
    """How a process ended."""

    exit_code: int
    out: str
    err: str


@contextlib.asynccontextmanager
async def started(name: str, variables: Mapping[str, str]) -> AsyncIterator[Running]:
    """A file of the folder, started; it is gone when this is left. Node finds its packages."""
    with TemporaryDirectory(dir=PACKAGES if name.endswith(".mjs") else None) as folder:
        environ = surroundings(variables)
        command = _command(name, Path(folder), environ)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
            cwd=folder,
            start_new_session=True,
        )
        running = Running(process)
        try:
            yield running
        finally:
            await running.end()


class Running:
    """A process, which is read from its start on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said = asyncio.create_task(process.communicate())

    async def outcome(self) -> Outcome:
        """How it ended. Raises ``TimeoutError`` if it does not end."""
        async with asyncio.timeout(HANG_SECONDS):
            out, err = await asyncio.shield(self.said)
        code = self._process.returncode
        assert code is not None
        return Outcome(code, out.decode(), err.decode())

    def interrupt(self) -> None:
        """Have it end as its own limit would."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def end(self) -> None:
        """End it, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.said


def _command(name: str, folder: Path, environ: dict[str, str]) -> list[str]:
    """The command that runs an example in a folder, which gets what it needs."""
    path = FOLDER / name
    if path.is_dir():
        return _codex(path, folder, environ)
    if path.suffix == ".html":
        return [sys.executable, str(PAGE_DRIVER), environ["PAGES"] + name]
    copy = shutil.copy(path, folder)
    return [*COMMANDS[path.suffix], str(copy)]


def _codex(path: Path, folder: Path, environ: dict[str, str]) -> list[str]:
    """Codex in a copy of the example, with its configuration as its home's."""
    home = folder / "home"
    home.mkdir()
    shutil.copy(path / "weather.py", folder)
    host = environ["OPENAI_BASE_URL"].removeprefix("http://").removesuffix("/v1")
    config = (path / "config.toml").read_text(encoding="utf-8").replace(ADDRESS, host)
    (home / "config.toml").write_text(config, encoding="utf-8")
    environ["CODEX_HOME"] = str(home)
    environ["PATH"] = f"{PACKAGES / 'node_modules/.bin'}{os.pathsep}{environ['PATH']}"
    return ["sh", str(path / "run.sh")]
