"""Calls of the tools that Bedrock runs itself → items that show them (pure).

Rule 1: none of them is a call of the client's, whatever its name is.
"""

from __future__ import annotations

from typing import Any

import orjson

from ws_bridge.types import Json

SEARCH, CODE = "nova_grounding", "nova_code_interpreter"


def hosted_call(name: str, arguments: str) -> Json | None:
    """The item of a call as it begins; None for a tool that no item can show."""
    given = input_of(arguments)
    if name == SEARCH:
        query = str(given.get("query") or "")
        action = {"type": "search", "query": query, "queries": [query] if query else []}
        return {"type": "web_search_call", "action": action}
    if name == CODE:
        code = str(given.get("snippet") or given.get("code") or "")
        return {
            "type": "code_interpreter_call",
            "code": code,
            "container_id": "",
            "outputs": None,
        }
    return None


def hosted_result(pieces: list[Any], *, is_error: bool) -> Json:
    """What a call's result adds to its item."""
    logs = "".join(map(_log, pieces))
    fields: Json = {"status": "failed"} if is_error else {}
    return {**fields, "outputs": [{"type": "logs", "logs": logs}]} if logs else fields


def _log(piece: Any) -> str:
    if not isinstance(piece, dict):
        return ""
    if isinstance(piece.get("text"), str):
        return str(piece["text"])
    value = piece.get("json")
    if isinstance(value, dict):
        logs = [value[key] for key in ("stdOut", "stdErr") if isinstance(value.get(key), str)]
        return "\n".join(text for text in logs if text)
    return ""


def input_of(text: str) -> Json:
    """The input of a call, from its JSON; {} for what is no object."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
