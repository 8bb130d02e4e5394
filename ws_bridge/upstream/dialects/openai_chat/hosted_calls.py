"""Calls of tools that a chat provider ran itself → items of their own types (pure).

None of them is ever a `function_call`: the client would answer it. And none goes back with the next
turn: Groq, xAI and Perplexity have no field for them in a request, and the text has what was found.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from ws_bridge.types import Json

SEARCHES = frozenset(
    {
        *("search", "web_search", "browser.search", "browser_search", "x_search"),
        *("x_keyword_search", "x_semantic_search"),
    }
)
VISITS = frozenset({"visit", "visit_website", "browser.open", "open_page", "browse_page"})
# Perplexity's steps, by what they are like.
STEPS = {"web_search": "web_search", "fetch_url_content": "visit", "execute_python": "python"}
CODE = frozenset({"python", "code_interpreter", "code_execution"})


def begun(tool: str, arguments: Any, server: str) -> Json:
    """The item of a call, with what is known before its result."""
    given = _object(arguments)
    if tool in SEARCHES:
        query = _text(given.get("query") or given.get("q"))
        return {"type": "web_search_call", "action": {"type": "search", "query": query}}
    if tool in VISITS:
        address = _text(given.get("url") or given.get("id"))
        return {"type": "web_search_call", "action": {"type": "open_page", "url": address}}
    if tool in CODE:
        code = _text(given.get("code")) or _text(arguments)
        return {"type": "code_interpreter_call", "code": code, "container_id": "", "outputs": None}
    text = arguments if isinstance(arguments, str) else as_text(given)
    return {"type": "mcp_call", "name": tool, "server_label": server, "arguments": text}


def ended(item: Json, executed: Json) -> Json:
    """The fields that a result adds to the item."""
    output = executed.get("output")
    text = output if isinstance(output, str) or output is None else as_text(output)
    if item["type"] == "code_interpreter_call":
        return {"outputs": [{"type": "logs", "logs": text}] if text else []}
    if item["type"] == "mcp_call":
        return {"output": text}
    if item["action"]["type"] != "search":
        return {}
    found = executed.get("search_results")
    results = found.get("results") if isinstance(found, dict) else found
    addresses = [
        one["url"]
        for one in (results if isinstance(results, list) else ())
        if isinstance(one, dict) and isinstance(one.get("url"), str)
    ]
    sources = [{"type": "url", "url": address} for address in addresses]
    return {"action": item["action"] | ({"sources": sources} if sources else {})}


def of_step(step: Json) -> tuple[Json, Json] | None:
    """The item of a step of Perplexity's search, and its result; None for a mere thought."""
    kind = str(step.get("type"))
    details = step.get(kind)
    if kind not in STEPS or not isinstance(details, dict):
        return None
    arguments: Json = {"code": details.get("code")}
    if isinstance(words := details.get("search_keywords"), list):
        arguments["query"] = ", ".join(word for word in words if isinstance(word, str))
    if isinstance(pages := details.get("contents"), list):
        arguments["url"] = next((one.get("url") for one in pages if isinstance(one, dict)), "")
    item = begun(STEPS[kind], arguments, "")
    return item, ended(item, {**details, "output": details.get("result")})


def as_text(value: Any) -> str:
    """The JSON of a value that should have been text; half a character is no hindrance."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(arguments: Any) -> Json:
    if isinstance(arguments, dict):
        return arguments
    try:
        parsed = orjson.loads(arguments) if isinstance(arguments, str) else None
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
