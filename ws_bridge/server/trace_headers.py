"""The trace that a request belongs to, out of its head (W3C Trace Context)."""

from __future__ import annotations

from aiohttp import web

from ws_bridge.tracing import TRACEPARENT, TRACESTATE, TraceContext


def received_trace(request: web.Request) -> TraceContext | None:
    """The context of the client's span; None if it names none, or more than one.

    Several states are one list.
    """
    parents = request.headers.getall(TRACEPARENT, [])
    if len(parents) != 1:
        return None
    return TraceContext.received(parents[0], ",".join(request.headers.getall(TRACESTATE, [])))
