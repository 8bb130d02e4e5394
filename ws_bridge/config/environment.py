"""``WS_BRIDGE__SECTION__KEY`` of the environment as a layer over the file.

The texts become numbers, booleans and lists here, by pydantic-settings; a list is JSON. A list of
tables is one variable, such as ``WS_BRIDGE__MODELS``. No value is repeated in an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from ws_bridge.config.model import LISTS, PREFIX, SEPARATOR, Config, keys, variable_of


class Overrides(Config, BaseSettings):
    """The configuration as pydantic-settings reads it from variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=SEPARATOR)


def overrides(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The sections that variables set, and what is wrong with the variables, a line each."""
    source = EnvSettingsSource(Overrides)
    known = {*(variable_of((name,)) for name in LISTS), *(variable_of(place) for place in keys())}
    layer: dict[str, Any] = {}
    problems = []
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"is it {near[0]}? Else " if near else ""
            problems.append(f"{name}: there is no such key: {hint}unset the variable")
            continue
        source.env_vars = {name.lower(): text}
        try:
            found = source()
        except SettingsError:
            problems.append(f"{name}: its value is no JSON list: write it like ['one']")
            continue
        for section, value in found.items():
            layer[section] = value if isinstance(value, list) else layer.get(section, {}) | value
    return layer, problems
