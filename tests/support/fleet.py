"""Bridge servers as processes of their own, to be ended, frozen and started again by tests.

Rule 1: a bridge keeps its address from its first start to its end, restarts included.
Rule 2: nothing here blocks the event loop for longer than a process takes to start or stop.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import aiohttp
from support.forkserver_stem import CONSTANTS
from support.hang import HANG_SECONDS
from support.redis_servers import Process
from support.tcp_proxy import ReservedPort
from upstreams import FakeProviders

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 0.02
LISTENING = re.compile(r"listening on (http://\S+)")

KEYS = {"KEY": "sk-operators-own-key"}

# family: what litellm is asked for, and the path of the provider's address
FAMILIES = {
    "native": ("openai/gpt-*", "/v1"),
    "chat": ("groq/m-*", "/v1"),
    "anthropic": ("anthropic/claude-*", ""),
}


def models_for(fake: FakeProviders, **fields: Any) -> list[dict[str, Any]]:
    """One entry a family (``native-*`` …) at the loopback providers; its key is in ``KEYS``."""
    return [
        {
            "name": f"{family}-*",
            "model": model,
            "api_base": fake.base_url + path,
            "api_key_env": "KEY",
            "retries": 0,
            **fields,
        }
        for family, (model, path) in FAMILIES.items()
    ]


def toml(config: Mapping[str, Any]) -> str:
    """A configuration as text: sections, lists of sections, and the values in them."""
    lines = []
    for name, section in config.items():
        is_list = isinstance(section, list | tuple)
        for table in section if is_list else [section]:
            lines.append(f"[[{name}]]" if is_list else f"[{name}]")
            lines += [f"{json.dumps(key)} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{json.dumps(key)} = {_value(each)}' for key, each in value.items())}}}"
        )
    return json.dumps(value, ensure_ascii=False)  # the rest is the same in both


def at_once(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration; a server with it closes its port when it is stopped, if it is not set."""
    return {**config, "server": {"lame_duck_seconds": 0, **config.get("server", {})}}


class Bridge:
    """``ws-bridge serve`` with a configuration, in a process.

    ``async with Bridge(config, environ) as bridge`` starts it and leaves nothing of it; it listens
    then, ``wait_ready`` says when it can begin a response. ``environ`` is added to this process's.
    ``constants`` of the product (module and name) have other values in it, where it is forked.
    """

    program = (sys.executable, "-m", "ws_bridge")
    process = Process  # how it is run: pytest's `conftest.py` has another way, which is quicker
    # What is left open: pytest's `conftest.py` sets it long.
    settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] = staticmethod(dict)
    constants: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
    ) -> None:
        constants = self.constants if constants is None else constants
        self._environ = _surroundings() | KEYS | dict(environ or {})
        self._environ |= {CONSTANTS: json.dumps(dict(constants))} if constants else {}
        self._config = at_once(self.settings(config or {}))
        self._reserved = ReservedPort()
        self._folder = tempfile.TemporaryDirectory(prefix="bridge-")
        self._log = Path(self._folder.name, "log")
        self._process: Process | None = None
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def ws_url(self) -> str:
        """Where sockets are opened."""
        return self.url.replace("http://", "ws://") + "/v1/responses"

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self._started.pid

    async def start(self) -> None:
        """Run it, for the first time or after its end; it listens when this returns."""
        assert not self._is_alive(), "it runs"
        known = len(self.log())
        self._process = await asyncio.to_thread(self._spawn)
        async with asyncio.timeout(HANG_SECONDS):
            while not LISTENING.search(self.log(), known):
                assert self._is_alive(), f"it ended with {self._process.exit_code}:\n{self.log()}"
                await asyncio.sleep(STEP_SECONDS)

    async def wait_ready(self) -> None:
        """Return when ``/readyz`` says yes. Raises ``TimeoutError``."""
        async with asyncio.timeout(HANG_SECONDS), aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                assert self._is_alive(), f"it ended with {self._started.exit_code}:\n{self.log()}"
                await asyncio.sleep(STEP_SECONDS)

    def hang_up(self) -> None:
        """Send it SIGHUP: it reads its configuration again."""
        os.kill(self._started.pid, signal.SIGHUP)

    def freeze(self) -> None:
        """Stop it: its sockets stand, it does nothing."""
        self._started.freeze()

    def thaw(self) -> None:
        """Let it go on, as if no time had passed."""
        self._started.thaw()

    async def kill(self) -> None:
        """End it as a crash would; it is gone when this returns."""
        await asyncio.to_thread(self._started.kill)

    async def terminate(self, seconds: float = HANG_SECONDS) -> int:
        """Ask it to end, and return its exit code. Raises ``TimeoutError`` if it stays."""
        try:
            return await asyncio.to_thread(self._started.terminate, seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it did not end within {seconds:g} s:\n{self.log()}") from None

    @property
    def config_file(self) -> Path:
        """What it reads when it starts, and when it is to reload."""
        return Path(self._folder.name, "config.toml")

    def rewrite(self, config: Mapping[str, Any]) -> None:
        """Have another configuration from its next start or reload on."""
        self._config = at_once(self.settings(config))
        self.config_file.write_text(toml(self._config), encoding="utf-8")

    def close(self) -> None:
        """End it, and remove its folder."""
        if self._process:
            self._process.end()
        self._folder.cleanup()
        self._reserved.release()

    def log(self) -> str:
        """What it printed so far, on both streams, in all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _started(self) -> Process:
        assert self._process is not None, "it was never started"
        return self._process

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    def _spawn(self) -> Process:
        config = self.config_file
        config.write_text(toml(self._config), encoding="utf-8")
        command = [*self.program, "serve", "--config", str(config)]
        if "listen" not in self._config.get("server", {}):
            command += ["--port", str(self._reserved.number)]
        return self.process(command, self._log, environ=self._environ, cwd=ROOT)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.get(self.url + "/readyz") as answer:
                return answer.status == 200
        return False


class Fresh(Bridge):
    """Started from nothing in any case, as operators start it."""

    process = Process
    constants: Mapping[str, float] = MappingProxyType({})


def _surroundings() -> dict[str, str]:
    """This process's environment without proxies, since all is loopback."""
    kept = {key: text for key, text in os.environ.items() if not key.lower().endswith("_proxy")}
    return kept | {"PYTHONUNBUFFERED": "1"}


@contextlib.asynccontextmanager
async def fleet(
    count: int, config: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[list[Bridge]]:
    """Bridges with one configuration, started side by side, all ready."""
    async with contextlib.AsyncExitStack() as ends:
        bridges = [Bridge(config, environ) for _ in range(count)]
        for bridge in bridges:
            ends.callback(bridge.close)
        await asyncio.gather(*(bridge.start() for bridge in bridges))
        await asyncio.gather(*(bridge.wait_ready() for bridge in bridges))
        yield bridges
