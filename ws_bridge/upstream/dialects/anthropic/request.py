"""A Responses request → the body of a Messages request (pure).

Rule 1: what cannot be said is refused with its place; with `drop_params` it is left out.
Rule 2: the answer is always asked for as a stream.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.cache import with_cache_marks
from ws_bridge.upstream.dialects.anthropic.features import ModelFeatures, features_of
from ws_bridge.upstream.dialects.anthropic.messages import (
    messages_of,
    starts_unthought,
    system_of,
)
from ws_bridge.upstream.dialects.anthropic.own_blocks import betas_of, unfolded
from ws_bridge.upstream.dialects.anthropic.schemas import output_schema
from ws_bridge.upstream.dialects.anthropic.table import TABLE
from ws_bridge.upstream.dialects.anthropic.thinking import (
    ThinkingMode,
    no_thinking,
    thinking_mode,
)
from ws_bridge.upstream.dialects.anthropic.tools import OfferedTools, tools_of
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.entries import ToolUse, entries_of, instructions_of
from ws_bridge.upstream.dialects.options import check_includes, effort_of, text_format_of
from ws_bridge.upstream.dialects.table import refused

VERSION = "2023-06-01"
# What the provider does by itself: not sent, so that it conflicts with nothing.
USUAL = (("temperature", 1), ("top_p", 1), ("top_logprobs", 0))
IN_JSON = "Answer with one JSON object and nothing else: no other words, no code fences."
# Anthropic refuses ids that look like a person's address or telephone number.
PLAIN_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]{1,256}")
LEAST_TOP_P = 0.95  # of a model that thinks


def write(given: WriterInput) -> ProviderRequest:
    """The request for Anthropic. Raises an ``UpstreamError`` (400) or an ``InvalidRequest``."""
    usual = {name for name, value in USUAL if given.options.get(name) == value}
    named = {name: value for name, value in given.options.items() if name not in usual}
    options = TABLE.options_to_translate(named, drop=given.drop_params)
    check_includes(options, TABLE)
    history = unfolded(entries_of(given.items, given.tools, TABLE), given.now)
    entries = [*instructions_of(options, TABLE), *history.entries]
    called = [entry.tool for entry in entries if isinstance(entry, ToolUse)]
    offered = tools_of(given.tools, options, called, drop=given.drop_params)
    messages = messages_of(entries, given.seals, history.callers)
    features = features_of(given.model)
    mode = _mode(given, options, features, offered, is_unthought=starts_unthought(messages))
    body = {
        "model": given.model,
        "messages": messages,
        "stream": True,
        **mode.fields,
        **({"container": history.container} if history.container else {}),
        **offered.fields(),
        **_sampling(given, options, features, mode),
        **_metadata(options),
    }
    written, words = _format(text_format_of(options, drop=given.drop_params), features)
    config = {"effort": mode.effort, "format": written}
    if config := {name: value for name, value in config.items() if value}:
        body["output_config"] = config
    if system := [*system_of(entries), *words]:
        body["system"] = system
    if given.prompt_cache:
        body = with_cache_marks(body)
    headers = {"anthropic-version": VERSION}
    if betas := [*offered.betas, *betas_of(messages, history.container)]:
        headers["anthropic-beta"] = ",".join(dict.fromkeys(betas))
    return ProviderRequest(body, headers, offered.table)


def _mode(
    given: WriterInput,
    options: Json,
    features: ModelFeatures,
    offered: OfferedTools,
    *,
    is_unthought: bool,
) -> ThinkingMode:
    limits = (options.get("max_output_tokens"), given.max_output_tokens)
    off = no_thinking(features, *limits)
    try:
        reasoning = options.get("reasoning") or {}
        is_shown = any(reasoning.get(name) for name in ("summary", "generate_summary"))
        effort = effort_of(options, given)
        mode = thinking_mode(effort, features, *limits, is_shown=is_shown)
    except UpstreamError:
        if not given.drop_params:
            raise
        return no_thinking(features, *limits)
    if mode.is_on and features.thinking == "budget" and is_unthought:
        return off  # the turn began without a thought, at another maker: it must end without one
    if not offered.is_forced:
        return mode
    if not features.can_be_forced or (mode.is_on and not given.drop_params):
        hint = "The model cannot be forced to call a tool while it thinks."
        raise refused("tool choice", "required", "tool_choice", hint)
    return off


def _sampling(
    given: WriterInput, options: Json, features: ModelFeatures, mode: ThinkingMode
) -> Json:
    taken: Json = {}
    for name in ("temperature", "top_p"):
        if name not in options:
            continue
        if not (hint := _sampling_fault(name, options[name], features, mode)):
            taken[name] = options[name]
        elif not given.drop_params:
            raise refused("value", str(options[name]), name, hint)
    return taken


def _sampling_fault(name: str, value: float, features: ModelFeatures, mode: ThinkingMode) -> str:
    """Why the model does not take the value; "" if it does."""
    if not features.takes_sampling:
        return f"The model takes no '{name}'."
    if name == "temperature" and value > 1:
        return "It is at most 1."
    if mode.is_on and (name == "temperature" or value < LEAST_TOP_P):
        return f"A model that thinks takes no '{name}'."
    return ""


def _format(wanted: Json, features: ModelFeatures) -> tuple[Json, list[Json]]:
    """The answer's format, and what of it is said in words."""
    if not wanted:
        return {}, []
    kind = str(wanted.get("type"))
    if kind == "json_object":
        return {}, [{"type": "text", "text": IN_JSON}]
    if kind != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise refused("format", kind, "text.format")
    if not features.has_output_format:
        raise refused("format", kind, "text.format", "The model writes no JSON by a schema.")
    return {"type": "json_schema", "schema": output_schema(wanted["schema"])}, []


def _metadata(options: Json) -> Json:
    fields: Json = {}
    if user := _user_id(options.get("safety_identifier") or options.get("user")):
        fields["metadata"] = {"user_id": user}
    if options.get("service_tier") == "default":
        fields["service_tier"] = "standard_only"
    return fields


def _user_id(name: Any) -> str:
    """The end user's name as Anthropic takes it."""
    if not name or PLAIN_ID.fullmatch(str(name)):
        return str(name or "")
    return hashlib.sha256(str(name).encode(errors="replace")).hexdigest()
