"""Calls of tools that the provider runs itself, as items that clients know (pure).

With functions and hosted tools at once, Gemini tells of its own tools by `toolCall` and
`toolResponse` parts. They are never the client's to answer.

Rule 1: a type of tool that the table does not have is shown as a call of an MCP server: that item
has a name, arguments and an output of any kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from ws_bridge.types import Json

FAILED_OUTCOMES = {"OUTCOME_FAILED": "failed", "OUTCOME_DEADLINE_EXCEEDED": "incomplete"}


def items_of_call(call: Json) -> list[Json]:
    """The items of a `toolCall`, as they begin."""
    kind, args = str(call.get("toolType") or ""), call.get("args")
    given = args if isinstance(args, dict) else {}
    row = ROWS.get(kind)
    return list(row(given)) if row is not None else [_mcp(call, kind, given)]


def fields_of_response(item: str, response: Any) -> Json:
    """What a `toolResponse` adds to an item of the type ``item``."""
    if item == "mcp_call":
        return {"output": response if isinstance(response, str) else written(response)}
    if item == "code_interpreter_call":
        text = response.get("output") if isinstance(response, dict) else response
        logs = text if isinstance(text, str) else written(response)
        return {"outputs": [{"type": "logs", "logs": logs}]}
    return {}


def code_item(code: Any) -> Json:
    """Code that the provider runs; its sandbox has no name."""
    text = code if isinstance(code, str) else ""
    return {"type": "code_interpreter_call", "code": text, "container_id": "", "outputs": None}


def search_item(queries: list[str], urls: list[str] | None = None) -> Json:
    """A search of the web."""
    action: Json = {"type": "search", "query": queries[0] if queries else "", "queries": queries}
    if urls:
        action["sources"] = [{"type": "url", "url": url} for url in urls]
    return {"type": "web_search_call", "action": action}


def page_item(url: str) -> Json:
    """A page that was read."""
    return {"type": "web_search_call", "action": {"type": "open_page", "url": url}}


def file_search_item(queries: list[str]) -> Json:
    """A search in the operator's own stores of files."""
    return {"type": "file_search_call", "queries": queries, "results": None}


def texts(value: Any) -> list[str]:
    """The texts in a list, or the one text."""
    given = value if isinstance(value, list) else [value]
    return [one for one in given if isinstance(one, str) and one]


def written(value: Any) -> str:
    """A value as JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half of a character, or something nested deeply
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace").decode()


def _queries(args: Json) -> list[str]:
    return texts(args.get("queries") or args.get("query"))


def _search(args: Json) -> Iterator[Json]:
    yield search_item(_queries(args))


def _pages(args: Json) -> Iterator[Json]:
    for url in texts(args.get("urls") or args.get("url")):
        yield page_item(url)


def _files(args: Json) -> Iterator[Json]:
    yield file_search_item(_queries(args))


def _code(args: Json) -> Iterator[Json]:
    yield code_item(args.get("code"))


ROWS: Mapping[str, Callable[[Json], Iterator[Json]]] = {
    **dict.fromkeys(
        (
            *("GOOGLE_SEARCH", "GOOGLE_SEARCH_WEB", "GOOGLE_SEARCH_IMAGE", "GOOGLE_MAPS"),
            "ENTERPRISE_WEB_SEARCH",
        ),
        _search,
    ),
    "URL_CONTEXT": _pages,
    "FILE_SEARCH": _files,
    "CODE_EXECUTION": _code,
}


def _mcp(call: Json, kind: str, args: Json) -> Json:
    return {
        "type": "mcp_call",
        "name": str(call.get("toolName") or call.get("name") or args.get("name") or kind),
        "server_label": str(call.get("serverName") or call.get("server") or kind),
        "arguments": written(args),
        "output": None,
        "error": None,
    }
