"""Settings from their three layers: the file, the environment over it, the command line over both.

Rule 1: an unknown key, a wrong type or a contradiction is a ``ConfigError``. It has a line for each
problem, which names the file or variable, the key, and the remedy.
Rule 2: the file is strict. Only texts of the environment are read as numbers, booleans and lists.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from ws_bridge.config.checks import problems_of
from ws_bridge.config.example import example
from ws_bridge.config.files import read_file
from ws_bridge.config.model import PREFIX, Config, variable_of
from ws_bridge.config.settings import Settings, read_secrets
from ws_bridge.errors import ConfigError

MOST_BYTES = 2**20  # of a file: tens of thousands of models

Layer = dict[str, Any]  # sections, as the file has them
Place = tuple[str | int, ...]  # of a value in a layer
SHORT_FORM = {"host", "port"}  # of `listen`


def load(
    path: Path | None, environ: Mapping[str, str] = os.environ, **server: str | int | None
) -> Settings:
    """Read and check a file; ``None`` is the package's own: the defaults, and the example's models.

    ``WS_BRIDGE__SECTION__KEY`` of the environment replaces a key, and ``server``, the values of the
    command line, those of ``[server]``. Raises ``ConfigError``.
    """
    source = str(path or "built-in configuration")
    given = {key: value for key, value in server.items() if value is not None}
    in_environment, problems = _environment(environ)
    layers = [_read(path, source), in_environment, {"server": given} if given else {}]
    problems += [f"{source}: {one}" for one in _two_forms(layers[0])]
    problems += [f"environment: {one}" for one in _two_forms(layers[1])]
    config, broken, more = _validated(_merged(layers), in_environment, source)
    secrets, unread = read_secrets(config, environ)
    found = (*unread, *problems_of(config, secrets, broken))
    problems += [*more, *(f"{source}: {one}" for one in found)]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return Settings(config, secrets)


def load_key(
    path: Path | None, section: str, key: str, environ: Mapping[str, str] = os.environ
) -> object:
    """One key as it is given; None if it is not. All else may be wrong. Raises ``ConfigError``."""
    in_environment, _ = _environment(environ)
    found = _merged([_read(path, str(path)), in_environment]).get(section)
    return found.get(key) if isinstance(found, dict) else None


def _environment(environ: Mapping[str, str]) -> tuple[Layer, list[str]]:
    if not any(name.startswith(PREFIX) for name in environ):
        return {}, []
    from ws_bridge.config import environment  # noqa: PLC0415 - its library takes a while to import

    return environment.overrides(environ)


def _read(path: Path | None, source: str) -> Layer:
    try:
        text = read_file(path, MOST_BYTES).decode() if path else example()
        return tomllib.loads(text)
    except OSError as unreadable:
        raise ConfigError(f"{source}: cannot be read ({unreadable.strerror})") from None
    except ValueError as broken:  # no TOML, no UTF-8, or a number of too many digits
        raise ConfigError(f"{source}: not valid TOML: {broken}") from None
    except RecursionError:
        raise ConfigError(f"{source}: not valid TOML: it is nested too deeply") from None


def _two_forms(layer: Layer) -> Iterator[str]:
    section = layer.get("server")
    if isinstance(section, dict) and section.get("listen") and SHORT_FORM & section.keys():
        yield (
            "key 'server.listen': 'server.host' and 'server.port' are its short form: "
            "keep 'listen' or those two"
        )


def _merged(layers: list[Layer]) -> Layer:
    """The layers over each other, key by key; a list of tables is replaced as a whole."""
    merged: Layer = {}
    for layer in layers:
        for name, section in layer.items():
            below = merged.get(name, {})
            if not isinstance(section, dict):
                merged[name] = section
                continue
            if not isinstance(below, dict):  # an error, which must not be hidden
                continue
            replaced = set()
            if name == "server":  # one form of the addresses replaces the other
                replaced |= {"listen"} if SHORT_FORM & section.keys() else set()
                replaced |= SHORT_FORM if section.get("listen") else set()
            kept = {key: value for key, value in below.items() if key not in replaced}
            merged[name] = kept | section
    return merged


def _validated(
    raw: Layer, in_environment: Layer, source: str
) -> tuple[Config, set[str], list[str]]:
    """The configuration, the sections that have errors and are left out of it, and the errors."""
    try:
        # Through JSON, because there a strict tuple may be written as a list.
        return Config.model_validate_json(orjson.dumps(raw)), set(), []
    except orjson.JSONEncodeError as strange:  # a number beyond 64 bits, or too deep nesting
        raise ConfigError(f"{source}: not a configuration: {strange}") from None
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_input=False, include_context=False)
    by_key: dict[str, str] = {}  # of a key with several types the first one's error
    for error in errors:
        key = _key(place := error["loc"])
        home = variable_of(place) if _holds(in_environment, place) else source
        by_key.setdefault(key, f"{home}: {_problem(key, error['type'], error['msg'])}")
    broken = {str(error["loc"][0]) for error in errors}
    whole = {name: section for name, section in raw.items() if name not in broken}
    return Config.model_validate_json(orjson.dumps(whole)), broken, list(by_key.values())


def _holds(layer: Any, place: Place) -> bool:
    """Whether the value at a place comes from this layer."""
    section = layer.get(place[0])
    return section is not None and (
        len(place) == 1 or not isinstance(section, dict) or place[1] in section
    )


def _key(place: Place) -> str:
    key = ""
    for part in place:
        if isinstance(part, str) and "[" in part:
            break  # the name of one of several possible types, not of a key
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return key.lstrip(".")


def _problem(key: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"unknown key '{key}': remove it or correct its spelling"
    return f"key '{key}': {message.removeprefix('Value error, ')}"
