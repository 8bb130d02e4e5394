"""The product's limits, set long: no slowness of the machine reaches them.

A test that is about a limit sets that one by itself, and turns a clock or waits until it is passed.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from support.hang import HANG_SECONDS

LONG = 10 * HANG_SECONDS

CONFIG: Mapping[str, Mapping[str, Any]] = {
    "server": {"created_after_seconds": LONG, "data_keepalive_seconds": 0},
    "limits": {
        "head_seconds": LONG,
        "message_seconds": LONG,
        "silent_seconds": LONG,
        "unread_seconds": LONG,
    },
}

# Of waits for the store, and for a provider's connection; those for a client's or provider's good
# manners may pass.
CONSTANTS: Mapping[str, float] = dict.fromkeys(
    (
        "ws_bridge.jobs.lineage.PARENT_SECONDS",
        "ws_bridge.server.http.responses.CANCEL_SECONDS",
        "ws_bridge.store.redis.connect.CALL_SECONDS",
        "ws_bridge.store.redis.subscriptions.ANSWER_SECONDS",
        "ws_bridge.store.redis.scripts.STALL_SECONDS",
        "ws_bridge.jobs.store_timeout.LONGEST_SECONDS",
        "ws_bridge.jobs.store_timeout.SILENCE_SECONDS",
        "ws_bridge.upstream.litellm.call.CONNECT_SECONDS",
        "ws_bridge.upstream.litellm.call.WRITE_SECONDS",
        "ws_bridge.upstream.websocket.connection.CONNECT_SECONDS",
        "ws_bridge.upstream.websocket.connection.PONG_SECONDS",
    ),
    LONG,
)


def config(given: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that are given; what they leave open is long."""
    return {**given, **{name: {**CONFIG[name], **given.get(name, {})} for name in CONFIG}}


def found(constants: Mapping[str, float]) -> list[tuple[Any, str, float]]:
    """Each constant's module, name and wanted value. Raises what its import raises."""
    wanted = []
    for path, value in constants.items():
        module, _, name = path.rpartition(".")
        home = importlib.import_module(module)
        getattr(home, name)  # one that has moved is an error here, and not a limit that is short
        wanted.append((home, name, value))
    return wanted
