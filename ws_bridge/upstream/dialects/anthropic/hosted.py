"""Calls of tools that Anthropic runs itself, and their results → Responses items (pure).

Rule 1: they are items of the provider's own calls, never a call of the client's.
Rule 2: a tool that the tables do not name (an advisor, for one) is shown as no item.
Rule 3: an item has the status words of its own type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.anthropic.blocks import json_text

UNFINISHED = "incomplete"  # all of these items have this status
STATUS_OF_FAILURE = {"tool_search_call": UNFINISHED}  # the others: "failed"


def item_of(block: Json, container: str) -> Item | None:
    """The item of a call, as far as its input tells; None if it is not shown."""
    given = block.get("input")
    given = given if isinstance(given, dict) else {}
    if block.get("type") == "mcp_tool_use":
        return {
            "type": "mcp_call",
            "name": str(block.get("name") or ""),
            "server_label": str(block.get("server_name") or ""),
            "arguments": json_text(given),
        }
    begin = BEGUN.get(str(block.get("name")))
    if begin is None:
        return None
    item = begin(given)
    return {**item, "container_id": container} if item["type"] == CODE else item


def outcome_of(item: Item, result: Json) -> Json:
    """What a result adds to the item of its call."""
    content = result.get("content")
    is_error = result.get("is_error") is True or (
        isinstance(content, dict) and str(content.get("type")).endswith("_error")
    )
    fields: Json = OUTCOMES[item["type"]](item, content)
    if not is_error:
        return {"status": "completed", **fields}
    if item["type"] == "mcp_call":
        error = {"type": "mcp_tool_execution_error", "content": content}
        return {"status": "failed", "output": None, "error": error}
    return {"status": STATUS_OF_FAILURE.get(item["type"], "failed"), **fields}


# Calls

CODE = "code_interpreter_call"


def _search(given: Json) -> Item:
    query = str(given.get("query") or "")
    return {
        "type": "web_search_call",
        "action": {"type": "search", "query": query, "queries": [query]},
    }


def _fetch(given: Json) -> Item:
    action = {"type": "open_page", "url": str(given.get("url") or "")}
    return {"type": "web_search_call", "action": action}


def _code(given: Json) -> Item:
    return {"type": CODE, "code": str(given.get("code") or "")}


def _command(given: Json) -> Item:
    return {"type": CODE, "code": str(given.get("command") or "")}


def _edit(given: Json) -> Item:
    return {"type": CODE, "code": json_text(given)}


def _tool_search(given: Json) -> Item:
    return {
        "type": "tool_search_call",
        "execution": "server",
        "call_id": None,
        "arguments": given,
    }


BEGUN: Mapping[str, Callable[[Json], Item]] = {
    "web_search": _search,
    "web_fetch": _fetch,
    "code_execution": _code,
    "bash_code_execution": _command,
    "text_editor_code_execution": _edit,
    "tool_search_tool_regex": _tool_search,
    "tool_search_tool_bm25": _tool_search,
}


# Results


def _pages(item: Item, content: Any) -> Json:
    if item["action"]["type"] != "search" or not isinstance(content, list):
        return {}
    found = [page["url"] for page in content if isinstance(page, dict) and _is_text(page, "url")]
    sources = [{"type": "url", "url": url} for url in found]
    return {"action": {**item["action"], "sources": sources}}


def _logs(_item: Item, content: Any) -> Json:
    output = content if isinstance(content, dict) else {}
    written = [output[key] for key in LOGS if _is_text(output, key)]
    lines = output.get("lines")  # of an edit
    written += [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
    logs = "\n".join(text.removesuffix("\n") for text in written if text)
    return {"outputs": [{"type": "logs", "logs": logs}] if logs else []}


LOGS = ("stdout", "content", "stderr", "error_code", "error_message")


def _mcp_output(_item: Item, content: Any) -> Json:
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and _is_text(part, "text")]
    return {"output": content if isinstance(content, str) else "\n".join(texts)}


def _nothing(_item: Item, _content: Any) -> Json:
    return {}


OUTCOMES: Mapping[str, Callable[[Item, Any], Json]] = {
    "web_search_call": _pages,
    CODE: _logs,
    "mcp_call": _mcp_output,
    "tool_search_call": _nothing,
}


def _is_text(value: Json, key: str) -> bool:
    return isinstance(value.get(key), str)
