"""The span of a create: whose child it is, and what of a response's end is in it."""

import pytest
from support.collector import Collector

from ws_bridge.jobs.create_spans import begin_create, clients_span, end_create
from ws_bridge.jobs.observe import JobFinished
from ws_bridge.jobs.spec import Create
from ws_bridge.protocol.request import parse_create
from ws_bridge.tracing import RECEIVED, TraceContext, Traces
from ws_bridge.upstream.base import Target, Tried

HEAD = TraceContext.received(f"00-{'1' * 32}-{'2' * 16}-01")
METADATA = {
    "ws_request_header_traceparent": f"00-{'3' * 32}-{'4' * 16}-01",
    "ws_request_header_tracestate": "a=1",
}


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@pytest.fixture
def head():
    token = RECEIVED.set(HEAD)
    yield
    RECEIVED.reset(token)


def create_of(transport, **more):
    return Create(parse_create({"model": "m", "input": "hi", **more}), "owner", transport)


@pytest.mark.usefixtures("head")
def test_a_creates_own_trace_goes_before_its_connections_on_a_socket_alone():
    own = TraceContext.received(*METADATA.values())
    assert clients_span(create_of("websocket")) == HEAD
    assert clients_span(create_of("websocket", client_metadata=METADATA)) == own
    assert clients_span(create_of("sse", client_metadata=METADATA)) == HEAD


def test_without_any_there_is_none():
    assert clients_span(create_of("websocket")) is None


def ended(**more):
    return JobFinished(
        **{
            "id": "resp_1",
            "model": "m",
            "provider": "openai",
            "transport": "http",
            "outcome": "completed",
            "error": "",
            "events": 9,
            "first_event_seconds": 0.1,
            "seconds": 1.0,
            "usage": {"input_tokens": 3, "output_tokens": 0},
            "entry": "m",
            **more,
        }
    )


async def attributes(collector, job):
    traces = Traces(collector.url, worker=0, now=lambda: 0.0)
    end_create(begin_create(traces, create_of("http"), None), job)
    await traces.close()
    (span,) = collector.spans
    return span


async def test_what_is_not_known_is_left_out(collector):
    span = await attributes(collector, ended(usage=None, outcome="cancelled"))
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.id": "resp_1",
        "ws_bridge.entry": "m",
        "ws_bridge.events": 9,
        "ws_bridge.outcome": "cancelled",
        "ws_bridge.transport": "http",
        "ws_bridge.tried": [],
    }
    assert not span.is_error


async def test_the_provider_is_the_one_that_answers(collector):
    targets = [Target("m", "openai/gpt"), Target("n", "azure/deployed")]
    tried = (Tried(targets[0], "503"), Tried(targets[1]))
    span = await attributes(collector, ended(tried=tried, key="team-a"))
    assert span.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert span.attributes["gen_ai.response.model"] == "deployed"
    assert span.attributes["ws_bridge.tried"] == ["openai/gpt:503", "azure/deployed:answers"]
    assert span.attributes["ws_bridge.key"] == "team-a"
    assert span.attributes["gen_ai.usage.output_tokens"] == 0


@pytest.mark.parametrize("outcome", ["failed", "refused"])
async def test_a_failure_is_an_error_by_its_code(collector, outcome):
    span = await attributes(collector, ended(outcome=outcome, error="server_error"))
    assert (span.is_error, span.attributes["error.type"]) == (True, "server_error")
