"""One call of a provider: the arguments for litellm, all of them (pure).

Rule 1: a call carries what the operator configured and what the Responses API documents; no key,
address or setting comes from a client.
Rule 2: where the operator named no key, none is taken from the environment: it may be meant for
another provider or another program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.base import ProviderRequest
from ws_bridge.upstream.litellm import internals
from ws_bridge.upstream.profiles import CHAT_ONLY, account_headers, profile_of

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 30.0
READ_GRACE_SECONDS = 5.0  # the caller watches the silence; this limit only ends what slips through

OWN = frozenset({"model", "stream", "store"})  # of a body: the call says them itself
NO_KEY = "none"  # a server without keys ignores it; without any, litellm looks into the environment


@dataclass(frozen=True, slots=True)
class Call:
    """One create as litellm is asked for it. litellm may change the body's values."""

    target: Target
    written: ProviderRequest
    is_native: bool  # the provider has a Responses API
    background: bool = False
    background_options: Json = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # beside those of the account

    def arguments(self) -> Json:
        """The arguments of ``aresponses``."""
        body = {name: self.written.body[name] for name in self.written.body if name not in OWN}
        more: Json = {"drop_params": True} if self.target.drop_params else {}
        if self.is_native:
            more["store"] = self.background  # the bridge keeps the history itself
            if self.background and self.background_options:  # litellm knows no such option yet
                more["extra_body"] = {"background_options": self.background_options}
        more["background" if self.background else "stream"] = True
        given = access(self.target)
        if self.headers:
            given["extra_headers"] = {**given.get("extra_headers", {}), **self.headers}
        return {
            **body,
            **more,
            **given,
            **_model_of(self.target),
            internals.NO_MCP: True,  # else litellm runs some MCP tools itself
        }


def _model_of(target: Target) -> Json:
    """The model, and whether it is asked in Chat Completions.

    Of OpenAI's models alone litellm knows the word for that; of others it were a part of the name.
    """
    provider, _, name = target.model.partition("/")
    if not name.startswith(CHAT_ONLY):
        return {"model": target.model}
    return {"model": f"{provider}/{name.removeprefix(CHAT_ONLY)}", internals.CHAT_ONLY: True}


def access(target: Target) -> Json:
    """The address, the key and the timeouts of every call."""
    given: Json = {
        "max_retries": 0,  # the upstream makes its own attempts: see `retry`
        "timeout": httpx.Timeout(
            connect=CONNECT_SECONDS,
            read=target.stall_seconds + READ_GRACE_SECONDS,
            write=WRITE_SECONDS,
            pool=CONNECT_SECONDS,
        ),
    }
    profile = profile_of(target.provider)
    if base := target.api_base or profile.address:
        given["api_base"] = base
    if target.api_key or not profile.signs_itself:
        given["api_key"] = target.api_key or NO_KEY
    if account := account_headers(target.provider, os.environ):
        given["extra_headers"] = account
    return given
