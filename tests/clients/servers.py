"""The two servers of a run, as subprocesses: loopback providers, and the bridge before them.

They run in the project's own environment (``BRIDGE_PYTHON``): the clients need another openai.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hang import HANG_SECONDS

HERE = Path(__file__).parent
REPO = HERE.parents[1]
PYTHON = os.environ.get("BRIDGE_PYTHON", str(REPO / ".venv/bin/python"))
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")

KEY, OTHER_KEY = "client-key-one", "client-key-two"
ENVIRONMENT = {"CLIENT_KEYS": f"{KEY},{OTHER_KEY}", "PROVIDER_KEY": "provider-key"}


@dataclass(frozen=True)
class Family:
    """A kind of provider: how clients call its models, and litellm, and where its API begins."""

    name: str
    route: str
    path: str

    def model(self, scenario: str) -> str:
        """The model whose answers follow a scenario of the loopback providers."""
        return f"{self.name}-{scenario}"

    def entries(self, providers: str) -> str:
        """The family's wildcard, and one model with a plain name."""
        target = f'api_base = "{providers}{self.path}"\napi_key_env = "PROVIDER_KEY"\nretries = 0\n'
        return "".join(
            f'[[models]]\nname = "{self.name}{end}"\nmodel = "{self.route}{model}"\n{target}'
            for end, model in (("-*", "*"), ("", "text"))
        )


FAMILIES = (
    Family("native", "openai/", "/v1"),
    Family("chat", "groq/", "/v1"),
    Family("claude", "anthropic/claude-", ""),
)


@dataclass(frozen=True)
class Bridge:
    """A running bridge."""

    address: str

    @property
    def url(self) -> str:
        return f"{self.address}/v1"


@dataclass(frozen=True)
class Gate:
    """A model whose every stream waits before one of its events until it is released, once."""

    providers: Server
    family: Family
    scenario: str

    @property
    def model(self) -> str:
        return self.family.model(self.scenario)

    def release(self) -> None:
        """Let its streams go on, those to come too."""
        self.providers.tell("release " + self.family.route.partition("/")[2] + self.scenario)


class Server:
    """A process of the project that says where it listens; its later words go to stderr."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own code
            (PYTHON, *arguments),
            cwd=REPO,
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        """Read to the line that names it."""
        for line in self._lines:
            if said := LISTENING.search(line):
                return said.group(1)
            sys.stderr.write(line)
        raise AssertionError(f"{self._process.args} ended before it listened")

    def tell(self, line: str) -> None:
        """Say a line, and wait for the answer, which is the same."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._lines.readline() == line + "\n"

    def pass_on(self) -> None:
        """Nobody reads the pipe any more, and a full one would stop the server."""
        threading.Thread(target=sys.stderr.writelines, args=(self._lines,), daemon=True).start()

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=HANG_SECONDS)
        finally:
            self._process.kill()

    @property
    def _lines(self) -> TextIO:
        assert self._process.stdout is not None
        return self._process.stdout


@contextmanager
def running(*arguments: str) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.end()


UNLIMITED = "[limits]\nconnections_per_key = 0\nrunning_per_key = 0\ncreates_per_minute = 0\n"


def config(providers: str) -> str:
    models = "\n".join(family.entries(providers) for family in FAMILIES)
    keys = '[auth]\nkeys_env = ["CLIENT_KEYS"]\n'
    return f"[server]\nport = 0\ndrain_seconds = 2\n{keys}{UNLIMITED}{models}"
