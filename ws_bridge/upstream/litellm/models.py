"""What litellm knows of models: their dialect, whether they reason, and the entries it lacks.

Rule 1: this module decides in which dialect a model is asked, and whether litellm may stream it.
Rule 2: names that clients make up leave nothing behind: an entry of ours is in the price map alone,
the latest `WILDCARD_NAMES` stay, and litellm's memory of a name is bounded.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.writing import ModelFacts
from ws_bridge.upstream.litellm import internals
from ws_bridge.upstream.litellm.setup import litellm
from ws_bridge.upstream.prices import PriceRow
from ws_bridge.upstream.profiles import CHAT_ONLY, profile_of

WILDCARD_NAMES = 1024  # clients make these up: only the latest stay registered

# A native model that the price map does not know would not be streamed, but awaited and then cut
# into pieces (https://github.com/BerriAI/litellm/issues/21090).
NATIVE_ENTRY: Json = {
    "mode": "responses",
    "supports_native_streaming": True,
    "supports_reasoning": True,  # else `reasoning` is refused before the provider sees it
}
# With it, litellm does not ask a provider about a model, which would block the event loop.
FREE_ENTRY: Json = {
    "mode": "chat",
    "max_tokens": 8192,
    "input_cost_per_token": 0.0,
    "output_cost_per_token": 0.0,
}

TEXT_MODES = ("chat", "responses")  # of the price map: models that answer in text
RESPONSES = "responses"  # the family of providers with a Responses API
CONVERSE = "bedrock"  # the family that is asked by Converse

_BedrockModels = internals.load(internals.BEDROCK_MODELS)
_ProviderConfigs = internals.load(internals.PROVIDER_CONFIGS)
_known: OrderedDict[str, None] = OrderedDict()  # names registered at their first call
_ours: set[str] = set()  # names whose entry is ours, and says nothing about the model


@lru_cache(maxsize=WILDCARD_NAMES)
def is_native(model: str) -> bool:
    """Whether the model's provider is asked in its Responses API."""
    name, provider = split(model)
    if name.startswith(CHAT_ONLY):
        return False
    with suppress(Exception):  # litellm's list has no custom providers
        found = internals.RESPONSES_CONFIG.of(_ProviderConfigs)(provider, model=name)
        return found is not None
    return False


def family_of(target: Target) -> str:
    """The family in whose dialect the target is asked; "": litellm opens the call."""
    return "" if target.via == "litellm" else _family(target.model)


@lru_cache(maxsize=WILDCARD_NAMES)
def _family(model: str) -> str:
    name, provider = name_of(model)
    profile = profile_of(provider)
    if profile.speaks_plain_responses and is_native(model):
        return RESPONSES
    if not re.fullmatch(profile.names, name):
        return ""
    route = split(model)[0]
    if profile.dialect == CONVERSE and _BedrockModels.get_bedrock_route(route) != "converse":
        return ""
    return profile.dialect


def name_of(model: str) -> tuple[str, str]:
    """The model's name as its provider knows it, and the provider."""
    name, provider = split(model)
    for prefix in (CHAT_ONLY, *profile_of(provider).routes):
        name = name.removeprefix(prefix)
    return name, provider


def facts_of(target: Target) -> ModelFacts:
    """What the price map knows of the model."""
    return _facts(target.model)


@lru_cache(maxsize=WILDCARD_NAMES)
def _facts(model: str) -> ModelFacts:
    name, provider = name_of(model)
    info = _info(name, provider)
    if info is None:
        return ModelFacts(name, provider)
    # An entry that was guessed from the name says what a model can do, not what it cannot.
    is_listed = not {name, f"{provider}/{name}"}.isdisjoint(litellm.model_cost)
    most = info.get("max_output_tokens")
    return ModelFacts(
        name,
        provider,
        bool(info.get("supports_reasoning")) or (False if is_listed else None),
        most if isinstance(most, int) and most > 0 else None,
        streams=info.get("supports_native_streaming") is not False,
    )


def prices_of(target: Target) -> PriceRow | None:
    """The prices of the target's model; None if they are not known."""
    return _prices(target.model)


@lru_cache(maxsize=WILDCARD_NAMES)
def _prices(model: str) -> PriceRow | None:
    name, provider = name_of(model)
    info = _info(name, provider)
    return None if info is None else PriceRow.of(litellm.model_cost.get(info["key"]) or {})


def _info(name: str, provider: str) -> Json | None:
    """The price map's entry of a model; None if it has none of litellm's own.

    For some providers litellm would ask a server, blocking: their models are not looked up.
    """
    if profile_of(provider).is_asked_for_models or f"{provider}/{name}" in _ours:
        return None
    try:
        info: Json = litellm.get_model_info(name, custom_llm_provider=provider)
    except Exception:  # noqa: BLE001 - it raises a bare one for a model it does not know
        return None
    return info


@lru_cache(maxsize=WILDCARD_NAMES)
def known_models(provider: str) -> tuple[str, ...]:
    """The models of a provider that answer in text and stand in the price map."""
    names = (
        key.removeprefix(f"{provider}/")
        for key, entry in litellm.model_cost.items()
        if entry.get("litellm_provider") == provider
        and entry.get("mode") in TEXT_MODES
        and key not in _ours
    )
    return tuple(sorted({f"{provider}/{name}" for name in names}))


def register(targets: Iterable[Target]) -> None:
    """Register the table's models with litellm; a wildcard's names follow at their first call."""
    for target in targets:
        if "*" not in target.model:
            _register(target.model)


def register_at_first_call(model: str) -> None:
    """Register a name that a client has made up; the oldest of many are forgotten."""
    if model in _known:
        _known.move_to_end(model)
        return
    _known[model] = None
    _register(model)
    if len(_known) > WILDCARD_NAMES:
        _forget(_known.popitem(last=False)[0])


def _register(model: str) -> None:
    name, provider = split(model)
    key = f"{provider}/{name}"
    if profile_of(provider).is_asked_for_models:
        entry, is_known = FREE_ENTRY, key in litellm.model_cost
    else:
        entry, is_known = NATIVE_ENTRY, not is_native(model) or _info(name, provider) is not None
    if not is_known and key not in _ours:
        _ours.add(key)
        _write(key, {"litellm_provider": provider, **entry})


def _write(key: str, entry: Json) -> None:
    """The whole entry, into the price map alone.

    `litellm.register_model` would merge it into an older one, add the name to sets that only grow,
    and rebuild an index of all 5,000 names for each one that is added.
    """
    litellm.model_cost[key] = dict(entry)


def _forget(model: str) -> None:
    name, provider = split(model)
    key = f"{provider}/{name}"
    if key in _ours:
        _ours.discard(key)
        litellm.model_cost.pop(key, None)


def split(model: str) -> tuple[str, str]:
    """The model's name at its provider, and the provider, as litellm reads them."""
    with suppress(Exception):  # an unknown provider: the call itself will fail
        name, provider, *_ = litellm.get_llm_provider(model)
        return name, provider
    provider, _, name = model.partition("/")
    return name, provider
