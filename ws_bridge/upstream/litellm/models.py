"""What litellm knows of models: their dialect, whether they reason, and what it has to be told.

Rule 1: what a model is spoken to in, and whether litellm may stream it, is settled here.
Rule 2: names that clients make up leave nothing behind: an entry of ours is one of the price map
alone, the latest `WILDCARD_NAMES` stay, and what litellm remembers of a name is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.request_adapter import Dialect
from ws_bridge.upstream.litellm import internals
from ws_bridge.upstream.litellm.setup import litellm
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

_ProviderConfigs = internals.load(internals.PROVIDER_CONFIGS)
_known: OrderedDict[str, None] = OrderedDict()  # names registered at their first call
_ours: set[str] = set()  # names whose entry says nothing about the model


@lru_cache(maxsize=WILDCARD_NAMES)
def dialect_of(model: str) -> Dialect:
    """What the model's provider is spoken to in; an unknown provider is taken for a chat one."""
    name, provider = split(model)
    if name.startswith(CHAT_ONLY):
        return Dialect.CHAT
    config = None
    with suppress(Exception):  # a custom provider is not in litellm's list
        config = _ProviderConfigs.get_provider_responses_api_config(provider, model=name)
    if config is not None:
        return Dialect.NATIVE
    return Dialect(profile_of(provider).dialect)


@lru_cache(maxsize=WILDCARD_NAMES)
def supports_reasoning(model: str) -> bool | None:
    """Whether a native model reasons; None if the price map does not know it, or what it is.

    Only native models are asked for: for some others litellm would ask a server, blocking.
    """
    name, provider = split(model)
    if dialect_of(model) is not Dialect.NATIVE or f"{provider}/{name}" in _ours:
        return None
    try:
        info = litellm.get_model_info(name, custom_llm_provider=provider)
    except Exception:  # noqa: BLE001 - it raises a bare one for a model it does not know
        return None
    return bool(info.get("supports_reasoning"))


def register(targets: Iterable[Target]) -> None:
    """Tell litellm the models of the table; a wildcard's names are told at their first call."""
    for target in targets:
        if "*" not in target.model:
            _register(target.model)


def register_at_first_call(model: str) -> None:
    """Tell litellm a name that a client has made up; the oldest of many are forgotten."""
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
        entry, is_known = NATIVE_ENTRY, supports_reasoning(model) is not None
        is_known = is_known or dialect_of(model) is not Dialect.NATIVE
    if not is_known and key not in _ours:
        _ours.add(key)
        _write(key, {"litellm_provider": provider, **entry})


def _write(key: str, entry: Json) -> None:
    """The whole entry, into the price map alone.

    `litellm.register_model` would merge it into an older one, note the name in sets that only grow
    unless told otherwise, and build an index of all 5,000 names anew for each one that is added.
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
    with suppress(Exception):  # a provider it does not know; the call itself will say so
        name, provider, *_ = litellm.get_llm_provider(model)
        return name, provider
    provider, _, name = model.partition("/")
    return name, provider
