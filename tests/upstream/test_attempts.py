"""An attempt has a span where something is traced, and is itself where nothing is."""

import asyncio

import pytest
from support.collector import Collector
from support.scripted_upstream import Scripted, answer

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.history import Chain
from ws_bridge.tracing import TraceContext, Traces
from ws_bridge.upstream.attempts import traced
from ws_bridge.upstream.base import COMPLETE, Outcome, Request, Target

PLACE = TraceContext(f"00-{'1' * 32}-{'2' * 16}-01", "a=1")
TARGET = Target("m", "bedrock/eu.claude", api_base="https://bedrock.example:8443/v1")
ASKED = Request(TARGET, Chain(None, ()), {}, trace=PLACE)


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@pytest.fixture
def traces(collector):
    return Traces(collector.url, worker=0, now=lambda: 0.0)


async def span_of(collector, traces):
    await traces.close()
    (span,) = collector.spans
    return span


async def test_without_traces_an_attempt_is_itself():
    upstream = Scripted(answer("Hi."))
    assert traced(upstream.open, None, "http") == upstream.open


async def test_a_request_outside_of_a_trace_has_no_span(collector, traces):
    upstream = Scripted(answer("Hi."))
    asked = Request(TARGET, Chain(None, ()), {})
    await (await traced(upstream.open, traces, "http")(asked)).close(COMPLETE)
    await traces.close()
    assert upstream.requests == [asked]
    assert collector.spans == []


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (COMPLETE, {"ws_bridge.outcome": "complete"}),
        (Outcome(), {"ws_bridge.outcome": "abandoned"}),
        (
            Outcome(UpstreamError("secret", status=429, code="rate_limit_exceeded")),
            {
                "ws_bridge.outcome": "failed",
                "ws_bridge.status": 429,
                "error.type": "rate_limit_exceeded",
            },
        ),
    ],
)
async def test_the_span_ends_with_the_answer_and_its_outcome(collector, traces, outcome, expected):
    upstream = Scripted(answer("Hi."))
    opened = await traced(upstream.open, traces, "websocket")(ASKED)
    await opened.close(outcome)
    await opened.close(COMPLETE)  # a second time is none
    span = await span_of(collector, traces)
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "eu.claude",
        "server.address": "bedrock.example",
        "server.port": 8443,
        "ws_bridge.entry": "m",
        "ws_bridge.transport": "websocket",
        **expected,
    }
    assert (span.trace, span.parent, span.state) == ("1" * 32, "2" * 16, "a=1")
    assert span.is_error == (outcome.error is not None)
    asked = upstream.requests[0]
    assert asked.trace.traceparent.split("-")[1:3] == [span.trace, span.id]


async def test_an_attempt_that_opens_nothing_ends_its_span(collector, traces):
    upstream = Scripted([UpstreamError("secret", status=503)])
    with pytest.raises(UpstreamError):
        await traced(upstream.open, traces, "http")(ASKED)
    span = await span_of(collector, traces)
    assert (span.is_error, span.attributes["ws_bridge.status"]) == (True, 503)


async def test_a_cancelled_attempt_is_abandoned(collector, traces):
    upstream = Scripted([asyncio.Event()])
    opening = asyncio.create_task(traced(upstream.open, traces, "http")(ASKED))
    while not upstream.requests:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    span = await span_of(collector, traces)
    assert (span.is_error, span.attributes["ws_bridge.outcome"]) == (False, "abandoned")
