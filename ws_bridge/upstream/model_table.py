"""The model table: what a client asks for → which provider, with which settings.

Rule 1: the operator's table decides; nothing a client sends changes an address or a key.
Rule 2: an exact name goes before a wildcard, a longer wildcard before a shorter one.
Rule 3: entries of one name share its load; each fallback is a name, looked up by the same rules.
Rule 4: what a client puts in the place of a `*` is one plain name at the provider: it cannot become
another path, a query or a fragment of the address that is asked with the operator's key.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ws_bridge.config import Config, ModelEntry, Secrets, match_wildcard
from ws_bridge.errors import ConfigError, ModelNotFound
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.profiles import CHAT_ONLY, profile_of

LONGEST_STAR = 128  # characters; providers' names are shorter than half of that
SEGMENT = r"(?!\.+(?:/|\Z))[A-Za-z0-9._:@+\-]+"  # not of dots alone
STAR = re.compile(rf"(?!.*\.\.){SEGMENT}(?:/{SEGMENT})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """One entry of the table: on with a target, or off with the reason."""

    name: str
    target: Target | None
    off_reason: str = ""
    fallbacks: tuple[str, ...] = ()

    @property
    def is_wildcard(self) -> bool:
        """Whether the entry stands for many names."""
        return "*" in self.name


REMEMBERED = 1024  # names; clients make up those of a wildcard


@dataclass(frozen=True, slots=True)
class Group:
    """The entries that serve one name, and the names to try after them."""

    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...]


class ModelTable:
    """The table. It changes as a whole: what was found in it before stays as it was."""

    def __init__(self, routes: Iterable[ModelRoute]) -> None:
        self.replace(routes)

    def replace(self, routes: Iterable[ModelRoute]) -> None:
        """Have these routes from now on."""
        self.all = tuple(routes)
        named: dict[str, list[ModelRoute]] = defaultdict(list)
        for route in self.all:
            if route.target:
                named[route.name].append(route)
        self._named = named
        self._wildcards = sorted(
            (name for name in self._named if "*" in name), key=lambda n: -len(n)
        )
        self._group = lru_cache(maxsize=REMEMBERED)(self._group_named)

    def find(self, model: str, maker: str = "") -> Target:
        """One target for a client's model name: of that maker if there is one, else the first.

        Raises ``ModelNotFound``.
        """
        targets = [target for group in self.candidates(model) for target in group]
        return next((target for target in targets if target.maker == maker), targets[0])

    def candidates(self, model: str) -> Sequence[Sequence[Target]]:
        """The targets that can answer: the name's own, then its fallbacks', each name once.

        Raises ``ModelNotFound``.
        """
        groups: dict[str, Sequence[Target]] = {}
        names = deque([model])
        while names:
            name = names.popleft()
            group = None if name in groups else self._group(name)
            if group is not None:
                groups[name] = group.targets
                names += group.fallbacks
        if model not in groups:
            raise ModelNotFound(model)
        return list(groups.values())

    def targets(self) -> list[Target]:
        """The targets of the enabled entries; wildcards as they are written."""
        return [route.target for route in self.all if route.target]

    def names(self, known_models: Callable[[str], Iterable[str]]) -> list[str]:
        """The names that clients can ask for; of a wildcard those of its provider's known models.

        A server of the operator's own has models that are not known.
        """
        names: dict[str, None] = {}
        for name, routes in self._named.items():
            if "*" not in name:
                names[name] = None
                continue
            targets = [route.target for route in routes if route.target]
            for target in (one for one in targets if not one.api_base):
                models = known_models(target.model.partition("/")[0])
                stars = filter(is_plain, (match_wildcard(target.model, one) for one in models))
                names |= dict.fromkeys(_with(star, name) for star in stars)
        return list(names)

    def _group_named(self, model: str) -> Group | None:
        if "*" not in model and model in self._named:
            return _group_of(self._named[model], model, "")
        for name in self._wildcards:
            if star := match_wildcard(name, model):
                return _group_of(self._named[name], model, star) if is_plain(star) else None
        return None


def _group_of(routes: Sequence[ModelRoute], name: str, star: str) -> Group:
    targets = (route.target for route in routes if route.target)
    named = (replace(one, name=name, model=_with(star, one.model)) for one in targets)
    fallbacks = (_with(star, name) for route in routes for name in route.fallbacks)
    return Group(tuple(named), tuple(dict.fromkeys(fallbacks)))


def is_plain(star: str) -> bool:
    """Whether a `*` may stand for it: segments of a name, none of them empty or only dots."""
    return len(star) <= LONGEST_STAR and STAR.fullmatch(star) is not None


def _with(star: str, name: str) -> str:
    return name.replace("*", star) if star else name


def build(config: Config, secrets: Secrets) -> ModelTable:
    """The table of a configuration; entries without their key are off. Raises ``ConfigError``."""
    return ModelTable(_route(config, entry, secrets) for entry in config.models)


def _route(config: Config, entry: ModelEntry, secrets: Secrets) -> ModelRoute:
    if reason := entry.off_reason(secrets):
        return ModelRoute(entry.name, None, reason)
    provider, _, name = entry.model.partition("/")
    is_chat_only = entry.via == "litellm" and name.startswith(CHAT_ONLY)
    if is_chat_only and profile_of(provider).names_itself_in_chat:
        raise ConfigError(
            f"key 'models.via' of '{entry.name}': litellm asks '{entry.model}' by another name: "
            "remove 'via'"
        )
    target = Target(
        name=entry.name,
        model=entry.model,
        api_base=entry.api_base,
        api_key=secrets.get(entry.api_key, ""),
        timeout_seconds=entry.timeout_seconds,
        stall_seconds=entry.stall_seconds,
        retries=entry.retries,
        native_background=entry.name in config.background.native_models,
        report_cost=config.server.report_cost,
        drop_params=entry.drop_params,
        prompt_cache=entry.prompt_cache,
        ws_lanes=entry.ws_lanes,
        pass_traceparent=entry.pass_traceparent,
        mode=entry.mode,
        via=entry.via,
        most_bytes=config.limits.response_mib * 2**20,
        account=_account(entry.account or entry.api_key),
        entry=entry.name,
    )
    return ModelRoute(entry.name, target, fallbacks=entry.fallbacks)


def _account(name: str) -> str:
    """A digest of the account's name: unless it has its own, where its key stands.

    Equal for all entries of one account. It is stored with every response, as a part of `maker`.
    """
    return hashlib.sha256(name.encode()).hexdigest()[:8] if name else ""
