"""The Response object: every key that a strict client wants, in every snapshot.

Rule 1: the keys of docs/protocol.md §3.4 are always there; only those may be null that may.
Rule 2: what the bridge owns (id, lineage, storage) is never the provider's; what the provider knows
better (model, usage, output, effective settings) is never the request's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.output.received import is_shallow, items_of
from ws_bridge.types import Json

NULLABLE = (
    "completed_at",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "usage",
    "user",
)
DEFAULTS: Json = {
    "frequency_penalty": 0.0,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "service_tier": "default",
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
# The bridge's own: a provider's values are ignored.
OWNED = frozenset(
    {
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "background",
        "store",
        "previous_response_id",
        "conversation",
        "instructions",
        "metadata",
        "tools",
        "user",
    }
)
# The types of a provider's own fields; unknown fields pass.
Types = tuple[type, ...]
NUMBER: Types = (int, float)
UPSTREAM_TYPES: Mapping[str, Types] = {
    "error": (dict,),
    "frequency_penalty": NUMBER,
    "incomplete_details": (dict,),
    "max_output_tokens": (int,),
    "max_tool_calls": (int,),
    "model": (str,),
    "output": (list,),
    "parallel_tool_calls": (bool,),
    "presence_penalty": NUMBER,
    "prompt_cache_key": (str,),
    "reasoning": (dict,),
    "safety_identifier": (str,),
    "service_tier": (str,),
    "temperature": NUMBER,
    "text": (dict,),
    "tool_choice": (str, dict),
    "top_logprobs": (int,),
    "top_p": NUMBER,
    "truncation": (str,),
    "usage": (dict,),
}
# Larger than this, instructions and tools are not repeated in every snapshot: some clients cap a
# message at 1 MiB, and an echo comes three times a turn (docs/protocol.md §3.4).
ECHO_LIMIT = 256 * 1024
MOST_COUNTED = 2**53  # tokens; beyond it a number is not one that all of JSON can hold
ECHOED = ("instructions", "tools")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all snapshots of one response share."""

    id: str
    model: str
    created_at: int
    options: Mapping[str, Any] = field(default_factory=dict)
    previous_response_id: str | None = None
    store: bool = True
    background: bool = False
    conversation: str | None = None

    def snapshot(self, status: str, **fields: Any) -> Json:
        """A complete response object in the given status."""
        options = {key: value for key, value in self.options.items() if key in _ECHO_KEYS}
        text = _present(self.options.get("text") or {})
        response: Json = {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": self.background,
            "model": self.model,
            "output": [],
            "store": self.store,
            **dict.fromkeys(NULLABLE),
            **DEFAULTS,
            **options,
            "previous_response_id": self.previous_response_id,
            "reasoning": {"effort": None, "summary": None, **(self.options.get("reasoning") or {})},
            "text": {"format": {"type": "text"}, **text},
        }
        if self.conversation is not None:
            response["conversation"] = {"id": self.conversation}
        response["tools"] = [_strict_tool(tool) for tool in response["tools"]]
        return response | fields

    def adopt(self, upstream: Mapping[str, Any], status: str) -> Json:
        """The provider's response object, complete and with the bridge's own values in it."""
        known = {key: value for key, value in upstream.items() if _is_upstreams(key, value)}
        response = self.snapshot(status)
        for key in ("text", "reasoning"):
            if isinstance(known.get(key), dict):
                known[key] = response[key] | _present(known[key])
            else:
                known.pop(key, None)
        known["output"] = items_of(known.get("output"))
        known["usage"] = strict_usage(known.get("usage"))
        known["error"] = strict_error(known.get("error")) if status == "failed" else None
        if status != "incomplete":
            known.pop("incomplete_details", None)
        return response | known


def echo_of(options: Mapping[str, Any]) -> Json:
    """The options that snapshots repeat; what is too large for that is left out."""
    echo = dict(options)
    for key in ECHOED:
        if key in echo and _is_large(echo[key]):
            del echo[key]
    return echo


# Not `prompt_cache_options`: the object's has keys of its own, which a request need not know.
_ECHO_KEYS = frozenset({*NULLABLE, *DEFAULTS, "prompt", "prompt_cache_retention"})


def _is_large(value: Any) -> bool:
    """Whether it is not to be repeated; of what is very large only the size is looked at."""
    return len(value) > ECHO_LIMIT or len(orjson.dumps(value)) > ECHO_LIMIT


def _is_upstreams(key: str, value: Any) -> bool:
    """Whether a provider's field of a response object is passed on."""
    if key in OWNED or value is None:
        return False
    types = UPSTREAM_TYPES.get(key)
    if types is None:
        return is_shallow(value)
    is_right = isinstance(value, types) and (type(value) is not bool or bool in types)
    return is_right and (key == "output" or is_shallow(value))


def _strict_tool(tool: Json) -> Json:
    """A function tool as strict clients read it back (docs/protocol.md §3.4)."""
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def strict_usage(usage: Any) -> Json | None:
    """A usage object with every count that strict clients want; the provider's extras stay."""
    if not isinstance(usage, Mapping):
        return None
    counts = _counts(usage, "input_tokens", "output_tokens", "total_tokens")
    counts["total_tokens"] = counts["total_tokens"] or (
        counts["input_tokens"] + counts["output_tokens"]
    )
    into, out = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return counts | {
        "input_tokens_details": _counts(into, "cached_tokens", "cache_write_tokens"),
        "output_tokens_details": _counts(out, "reasoning_tokens"),
    }


def _counts(details: Any, *names: str) -> Json:
    """The details without nulls; the named ones are there, and integers."""
    given = _present(details) if isinstance(details, Mapping) else {}
    return given | {name: _count(given.get(name)) for name in names}


def _count(value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and abs(value) <= MOST_COUNTED else 0


def sum_usage(usage: Mapping[str, Any], more: Mapping[str, Any]) -> Json:
    """The sum of all counts of two usage objects, at any depth."""
    total = dict(usage)
    for name, value in more.items():
        known = total.get(name)
        if isinstance(value, Mapping):
            total[name] = sum_usage(known if isinstance(known, Mapping) else {}, value)
        elif isinstance(value, int | float) and isinstance(known, int | float):
            total[name] = known + value
        else:
            total.setdefault(name, value)
    return total


def _present(values: Mapping[str, Any]) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def strict_error(error: Any) -> Json:
    """The ``error`` of a failed response: a code of the closed enum and a message, no more."""
    fields = error if isinstance(error, Mapping) else {}
    code, message = fields.get("code"), fields.get("message")
    message = message if isinstance(message, str) else ""
    return UpstreamError(message, code=code if isinstance(code, str) else None).response_error()


def no_usage() -> Json:
    """The usage of a response for which nothing was sampled: a warm-up."""
    counted = strict_usage({})
    assert counted is not None  # noqa: S101 - a mapping always gives a mapping
    return counted


# Of a Responses usage: where each kind of token stands. Cached ones are input, reasoning is output.
TOKENS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "cached": ("input_tokens_details", "cached_tokens"),
    "reasoning": ("output_tokens_details", "reasoning_tokens"),
}


def tokens_of(usage: Any) -> Iterator[tuple[str, int]]:
    """The kinds of tokens that were used, and how many."""
    if not usage:
        return
    for kind, path in TOKENS.items():
        value = usage
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int) and value > 0:
            yield kind, value
