"""The Codex CLI as a process: `codex exec` in a folder of its own, at a provider or a bridge."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.fleet import toml
from support.hang import HANG_SECONDS
from support.snippets import surroundings

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-node" / "node_modules" / ".bin" / "codex"
QUESTION = "Do what is to be done."
KEY = "CODEX_TEST_KEY"  # the variable with the key


@dataclass(frozen=True)
class Codex:
    """One installation: its home with the configuration, and the folder that it works in."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def settle(self, base_url: str, model: str, *, is_http: bool, tools: dict[str, Any]) -> None:
        """Write the configuration. ``tools``: more tables of it."""
        home = self.folder / "home"
        for folder in (home, self.work):
            folder.mkdir()
        provider = {
            "name": "bridge",
            "base_url": f"{base_url}/v1",
            "env_key": KEY,
            "wire_api": "responses",
            "supports_websockets": not is_http,
        }
        config = {
            "model": model,
            "model_provider": "bridge",
            # Its sandbox needs what not every machine has; the folder is thrown away.
            "sandbox_mode": "danger-full-access",
            "check_for_update_on_startup": False,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in config.items()]
        tables = {"model_providers.bridge": provider, "analytics": {"enabled": False}, **tools}
        text = "\n".join(lines) + "\n" + toml(tables)
        (home / "config.toml").write_text(text, encoding="utf-8")

    async def run(self, key: str) -> str:
        """Its last message. Raises ``AssertionError`` with what it said if it fails."""
        program = await asyncio.create_subprocess_exec(
            str(PROGRAM),
            *("exec", "--skip-git-repo-check", QUESTION),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=surroundings({"CODEX_HOME": str(self.folder / "home"), KEY: key}),
            cwd=self.work,
        )
        try:
            async with asyncio.timeout(2 * HANG_SECONDS):
                out, err = await program.communicate()
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
        said = out.decode().strip()
        assert program.returncode == 0, f"{said}\n{err.decode()}"
        return said


def weather(notes: Path) -> dict[str, Any]:
    """The tables of the MCP server."""
    server = {"command": sys.executable, "args": [str(ROOT / "tests/codex/weather.py"), str(notes)]}
    return {"mcp_servers.weather": server | {"required": True}}  # it is there in the first turn
