"""Log probabilities of chat tokens, in the form of Responses (pure)."""

from __future__ import annotations

from typing import Any

from ws_bridge.types import Json


def logprobs_of(given: Any) -> list[Json]:
    """The tokens of a choice's ``logprobs``; the bytes of each are always there."""
    tokens = given.get("content") if isinstance(given, dict) else None
    return _read(tokens, are_chosen=True)


def _read(tokens: Any, *, are_chosen: bool) -> list[Json]:
    read = []
    for one in tokens if isinstance(tokens, list) else ():
        token = one.get("token") if isinstance(one, dict) else None
        if not isinstance(token, str):
            continue
        value, raw = one.get("logprob"), one.get("bytes")
        fields: Json = {
            "token": token,
            "bytes": raw if isinstance(raw, list) else list(token.encode(errors="replace")),
            "logprob": float(value) if isinstance(value, int | float) else 0.0,
        }
        if are_chosen:
            fields["top_logprobs"] = _read(one.get("top_logprobs"), are_chosen=False)
        read.append(fields)
    return read
