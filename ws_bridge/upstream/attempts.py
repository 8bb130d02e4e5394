"""A span for each attempt at a provider, from the request to the end of its answer.

Rule: where nothing is traced an attempt is what it was: nothing stands around it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec
from urllib.parse import urlsplit

from ws_bridge.errors import UpstreamError
from ws_bridge.tracing import OPERATION, Attributes, Span, Traces, provider_name
from ws_bridge.upstream.base import COMPLETE, Answer, Outcome, Request, Target

Arguments = ParamSpec("Arguments")
Attempt = Callable[Concatenate[Request, Arguments], Awaitable[Answer]]

ABANDONED_WORD, COMPLETE_WORD, FAILED_WORD = "abandoned", "complete", "failed"


def traced(
    attempt: Attempt[Arguments], traces: Traces | None, transport: str
) -> Attempt[Arguments]:
    """The attempt within a span that is a child of the request's; the request has it then.

    ``transport``: "http" or "websocket". Without ``traces`` it is the attempt itself.
    """
    if traces is None:
        return attempt

    async def attempted(
        request: Request, /, *arguments: Arguments.args, **more: Arguments.kwargs
    ) -> Answer:
        if request.trace is None:  # no client's: a server's own first call
            return await attempt(request, *arguments, **more)
        span = traces.begin(
            f"{OPERATION} {request.target.model.partition('/')[2]}",
            "client",
            _attributes(request.target, transport),
            parent=request.trace,
        )
        try:
            answer = await attempt(replace(request, trace=span.context), *arguments, **more)
        except BaseException as failure:
            _end(span, _outcome_of(failure))
            raise
        answer.on_close(lambda outcome: _end(span, outcome))
        return answer

    return attempted


def _attributes(target: Target, transport: str) -> Attributes:
    host = urlsplit(target.api_base)
    return {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": provider_name(target.provider),
        "gen_ai.request.model": target.model.partition("/")[2],
        "server.address": host.hostname,
        "server.port": host.port,
        "ws_bridge.entry": target.entry or target.name,
        "ws_bridge.transport": transport,
    }


def _outcome_of(failure: BaseException) -> Outcome:
    if isinstance(failure, UpstreamError):
        return Outcome(failure)
    # A cancelled caller; or a kept connection was lost, which is no failure of the target's.
    return Outcome()


def _end(span: Span, outcome: Outcome) -> None:
    error = outcome.error
    if error is not None:
        status = {"ws_bridge.status": error.status}
        span.end({"ws_bridge.outcome": FAILED_WORD, **status}, error.code or str(error.status))
    else:
        word = COMPLETE_WORD if outcome == COMPLETE else ABANDONED_WORD
        span.end({"ws_bridge.outcome": word})
