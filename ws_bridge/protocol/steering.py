"""`response.steer`: input for a response that runs (docs/protocol.md §2.7 and §3.5).

Rule 1: an accepted steer is the server's until its successor's `response.created`; what cannot be
committed is handed back by `response.steer.failed`.
Rule 2: after tool calls of the client's, no successor starts by itself: the steers wait for the
create that brings the outputs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import CALLS, OUTPUTS
from ws_bridge.protocol.request import CreateResponse, check_depth
from ws_bridge.types import Item, Json

KEYS = frozenset({"type", "previous_response_id", "input"})
MESSAGE_KEYS = frozenset({"type", "role", "content"})
PARTS = frozenset({"input_text", "input_image", "input_file"})

ACCEPTED, PENDING, FAILED = (f"response.steer.{kind}" for kind in ("accepted", "pending", "failed"))
MESSAGES = {
    "response_not_found": "The response to steer is not known on this connection.",
    "steering_not_supported": "Steering is not supported for this response.",
    "too_many_pending_steers": "Too many steers are waiting for this response.",
    "response_already_completed": "The response has already completed.",
    "response_not_active": "The response takes no more steering input.",
    "successor_creation_failed": "The successor response could not be created.",
    "invalid_input": "The steering input is not valid.",
}
# Calls that the client answers: the output it must send, as a stub, and the call's keys to copy.
REQUIRED_OUTPUTS: dict[str, tuple[Json, tuple[str, ...]]] = {
    "function_call": ({"type": "function_call_output"}, ("call_id", "name")),
    "custom_tool_call": ({"type": "custom_tool_call_output"}, ("call_id",)),
    "computer_call": ({"type": "computer_call_output"}, ("call_id",)),
    "shell_call": ({"type": "shell_call_output"}, ("call_id",)),
    "apply_patch_call": ({"type": "apply_patch_call_output"}, ("call_id",)),
    "tool_search_call": ({"type": "tool_search_output", "execution": "client"}, ("call_id",)),
    "mcp_approval_request": ({"type": "mcp_approval_response"}, ()),
}
ANSWERS = OUTPUTS | {stub["type"] for stub, _ in REQUIRED_OUTPUTS.values()}


class SteerRefused(Exception):
    """The steer cannot be taken; ``code`` is one of docs/protocol.md §4.4."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code


@dataclass(frozen=True, slots=True)
class Steer:
    """An accepted steer."""

    id: str
    target: str  # the response's id
    input: Any  # as it came: it may have to be handed back
    items: tuple[Item, ...]
    size: int = 0  # bytes of its frame


class SteerQueue:
    """The accepted steers of one connection, by their target, until a successor takes them."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most  # for one response
        self._most_bytes = most_bytes  # for all of them; a single large one may wait all the same
        self._waiting: dict[str, tuple[Steer, ...]] = {}

    def add(self, steer: Steer) -> None:
        """Keep it. Raises ``SteerRefused`` if there is no room."""
        waiting = self.waiting_for(steer.target)
        total = sum(each.size for steers in self._waiting.values() for each in steers)
        if len(waiting) >= self._most or (total and total + steer.size > self._most_bytes):
            raise SteerRefused("too_many_pending_steers")
        self._waiting[steer.target] = (*waiting, steer)

    def waiting_for(self, response_id: str) -> tuple[Steer, ...]:
        """What waits for the response, in order."""
        return self._waiting.get(response_id, ())

    def take(self, response_id: str) -> tuple[Steer, ...]:
        """What waited for the response; now it is the caller's."""
        return self._waiting.pop(response_id, ())

    def targets(self) -> list[str]:
        """The responses for which something waits."""
        return list(self._waiting)


def read_steer(frame: Json, size: int = 0) -> Steer:
    """The steer in a frame of so many bytes. Raises ``SteerRefused``."""
    try:
        check_depth(frame)
    except InvalidRequest as too_deep:
        raise SteerRefused("invalid_input", too_deep.message) from None
    target, given = frame.get("previous_response_id"), frame.get("input")
    if not isinstance(target, str) or not target:
        raise SteerRefused("invalid_input", "'previous_response_id' must be a response's id.")
    if extra := {key for key, value in frame.items() if value is not None} - KEYS:
        raise SteerRefused("invalid_input", f"'{min(extra)[:64]}' is not a field of a steer.")
    if isinstance(given, str) and given:
        items: list[Item] = [{"type": "message", "role": "user", "content": given}]
    elif isinstance(given, list) and given:
        items = [_message(item) for item in given]
    else:
        raise SteerRefused("invalid_input", "'input' must be text or a list of user messages.")
    return Steer("steer_" + secrets.token_hex(16), target, given, tuple(items), size)


def _message(item: Any) -> Item:
    is_message = isinstance(item, dict) and item.get("type") in (None, "message")
    if not is_message or item.get("role") != "user" or item.keys() - MESSAGE_KEYS:
        raise SteerRefused("invalid_input", "'input' may hold messages of the user only.")
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    if not isinstance(content, str) and not (parts and all(map(_is_part, parts))):
        raise SteerRefused("invalid_input", "A message is text, or parts of text, image or file.")
    return {**item, "type": "message"}


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict) or str(part.get("type")) not in PARTS:
        return False
    return part["type"] != "input_text" or isinstance(part.get("text"), str)


def accepted(steer: Steer) -> Draft:
    """The server has accepted the steer."""
    return Draft(ACCEPTED, {"steer": _named(steer)})


def pending(steer: Steer, required_outputs: Sequence[Json]) -> Draft:
    """The steer waits for outputs that the client must send."""
    fields = {"reason": "waiting_for_required_input", "required_input": list(required_outputs)}
    return Draft(PENDING, {"steer": _named(steer), **fields})


def failed(code: str, target: Any, given: Any, steer_id: str = "", message: str = "") -> Draft:
    """The steer is handed back, with its id if it was accepted before."""
    words = message or MESSAGES[code]
    error = {"type": InvalidRequest.type, "code": code, "message": words}
    named = {"id": steer_id} if steer_id else {}
    aimed = target if isinstance(target, str) else ""  # never null: clients' types have none
    steer = {"previous_response_id": aimed, "input": _handed_back(given), **named}
    return Draft(FAILED, {"error": error, "steer": steer})


def _handed_back(given: Any) -> Any:
    """The input as it came, where it can be written: JSON writers nest less deep than readers."""
    try:
        check_depth({"input": given})
    except InvalidRequest:
        return ""
    return "" if given is None else given


def returned(steer: Steer, code: str) -> Draft:
    """An accepted steer that cannot be committed."""
    return failed(code, steer.target, steer.input, steer.id)


def required_outputs(output: Sequence[Item]) -> Iterator[Json]:
    """The outputs that the client must send before the chain can continue: a stub for each call."""
    answered = {str(item["call_id"]) for item in output if _is_answer(item) and "call_id" in item}
    for item in output:
        if not _is_clients(item) or str(item.get("call_id")) in answered:
            continue
        stub, keys = REQUIRED_OUTPUTS[item["type"]]
        copy_json = {key: item[key] for key in keys if key in item}
        if item["type"] == "mcp_approval_request":
            copy_json = {"approval_request_id": item.get("id")}
        yield stub | copy_json


def _is_clients(item: Item) -> bool:
    """Whether it is a whole call, and one that the provider does not run by itself."""
    kind = str(item.get("type"))
    if kind not in REQUIRED_OUTPUTS or item.get("status") == "incomplete":
        return False
    return kind != "tool_search_call" or item.get("execution") == "client"


def _is_answer(item: Item) -> bool:
    return str(item.get("type")) in ANSWERS


def can_steer(request: CreateResponse) -> bool:
    """Not a warm-up, nor what is bound to a conversation, nor what compacts itself.

    Nor what has an idempotency key, which would not stand for the successor.
    """
    is_free = request.conversation is None and not request.context_management
    return is_free and request.generate and request.idempotency_key is None


def successor(request: CreateResponse, response_id: str, steers: Sequence[Steer]) -> CreateResponse:
    """The same settings, going on from the response with the steered input."""
    items = [item for steer in steers for item in steer.items]
    return request.with_input(items).model_copy(update={"previous_response_id": response_id})


def joined(request: CreateResponse, steers: Sequence[Steer]) -> CreateResponse:
    """A create that goes on from a steered response, with the steered input before its own.

    Only what answers the response's calls stays in front: providers want it right behind them.
    """
    items = request.items()
    own = {str(item.get("call_id")) for item in items if item["type"] in CALLS}
    is_first = [_is_answer(item) and str(item.get("call_id")) not in own for item in items]
    outputs = [item for item, first in zip(items, is_first, strict=True) if first]
    others = [item for item, first in zip(items, is_first, strict=True) if not first]
    steered = [item for steer in steers for item in steer.items]
    return request.with_input([*outputs, *steered, *others])


def _named(steer: Steer) -> Json:
    return {"id": steer.id, "previous_response_id": steer.target}
