"""The README's blocks run as they stand; only the bridge's address is replaced."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import snippets
from support.fleet import Fresh
from support.hang import HANG_SECONDS
from support.snippets import ADDRESS, ROOT, of_kind
from support.tcp_proxy import ReservedPort

PAGE = snippets.read((ROOT / "README.md").read_text(encoding="utf-8"))
_, OWN = of_kind(PAGE, "console")
[PYTHON] = of_kind(PAGE, "python")
LINES = [line.removeprefix("$ ") for line in OWN.text.splitlines()]
PORT = ADDRESS.rpartition(":")[2]
END = "§"  # after what a line has printed


class Terminal:
    """A shell that is given one line after the other, as a person would."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, line: str) -> tuple[int, str]:
        """The exit status, and what was printed on either stream."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\nprintf '{END} %s\\n' $?\n".encode())
        said = await self.read(f"{END} ")
        code = await self.read("\n")
        return int(code), said.removesuffix(f"{END} ")

    async def read(self, mark: str) -> str:
        """What comes, to the end of a mark."""
        assert self._process.stdout
        async with asyncio.timeout(HANG_SECONDS):
            return (await self._process.stdout.readuntil(mark.encode())).decode()


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    """In a folder like the checkout after `make serve`, without keys of providers."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    environ = snippets.surroundings({"PYTHONUNBUFFERED": "1"})
    environ = {name: text for name, text in environ.items() if not name.endswith("_API_KEY")}
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
        cwd=tmp_path,
    )
    shell = Terminal(process)
    yield shell
    await shell.run("kill %1; wait %1")
    process.kill()
    await process.wait()


async def test_a_bridge_of_ones_own_in_ten_lines(terminal: Terminal, tmp_path: Path) -> None:
    assert len(LINES) == 10
    said = {}
    reserved = ReservedPort()
    for line in LINES:
        placed = line.replace(PORT, str(reserved.number))
        code, said[line.partition("#")[0].strip()] = await terminal.run(placed)
        assert code == 0, said
        if line.startswith("ws-bridge serve"):
            await terminal.read("listening on ")
    assert "ok   demo" in said["ws-bridge check"]
    [chat] = [text for line, text in said.items() if "ws-bridge chat" in line]
    assert "Noted: your name is Ada." in chat
    assert (tmp_path / "my-bridge/config.toml").is_file()
    [talk] = [line for line in LINES if "ws-bridge chat" in line]
    for key, is_let_in in (("EVE_KEY", True), ("HOME", False)):
        line = talk.replace(PORT, str(reserved.number)).replace("ADA_KEY", key)
        code, text = await terminal.run(line)
        assert (code == 0) is is_let_in, text
    reserved.release()


async def test_the_snippet_of_the_official_sdk_prints_the_answer(tmp_path: Path) -> None:
    demo = [{"name": "demo", "model": "demo/demo", "drop_params": True}]
    async with Fresh({"models": demo}) as bridge:
        await bridge.wait_ready()
        text = PYTHON.text.replace(ADDRESS, bridge.url.removeprefix("http://"))
        environ = snippets.surroundings({})
        said = await snippets.run([sys.executable], text, environ, tmp_path)
    assert "Noted: your name is Ada." in said
