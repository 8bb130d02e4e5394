"""Options that several dialects read in one way (pure)."""

from __future__ import annotations

from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.table import RequestTable, refused
from ws_bridge.upstream.errors import NO_REASONING

# Of `reasoning`, what changes no answer: thoughts are always shown, and always kept.
SHOWN = frozenset({"summary", "generate_summary", "context"})


def effort_of(options: Json, given: WriterInput) -> str:
    """The effort of thinking that the client asks for; "" if it asks for none in particular.

    Raises a 400 for what says more, and where the model is known not to reason.
    """
    reasoning = options.get("reasoning") or {}
    effort = str(reasoning.get("effort") or "")
    if given.drop_params:
        return "" if given.supports_reasoning is False else effort
    for name, value in reasoning.items():
        is_usual = value is None or (name == "mode" and value == "standard")
        if name not in SHOWN and name != "effort" and not is_usual:
            raise refused("parameter", f"reasoning.{name}", f"reasoning.{name}")
    if effort not in ("", "none") and given.supports_reasoning is False:
        raise InvalidRequest(NO_REASONING, code="unsupported_parameter", param="reasoning.effort")
    return effort


def text_format_of(options: Json, *, drop: bool) -> Json:
    """The `text.format` of a structured answer; {} for plain text. Raises a 400 for a verbosity."""
    text: Any = options.get("text") or {}
    if text.get("verbosity") not in (None, "medium") and not drop:
        raise refused("parameter", "text.verbosity", "text.verbosity")
    wanted: Any = text.get("format") or {}
    if not isinstance(wanted, dict):
        raise InvalidRequest("'text.format' is an object.", param="text.format")
    return {} if wanted.get("type", "text") == "text" else wanted


def check_includes(options: Json, table: RequestTable) -> None:
    """Raises a 400 for a value of `include` that the dialect cannot give."""
    for name in options.get("include") or ():
        table.takes("includes", str(name), "include")
