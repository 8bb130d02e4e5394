"""The span of a create, from the moment when it is accepted to the response's end.

Rule: its attributes are names, counts and codes, as in the log's line about the response. They have
the names of OpenTelemetry's conventions for generative models, where there are some.
"""

from __future__ import annotations

from ws_bridge.jobs.observe import JobFinished
from ws_bridge.jobs.spec import Create
from ws_bridge.logs import UNKNOWN
from ws_bridge.tracing import (
    OPERATION,
    RECEIVED,
    TRACEPARENT,
    TRACESTATE,
    Span,
    TraceContext,
    Traces,
    provider_name,
)

FAILURES = frozenset({"failed", "refused"})  # outcomes of a response


def begin_create(traces: Traces, create: Create, parent: TraceContext | None) -> Span:
    """The span of an accepted create, in the trace of its parent, if it has one."""
    return traces.begin(
        f"{OPERATION} {create.request.model}",
        "server",
        {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.request.model": create.request.model,
            "ws_bridge.transport": create.transport,
        },
        parent=parent,
    )


def end_create(span: Span, job: JobFinished) -> None:
    """End it with what the log says of the response."""
    usage = job.usage or {}
    answering = job.tried[-1].target if job.tried and job.tried[-1].answers else None
    provider = answering.provider if answering else job.provider
    error = job.error or job.outcome
    span.end(
        {
            "gen_ai.provider.name": provider_name(provider),
            "gen_ai.response.id": job.id,
            "gen_ai.response.model": answering.model.partition("/")[2] if answering else None,
            "gen_ai.usage.input_tokens": usage.get("input_tokens"),
            "gen_ai.usage.output_tokens": usage.get("output_tokens"),
            "ws_bridge.entry": job.entry,
            "ws_bridge.events": job.events,
            "ws_bridge.key": None if job.key == UNKNOWN else job.key,
            "ws_bridge.outcome": job.outcome,
            "ws_bridge.tried": [f"{one.target.model}:{one.outcome}" for one in job.tried],
        },
        error if job.outcome in FAILURES else "",
    )


def clients_span(create: Create) -> TraceContext | None:
    """The span that the client has named; for this create alone, or for its connection."""
    own = create.request.client_metadata if create.transport == "websocket" else {}
    if TRACEPARENT in own:
        return TraceContext.received(own[TRACEPARENT], own.get(TRACESTATE, ""))
    return RECEIVED.get()
