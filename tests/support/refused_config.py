"""A configuration that is refused, and the one line that says why."""

from pathlib import Path

import pytest

from ws_bridge.config import load
from ws_bridge.errors import ConfigError

MODEL = '[[models]]\nname = "m"\nmodel = "openai/m"\n'


def refusals(
    path: Path | None, environ: dict[str, str] | None = None, **server: object
) -> list[str]:
    """What is wrong, a line each, without the file's name where it comes first."""
    with pytest.raises(ConfigError) as refused:
        load(path, environ or {}, **server)
    assert not any("\n" in line for line in refused.value.problems)
    source = f"{path or 'built-in configuration'}: "
    return [line.removeprefix(source) for line in refused.value.problems]


def refusal(path: Path | None, environ: dict[str, str] | None = None, **server: object) -> str:
    """The same of a file with one mistake: one mistake is one line."""
    (line,) = refusals(path, environ, **server)
    return line
