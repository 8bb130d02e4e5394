"""What the code can say to a client: its errors, close frames and events, out of its own tables."""

import ast
from collections.abc import Iterator
from pathlib import Path

from openai.types.responses import ResponsesServerEvent

import ws_bridge
from ws_bridge import errors
from ws_bridge.errors import BridgeError, CloseFrame
from ws_bridge.protocol import reducer, steering
from ws_bridge.protocol.events import LIFECYCLE
from ws_bridge.protocol.output import items
from ws_bridge.upstream import errors as upstream_errors

HOUSE = Path(ws_bridge.__file__).parent
# aiohttp's own: an answer to a close, a broken frame, a message too large
# (`tests/server/transport/test_transport.py` shows them).
OF_AIOHTTP = {1000, 1002, 1009}


def tree(root: type[BridgeError] = BridgeError) -> Iterator[type[BridgeError]]:
    """The errors of the tree, without what other floors derive from it."""
    yield root
    for branch in root.__subclasses__():
        if branch.__module__.startswith("ws_bridge.errors"):
            yield from tree(branch)


def literal_codes() -> set[str]:
    """The codes that are named where an error is made: ``code="…"``."""
    return {
        keyword.value.value
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
    }


def close_frames() -> dict[tuple[int, str], bool]:
    """The server's close frames, and whether a client may come back after each."""
    frames = [value for value in vars(errors).values() if isinstance(value, CloseFrame)]
    return {(frame.code, frame.reason): frame.may_reconnect for frame in frames}


def made_events() -> set[str]:
    """The types of events that the bridge makes itself, out of its tables."""
    made = {"error", *LIFECYCLE, items.ADDED, items.DONE, items.ANNOTATION}
    made |= {steering.ACCEPTED, steering.PENDING, steering.FAILED}
    for part in items.PARTS.values():
        made |= {f"{part.events}.added", f"{part.events}.done"}
        made |= {f"{part.text_events}.delta", f"{part.text_events}.done"}
    for name, item in items.ITEMS.items():
        if states := (*item.states, *item.last_states):
            made |= {f"response.{name}.{state}" for state in (*states, *item.ends)}
        if item.text:
            made |= {f"{item.text[0]}.delta", f"{item.text[0]}.done"}
    return made


def folded_events() -> set[str]:
    """The types of events that change a snapshot."""
    tables = (reducer.DELTAS, reducer.DONES, reducer.PARTS, reducer.STATES, reducer.OTHERS)
    return {kind for table in tables for kind in table}


def openais_events() -> set[str]:
    """The types that OpenAI's own library knows."""
    union = ResponsesServerEvent.__origin__
    return {kind.model_fields["type"].annotation.__args__[0] for kind in union.__args__}


def known_codes() -> set[str]:
    """Every code that the bridge itself writes into an error, its own or for a provider."""
    named = {code for _, code in upstream_errors.CLASSES.values() if code is not None}
    of_providers = {*upstream_errors.CODES.values()} | named
    return {kind.code for kind in tree()} | literal_codes() | of_providers
