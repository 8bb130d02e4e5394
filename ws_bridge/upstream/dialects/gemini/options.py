"""The options of a request, as Gemini takes them (pure): one row an option.

Rule 1: an option's value that Gemini has no words for is refused by the option's name; where the
operator lets unsupported parameters be dropped, that option is left out alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.gemini.models import ModelTraits
from ws_bridge.upstream.dialects.gemini.table import TABLE
from ws_bridge.upstream.dialects.gemini.tools import ToolFields
from ws_bridge.upstream.dialects.table import refused

# Efforts as tokens of thinking: Google's own table for clients of OpenAI's API.
THINKING_TOKENS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
LEAST_TOKENS = 128  # of a model that always thinks
LEVELS = ("low", "medium", "high")
MOST = ("xhigh", "max")  # more than Gemini knows: "high"
LEAST = ("none", "minimal")
TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
NESTED = ("text", "reasoning")  # options that are written field by field


@dataclass(frozen=True, slots=True)
class OptionContext:
    """What the rows look at beside the option's value."""

    given: WriterInput
    traits: ModelTraits
    tools: ToolFields


def write_options(options: Json, context: OptionContext) -> Json:
    """The fields of the body. Raises a 400 for an option that cannot be said."""
    body: Json = {}
    for name, value in _flat(options):
        row = ROWS.get(name)
        try:
            if row is None:
                raise refused("parameter", name, name)
            fields = row(value, context)
        except UpstreamError:
            if not context.given.drop_params:
                raise
            continue
        _merge(body, fields)
    return body


def _flat(options: Json) -> list[tuple[str, Any]]:
    """The options, those of `NESTED` as "text.format" and the like."""
    flat = []
    for name, value in options.items():
        if name not in NESTED:
            flat.append((name, value))
            continue
        flat += [(f"{name}.{key}", one) for key, one in value.items() if one is not None]
    return flat


def _merge(body: Json, fields: Json) -> None:
    for name, value in fields.items():
        if isinstance(value, dict) and isinstance(body.get(name), dict):
            _merge(body[name], value)
        else:
            body[name] = value


# The rows


def _config(**fields: Any) -> Json:
    return {"generationConfig": fields}


def _nothing(value: Any, context: OptionContext) -> Json:  # noqa: ARG001 - a row
    return {}


def _only(name: str, *harmless: Any) -> Callable[[Any, OptionContext], Json]:
    """A row of an option that Gemini does not know, with the values that ask for nothing."""

    def row(value: Any, context: OptionContext) -> Json:  # noqa: ARG001
        if value not in harmless:
            raise refused("parameter", name, name)
        return {}

    return row


def _parallel(value: Any, context: OptionContext) -> Json:
    if value is False and context.tools.offered.tools:
        hint = "The model decides by itself whether it calls several tools at once."
        raise refused("parameter", "parallel_tool_calls", "parallel_tool_calls", hint)
    return {}


def _max_tool_calls(value: Any, context: OptionContext) -> Json:  # noqa: ARG001
    if context.tools.has_hosted:  # it counts calls of hosted tools only
        raise refused("parameter", "max_tool_calls", "max_tool_calls")
    return {}


def _include(value: Any, context: OptionContext) -> Json:  # noqa: ARG001
    wanted = [one for place, one in enumerate(value) if _includes(one, place)]
    return _config(responseLogprobs=True) if wanted else {}


def _includes(value: Any, place: int) -> bool:
    return TABLE.takes("includes", str(value), f"include[{place}]")


def _logprobs(value: int, context: OptionContext) -> Json:  # noqa: ARG001
    return _config(responseLogprobs=True, **({"logprobs": value} if value else {}))


def _tier(value: str, context: OptionContext) -> Json:  # noqa: ARG001
    if value == "auto":
        return {}
    if value not in TIERS:
        raise refused("parameter", "service_tier", "service_tier")
    return {"serviceTier": TIERS[value]}


def _format(value: Any, context: OptionContext) -> Json:  # noqa: ARG001
    kind = value.get("type") if isinstance(value, dict) else value
    if kind == "text":
        return {}
    if kind == "json_object":
        return _config(responseMimeType="application/json")
    schema = value.get("schema") if isinstance(value, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise refused("parameter", "text.format", "text.format")
    if description := value.get("description"):
        schema = {"description": description, **schema}
    return _config(responseMimeType="application/json", responseJsonSchema=schema)


def _effort(value: Any, context: OptionContext) -> Json:
    if value not in (*THINKING_TOKENS, *MOST):
        raise refused("parameter", "reasoning.effort", "reasoning.effort")
    if context.given.supports_reasoning is False:
        if value == "none":
            return {}
        hint = "The model does not think."
        raise refused("parameter", "reasoning.effort", "reasoning.effort", hint)
    traits = context.traits
    if traits.is_new:
        return _config(thinkingConfig={"thinkingLevel": _level(value, traits)})
    budget = THINKING_TOKENS["high" if value in MOST else value]
    if traits.always_thinks:
        budget = max(budget, LEAST_TOKENS)
    return _config(thinkingConfig={"thinkingBudget": budget})


def _level(effort: str, traits: ModelTraits) -> str:
    if effort in LEAST:
        return "minimal" if traits.thinks_minimally else "low"
    return effort if effort in LEVELS else "high"


def _summary(value: Any, context: OptionContext) -> Json:
    if value not in ("auto", "concise", "detailed"):
        raise refused("parameter", "reasoning.summary", "reasoning.summary")
    if context.given.supports_reasoning is False:  # then there is none
        return {}
    return _config(thinkingConfig={"includeThoughts": True})


ROWS: Mapping[str, Callable[[Any, OptionContext], Json]] = {
    "include": _include,
    "instructions": _nothing,  # `contents` writes them
    "max_output_tokens": lambda value, _: _config(maxOutputTokens=value),
    "max_tool_calls": _max_tool_calls,
    "parallel_tool_calls": _parallel,
    "reasoning.context": _only("reasoning.context", "auto"),
    "reasoning.effort": _effort,
    "reasoning.generate_summary": _summary,
    "reasoning.mode": _only("reasoning.mode", "standard"),
    "reasoning.summary": _summary,
    "service_tier": _tier,
    "temperature": lambda value, _: _config(temperature=value),
    "text.format": _format,
    "text.verbosity": _only("text.verbosity", "medium"),
    "tool_choice": _nothing,  # `tools` writes them
    "tools": _nothing,
    "top_logprobs": _logprobs,
    "top_p": lambda value, _: _config(topP=value),
}
