"""Puts the upstreams together, and opens nothing.

Its import is litellm's, which takes seconds: it must never happen in the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from ws_bridge.clock import Clock
from ws_bridge.protocol.sealing import Sealer
from ws_bridge.tracing import Traces
from ws_bridge.upstream.base import Target, TokenCounter, Upstream
from ws_bridge.upstream.compaction import CompactingUpstream
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.http.upstream import DialectUpstream
from ws_bridge.upstream.litellm import access, client, demo, models
from ws_bridge.upstream.litellm.background import BackgroundUpstream
from ws_bridge.upstream.litellm.token_counter import LitellmTokenCounter
from ws_bridge.upstream.litellm.upstream import LitellmUpstream
from ws_bridge.upstream.managed import ManagedUpstream
from ws_bridge.upstream.prefer_websocket import PreferWebSocket
from ws_bridge.upstream.prices import PriceRow
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Assembly:
    """All that a ``Router`` chooses from; ``starts`` and ``stops`` are called in their order."""

    managed: Upstream
    background: Upstream
    by_mode: Mapping[str, Upstream]  # by a target's mode; each compacts what is too long
    counter: TokenCounter
    prices_of: Callable[[Target], PriceRow | None]
    known_models: Callable[[str], Sequence[str]]  # of a provider
    set_targets: Callable[[Sequence[Target]], None]  # others than those it was made for
    set_callbacks: Callable[[Sequence[str]], None]  # of litellm, by their names
    starts: Sequence[Step]
    stops: Sequence[Step]


def assemble(targets: Sequence[Target], sealer: Sealer, traces: Traces | None = None) -> Assembly:
    """The upstreams of these targets, whose models litellm knows afterwards."""
    demo.register()
    models.register(targets)
    for target in targets:
        models.facts_of(target)  # litellm reads files at its first look: here no client waits
    own_client = access.http_client()
    dialects = DialectUpstream(
        client=own_client,
        families=FAMILIES,
        family_of=models.family_of,
        access=access.find,
        facts=models.facts_of,
        keys=sealer.keys,
        traces=traces,
    )
    litellm = LitellmUpstream(traces=traces)
    managed = ManagedUpstream(dialects, litellm, families=FAMILIES, family_of=models.family_of)
    native = WebSocketUpstream(facts=models.facts_of, traces=traces)
    counter = LitellmTokenCounter()

    def set_targets(targets: Sequence[Target]) -> None:
        models.register(targets)
        access.forget()
        native.keep_only(targets)

    plain: Mapping[str, Upstream] = {
        "managed": managed,
        "native": native,
        "auto": PreferWebSocket(native, managed, Clock()),
    }
    return Assembly(
        managed=managed,
        background=BackgroundUpstream(traces=traces),
        by_mode={
            mode: CompactingUpstream(each, counter, sealer=sealer) for mode, each in plain.items()
        },
        counter=counter,
        prices_of=models.prices_of,
        known_models=models.known_models,
        set_targets=set_targets,
        set_callbacks=client.set_callbacks,
        starts=(own_client.start, native.start),
        stops=(native.stop, own_client.close, client.shutdown),
    )
