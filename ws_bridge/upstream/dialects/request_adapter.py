"""A request as a dialect takes it: input items and options (pure).

Rule 1: the bridge keeps the history and sends all of it, so nothing is stored at the provider: an
id that points into a provider's storage is never sent.
Rule 2: what a dialect cannot read is said in another way, left out where that changes nothing, and
refused where it does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from enum import Enum
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Item, Json


class Dialect(Enum):
    """What a provider is spoken to in."""

    NATIVE = "responses"
    CHAT = "chat"
    ANTHROPIC = "anthropic"


ENCRYPTED = "reasoning.encrypted_content"
# The id of these may be absent; all others of a provider's own making cannot be sent without.
ID_OPTIONAL = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    }
)
ID_NEEDED = frozenset(
    {
        "code_interpreter_call",
        "computer_call",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "mcp_call",
        "mcp_approval_request",
        "mcp_list_tools",
        "web_search_call",
    }
)
# Hints to OpenAI's own machinery. They change nothing in the answer, yet other dialects refuse them
# or pass them on raw. `metadata` is the bridge's to keep.
HINTS = frozenset(
    {
        "include",
        "max_tool_calls",  # counts built-in tools only, and those are not there
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "truncation",
    }
)
# litellm would run these itself, with the bridge's network and credentials.
RUN_BY_LITELLM = frozenset({"file_search"})


def fit_input(items: list[Item], dialect: Dialect) -> list[Item]:
    """The items in the dialect's form; they are the caller's copies and may be changed.

    Raises ``UpstreamError`` (400) for what the dialect cannot be told.
    """
    fit = _FITS[dialect]
    return [fitted for item in items if (fitted := fit(item)) is not None]


def fit_options(options: Json, dialect: Dialect, *, supports_reasoning: bool | None) -> Json:
    """The options to send, a copy. ``supports_reasoning`` is None if that is not known.

    Raises ``UpstreamError`` (400) for what the dialect cannot do.
    """
    fitted = copy.deepcopy(options)
    if dialect is Dialect.NATIVE:
        return _with_reasoning_kept(fitted, supports_reasoning)
    if "prompt" in fitted:
        raise _refused("'prompt' is not supported for this model.", "prompt")
    for tool in fitted.get("tools", ()):
        if tool.get("type") in RUN_BY_LITELLM:
            raise _refused(f"The tool '{tool['type']}' is not supported for this model.", "tools")
    return {name: value for name, value in fitted.items() if name not in HINTS}


def _with_reasoning_kept(options: Json, supports_reasoning: bool | None) -> Json:
    """Ask for the reasoning itself, since the provider does not keep it for the next turn.

    Models that do not reason refuse the question, so it is put to those only that are known to
    reason, and to unknown ones whose client speaks of reasoning.
    """
    if supports_reasoning or (supports_reasoning is None and options.get("reasoning")):
        asked = options.get("include") or []
        options["include"] = [*asked, *({ENCRYPTED} - set(asked))]
    return options


def _fit_native(item: Item) -> Item | None:
    kind = item.get("type")
    if kind == "reasoning" and not item.get("encrypted_content"):
        return None  # without its content it is a reference to something nobody stored
    if _is_hollow(item):
        return None
    fitted = {key: value for key, value in item.items() if value is not None}
    if kind in ID_OPTIONAL:
        fitted.pop("status", None)
        if not (kind == "reasoning" and str(item.get("id")).startswith("rs_")):
            fitted.pop("id", None)
    for part in _parts(fitted):
        part.pop("logprobs", None)
    return fitted


def _is_hollow(item: Item) -> bool:
    """Another maker's search or run, bare of what it needs: later text has its results."""
    kind = item.get("type")
    if kind == "web_search_call" and not (item.get("action") and item.get("status")):
        return True
    return kind in ID_NEEDED and not item.get("id")


def _fit_bridged(item: Item) -> Item | None:
    if _is_hollow(item):
        return None
    if isinstance(item.get("content"), list):
        item["content"] = [_without_refusal(part) for part in item["content"]]
    return item


def _fit_chat(item: Item) -> Item | None:
    for part in (*_parts(item), *_parts(item, "output")):
        if part.get("type") == "input_file" and part.get("file_url"):
            # litellm would fetch it itself, from inside the operator's network
            raise _refused("'file_url' is not supported for this model: send 'file_data'.", "input")
    return _fit_bridged(item)


def _without_refusal(part: Any) -> Any:
    """Text, since refusals get lost on the way, which leaves an empty turn."""
    if isinstance(part, dict) and part.get("type") == "refusal":
        return {"type": "output_text", "text": part.get("refusal") or "", "annotations": []}
    return part


def _parts(item: Item, key: str = "content") -> list[Json]:
    parts = item.get(key)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _refused(message: str, param: str) -> UpstreamError:
    return UpstreamError(message, status=400, code="unsupported_parameter", param=param)


_FITS: dict[Dialect, Callable[[Item], Item | None]] = {
    Dialect.NATIVE: _fit_native,
    Dialect.CHAT: _fit_chat,
    Dialect.ANTHROPIC: _fit_bridged,
}
