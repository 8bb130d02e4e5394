"""The model table: what a client asks for → which provider, with which settings.

Rule 1: the operator's table decides; nothing a client sends changes an address or a key.
Rule 2: an exact name goes before a wildcard, a longer wildcard before a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ws_bridge.config import Config, ModelEntry
from ws_bridge.errors import ModelNotFound
from ws_bridge.upstream.base import Target


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the table: on with a target, or off with the reason."""

    name: str
    target: Target | None
    off_reason: str = ""

    @property
    def is_wildcard(self) -> bool:
        """Whether the entry stands for many names."""
        return "*" in self.name


class Routes:
    """The table; built once, never changed."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        on = [route for route in self.all if route.target]
        self._exact = {route.name: route for route in on if not route.is_wildcard}
        wildcards = (route for route in on if route.is_wildcard)
        self._wildcards = sorted(wildcards, key=lambda route: -len(route.name))

    def find(self, model: str) -> Target:
        """The target for a client's model name. Raises ``ModelNotFound``."""
        if route := self._exact.get(model):
            return _target(route)
        for route in self._wildcards:
            head, _, tail = route.name.partition("*")
            if len(model) > len(head) + len(tail) and model.startswith(head):
                if not model.endswith(tail):
                    continue
                star = model[len(head) : len(model) - len(tail)]
                target = _target(route)
                return replace(target, name=model, model=target.model.replace("*", star))
        raise ModelNotFound(model)

    def targets(self) -> list[Target]:
        """Whom the enabled entries ask; wildcards as they are written."""
        return [route.target for route in self.all if route.target]

    def names(self) -> list[str]:
        """The names clients can ask for; wildcards as they are written."""
        return [route.name for route in self.all if route.target]


def _target(route: Route) -> Target:
    if route.target is None:
        raise ModelNotFound(route.name)
    return route.target


def build(config: Config, environ: Mapping[str, str]) -> Routes:
    """The table of a configuration; entries without their key are off."""
    return Routes(_route(config, entry, environ) for entry in config.models)


def _route(config: Config, entry: ModelEntry, environ: Mapping[str, str]) -> Route:
    if reason := entry.off_reason(environ):
        return Route(entry.name, None, reason)
    target = Target(
        name=entry.name,
        model=entry.model,
        api_base=entry.api_base,
        api_key=environ.get(entry.api_key_env, "") if entry.api_key_env else "",
        timeout_seconds=entry.timeout_seconds,
        stall_seconds=entry.stall_seconds,
        retries=entry.retries,
        native_background=entry.name in config.background.native_models,
        report_cost=config.server.report_cost,
        drop_params=entry.drop_params,
    )
    return Route(entry.name, target)
