"""`response.steer`: input for a response that runs (wire contract 2.2, 3.8).

Rule 1: an accepted steer is the server's until its successor's `response.created`; what cannot be
committed is handed back by `response.steer.failed`.
Rule 2: after client-owned tool calls nothing goes on by itself: the steers wait for the create that
brings the outputs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import OUTPUTS
from ws_bridge.protocol.request import CreateResponse, check_depth

Json = dict[str, Any]
Item = dict[str, Any]

KEYS = frozenset({"type", "previous_response_id", "input"})
MESSAGE_KEYS = frozenset({"type", "role", "content"})
PARTS = frozenset({"input_text", "input_image", "input_file"})

ACCEPTED, PENDING, FAILED = (f"response.steer.{kind}" for kind in ("accepted", "pending", "failed"))
WORDS = {
    "response_not_found": "The response to steer is not known on this connection.",
    "steering_not_supported": "Steering is not supported for this response.",
    "too_many_pending_steers": "Too many steers are waiting for this response.",
    "response_already_completed": "The response has already completed.",
    "response_not_active": "The response takes no more steering input.",
    "successor_creation_failed": "The successor response could not be created.",
    "invalid_input": "The steering input is not valid.",
}
# Calls that the client answers: what it owes, as stubs. The rest of a stub is copied from the call.
OWED: dict[str, tuple[Json, tuple[str, ...]]] = {
    "function_call": ({"type": "function_call_output"}, ("call_id", "name")),
    "custom_tool_call": ({"type": "custom_tool_call_output"}, ("call_id",)),
    "computer_call": ({"type": "computer_call_output"}, ("call_id",)),
    "shell_call": ({"type": "shell_call_output"}, ("call_id",)),
    "apply_patch_call": ({"type": "apply_patch_call_output"}, ("call_id",)),
    "mcp_approval_request": ({"type": "mcp_approval_response"}, ()),
}


class SteerRefused(Exception):
    """The steer cannot be taken; ``code`` is one of the contract's."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or WORDS[code])
        self.code = code


@dataclass(frozen=True, slots=True)
class Steer:
    """An accepted steer."""

    id: str
    target: str  # the response's id
    input: Any  # as it came: it may have to be handed back
    items: tuple[Item, ...]


def read_steer(frame: Json) -> Steer:
    """The steer in a frame. Raises ``SteerRefused``."""
    target, given = frame.get("previous_response_id"), frame.get("input")
    if not isinstance(target, str) or not target:
        raise SteerRefused("invalid_input", "'previous_response_id' must be a response's id.")
    if extra := frame.keys() - KEYS:
        raise SteerRefused("invalid_input", f"'{min(extra)[:64]}' is not a field of a steer.")
    if isinstance(given, str) and given:
        items: list[Item] = [{"type": "message", "role": "user", "content": given}]
    elif isinstance(given, list) and given:
        items = [_message(item) for item in given]
    else:
        raise SteerRefused("invalid_input", "'input' must be text or a list of user messages.")
    try:
        check_depth(frame)
    except InvalidRequest as too_deep:
        raise SteerRefused("invalid_input", too_deep.message) from None
    return Steer("steer_" + secrets.token_hex(16), target, given, tuple(items))


def _message(item: Any) -> Item:
    is_message = isinstance(item, dict) and item.get("type", "message") == "message"
    if not is_message or item.get("role") != "user" or item.keys() - MESSAGE_KEYS:
        raise SteerRefused("invalid_input", "'input' may hold messages of the user only.")
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    if not isinstance(content, str) and not (parts and all(map(_is_part, parts))):
        raise SteerRefused("invalid_input", "A message is text, or parts of text, image or file.")
    return {**item, "type": "message"}


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in PARTS


def accepted(steer: Steer) -> Draft:
    """The server has it."""
    return Draft(ACCEPTED, {"steer": _named(steer)})


def pending(steer: Steer, owed: Sequence[Json]) -> Draft:
    """It waits for what the client owes."""
    said = {"reason": "waiting_for_required_input", "required_input": list(owed)}
    return Draft(PENDING, {"steer": _named(steer), **said})


def failed(code: str, target: Any, given: Any, steer_id: str = "", message: str = "") -> Draft:
    """It is handed back; with its id if it was accepted once."""
    words = message or WORDS[code]
    error = {"type": InvalidRequest.type, "code": code, "message": words}
    named = {"id": steer_id} if steer_id else {}
    steer = {"previous_response_id": target, "input": given, **named}
    return Draft(FAILED, {"error": error, "steer": steer})


def returned(steer: Steer, code: str) -> Draft:
    """An accepted steer that cannot be committed."""
    return failed(code, steer.target, steer.input, steer.id)


def owed(output: Iterable[Item]) -> Iterator[Json]:
    """What the client has to bring before a chain can go on: one stub for each of its calls."""
    for item in output:
        kind = str(item.get("type"))
        if kind in OWED and item.get("status") != "incomplete":
            stub, keys = OWED[kind]
            copied = {key: item[key] for key in keys if key in item}
            if kind == "mcp_approval_request":
                copied = {"approval_request_id": item.get("id")}
            yield stub | copied


def may_be_steered(request: CreateResponse) -> bool:
    """Not what is bound to a conversation, nor what compacts itself."""
    return request.conversation is None and not request.context_management


def successor(request: CreateResponse, response_id: str, steers: Sequence[Steer]) -> CreateResponse:
    """The same settings, going on from the response with the steered input."""
    items = [item for steer in steers for item in steer.items]
    return request.model_copy(update={"previous_response_id": response_id, "input": items})


def joined(request: CreateResponse, steers: Sequence[Steer]) -> CreateResponse:
    """A create that goes on from a steered response, with the steered input before its own.

    Only tool outputs stay in front: providers want them right behind their calls.
    """
    items = list(request.items())
    outputs = [item for item in items if item["type"] in OUTPUTS]
    others = [item for item in items if item["type"] not in OUTPUTS]
    steered = [item for steer in steers for item in steer.items]
    return request.model_copy(update={"input": [*outputs, *steered, *others]})


def _named(steer: Steer) -> Json:
    return {"id": steer.id, "previous_response_id": steer.target}
