"""Requests of providers that speak Responses, over HTTP and over their own WebSocket (pure).

Rule 1: what the client sent is not trimmed, and what is not known here is sent as it is: the
provider judges it.
Rule 2: the bridge keeps the history, so reasoning is asked for and sent back whole: sealed, or its
raw text. What only another maker can open stays out.
Rule 3: the model's own messages are what OpenAI's input types demand: servers that validate with
those refuse all else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from ws_bridge.protocol.history import unfolded
from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.responses.table import FIELDS_NEEDED, TABLE
from ws_bridge.upstream.dialects.seals import is_sealed_here

ENCRYPTED = "reasoning.encrypted_content"
LONGEST_ID = 64  # characters that OpenAI takes
# Of these the id is optional, and OpenAI refuses one that does not begin so.
ID_PREFIXES = {
    "function_call": "fc",
    "function_call_output": "fc",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctc",
}


def write(given: WriterInput) -> ProviderRequest:
    """The body of an HTTP request. Raises ``UpstreamError`` (400)."""
    return ProviderRequest(
        {**_body(given), "store": False, "stream": given.streams},  # the bridge keeps the history
        tools=given.tools,
    )


def write_frame(given: WriterInput, *, store: bool) -> ProviderRequest:
    """The `response.create` of a provider's WebSocket, without lane and parent; raises as `write`.

    ``store``: as the client asked.
    """
    frame = {"type": "response.create", **_body(given), "store": store}
    return ProviderRequest(frame, tools=given.tools)


def _body(given: WriterInput) -> Json:
    options = TABLE.options_to_translate(given.options, drop=given.drop_params)
    if _reasons(given):
        asked = options.get("include") or []
        options["include"] = [*asked, *({ENCRYPTED} - set(asked))]
    return {**options, "model": given.model, "input": list(written_items(given.items))}


def _reasons(given: WriterInput) -> bool:
    """Whether the model reasons: others refuse to be asked. A request with `reasoning` knows it."""
    if given.supports_reasoning is None:
        return bool(given.options.get("reasoning"))
    return given.supports_reasoning


def written_items(items: list[Item]) -> Iterator[Item]:
    """The items to send. Raises ``UpstreamError`` (400)."""
    for place, item in enumerate(unfolded(items)):
        kind = str(item.get("type") or "message")
        TABLE.takes("items", kind, "input")
        if any(not item.get(name) for name in FIELDS_NEEDED.get(kind, ())):
            continue
        present = {key: value for key, value in item.items() if value is not None}
        if kind == "message":
            yield _message(present, place) if item.get("role") == "assistant" else present
        elif kind == "reasoning":
            yield from _reasoning(present, place)
        else:
            if not _is_own_id(present.get("id"), ID_PREFIXES.get(kind, "")):
                del present["id"]
            yield present


def _message(item: Item, place: int) -> Item:
    """A message of the model's; plain words need no more than their role."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    named = isinstance(item.get("id"), str) and item["id"].startswith("msg_")
    if not named or len(item["id"]) > LONGEST_ID:
        item["id"] = _minted("msg", item, place)
    item.setdefault("type", "message")
    item.setdefault("status", "completed")
    item["content"] = [_part(part) for part in content]
    return item


def _part(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != "output_text":
        return part
    kept = {key: value for key, value in part.items() if key != "logprobs" and value is not None}
    return {**kept, "annotations": kept.get("annotations") or []}


def _reasoning(item: Item, place: int) -> Iterator[Item]:
    if is_sealed_here(item.get("encrypted_content")):
        return  # a thought of a provider of another family
    if not item.get("encrypted_content"):
        item.pop("encrypted_content", None)
        if not item.get("content"):
            return  # a summary alone names a thought that is not stored anywhere
        if not item.get("id"):  # a sealed one's must be the one that it was sealed with
            item["id"] = _minted("rs", item, place)
    item.setdefault("summary", [])
    yield item


def _is_own_id(name: Any, prefix: str) -> bool:
    """Whether an item's id may be sent; True where it has none."""
    is_short = isinstance(name, str) and len(name) <= LONGEST_ID and name.startswith(prefix)
    return name is None or not prefix or is_short


def _minted(prefix: str, item: Item, place: int) -> str:
    """An id for an item without one of this family's: the same at every call."""
    known = orjson.dumps([place, item], option=orjson.OPT_SORT_KEYS)
    return f"{prefix}_{hashlib.sha256(known).hexdigest()[:40]}"
