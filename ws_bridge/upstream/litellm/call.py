"""One call of a provider: what litellm is told, and nothing else (pure).

Rule 1: a call carries what the operator configured and what the Responses API documents; no key,
address or setting comes from a client.
Rule 2: where the operator named no key, none is taken from the environment: what lies there was
meant for somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.request_adapter import Dialect
from ws_bridge.upstream.litellm import internals
from ws_bridge.upstream.profiles import profile_of

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 30.0
READ_GRACE_SECONDS = 5.0  # the silence is watched by the caller; this is only the net below

NO_KEY = "none"  # a server without keys ignores it; without any, litellm looks into the environment


@dataclass(frozen=True, slots=True)
class Call:
    """One create, fitted to the target's dialect. litellm may change what is in it."""

    target: Target
    dialect: Dialect
    input: list[Json]
    options: Json = field(default_factory=dict)
    background: bool = False
    background_options: Json = field(default_factory=dict)

    def arguments(self) -> Json:
        """What ``aresponses`` is called with."""
        more: Json = {"drop_params": True} if self.target.drop_params else {}
        if self.dialect is Dialect.NATIVE:
            more["store"] = self.background  # the bridge keeps the history itself
            if self.background and self.background_options:  # litellm knows no such option yet
                more["extra_body"] = {"background_options": self.background_options}
        more["background" if self.background else "stream"] = True
        return {
            **self.options,
            **more,
            **access(self.target),
            "model": self.target.model,
            "input": self.input,
            internals.NO_MCP: True,  # else litellm runs some MCP tools itself
        }


def access(target: Target) -> Json:
    """Where, with which key, with which patience."""
    given: Json = {
        "max_retries": 0,  # ours are counted, jittered, and stop at the first event
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
    return given
