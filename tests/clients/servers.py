"""The two servers of a run, as subprocesses: loopback providers, and the bridge before them.

They run in the project's own environment (``BRIDGE_PYTHON``): the clients need another openai.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

REPO = Path(__file__).parents[2]
PYTHON = os.environ.get("BRIDGE_PYTHON", str(REPO / ".venv/bin/python"))
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")

KEY, OTHER_KEY = "client-key-one", "client-key-two"
ENVIRONMENT = {"CLIENT_KEYS": f"{KEY},{OTHER_KEY}", "PROVIDER_KEY": "provider-key"}


@dataclass(frozen=True)
class Family:
    """A kind of provider: how models are called, and which event dialect litellm sees."""

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
class Providers:
    """The running loopback providers, and their levers."""

    address: str

    def release(self, name: str) -> None:
        """Let every stream of that gate go on."""
        self._post(f"/_release/{name}")

    def _post(self, path: str) -> None:
        request = urllib.request.Request(self.address + path, method="POST")  # noqa: S310  loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  loopback
            answer.read()


def config(providers: str) -> str:
    models = "\n".join(family.entries(providers) for family in FAMILIES)
    return f'[server]\nport = 0\n[auth]\nkeys_env = ["CLIENT_KEYS"]\n{models}'


@contextmanager
def running(*arguments: str) -> Iterator[str]:
    """The address that a module of the project prints when it listens; ended on the way out."""
    process = subprocess.Popen(  # noqa: S603  our own module
        (PYTHON, "-m", *arguments),
        cwd=REPO,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    """Read to the line that says where it listens; what is said later goes the way of stderr."""
    assert process.stdout is not None
    for line in process.stdout:
        if said := LISTENING.search(line):
            threading.Thread(target=_pass_on, args=(process.stdout,), daemon=True).start()
            return said.group(1)
        sys.stderr.write(line)
    raise AssertionError(f"{process.args} ended before it listened")


def _pass_on(lines: TextIO) -> None:
    """Nobody else reads the pipe, and a full one would stop the server."""
    for line in lines:
        sys.stderr.write(line)
