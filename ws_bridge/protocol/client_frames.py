"""Parse a client's text frames. For a large frame this takes long, and it changes no state.

Rule: the result depends on the text and the limits alone, so parsing may run in any thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ws_bridge.errors import BridgeError, UnsupportedParameter
from ws_bridge.protocol.actions import ConnectionLimits
from ws_bridge.protocol.json_limits import check_limits, weigh
from ws_bridge.protocol.request import CreateResponse, flat, parse_create, parse_frame
from ws_bridge.types import Json

CREATE = "response.create"
CANCEL = "response.cancel"
INTERRUPT = "response.interrupt"
STEER = "response.steer"
PROCESSED = "response.processed"
ONLY_HTTP = frozenset({"background_options"})  # they concern HTTP only
KINDS = frozenset({CREATE, CANCEL, INTERRUPT, STEER, PROCESSED})


@dataclass(frozen=True, slots=True)
class ClientFrame:
    """A parsed text frame: its error if it is invalid, its create if it is one."""

    size: int  # bytes, or characters, of its text
    frame: Json = field(default_factory=dict)
    error: BridgeError | None = None
    create: CreateResponse | BridgeError = field(default_factory=BridgeError)
    weight: int = 0  # bytes of memory that a create takes
    is_text: bool = True  # false: bytes that are no UTF-8


def read_frame(text: str | bytes, rules: ConnectionLimits) -> ClientFrame:
    """Parse a text frame. The result depends on the text and the limits alone."""
    size = len(text)
    try:
        frame = parse_frame(text, KINDS, rules.json_limits)
    except BridgeError as error:
        is_text = isinstance(text, str) or is_utf8(text)
        return ClientFrame(size, error=error.without_traceback(), is_text=is_text)
    if frame["type"] != CREATE:
        return ClientFrame(size, frame)
    try:
        create = _read_create(flat(frame), rules)
    except BridgeError as error:
        return ClientFrame(size, frame, create=error.without_traceback())
    return ClientFrame(size, frame, create=create, weight=max(size, weigh([frame])))


def is_utf8(text: bytes) -> bool:
    """Whether these are the bytes of a text."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_create(body: Json, rules: ConnectionLimits) -> CreateResponse:
    if body.get("background"):
        raise UnsupportedParameter(
            "'background' is not supported over WebSocket.", param="background"
        )
    check_limits(body, rules.json_limits)
    fields = {name: value for name, value in body.items() if name not in ONLY_HTTP}
    return parse_create(fields, rules.default_model)
