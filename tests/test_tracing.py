"""Spans as a collector gets them, what the environment may set, and the line about lost ones."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from support.collector import Collector

from ws_bridge import tracing
from ws_bridge.errors import ConfigError
from ws_bridge.tracing import PROVIDER_NAMES, TraceContext, Traces, traces_url

PLACE = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def traces_to(collector, worker=0):
    return Traces(collector.url, worker=worker, now=lambda: 0.0)


async def sent(traces, collector):
    await traces.close()
    return collector.spans


@pytest.mark.parametrize(
    "endpoint",
    ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/traces/"],
)
def test_an_endpoint_is_the_collectors_address(endpoint):
    assert traces_url(endpoint) == "http://c:4318/v1/traces"


def test_a_context_is_the_two_headers():
    assert TraceContext(PLACE).headers() == {"traceparent": PLACE}
    with_state = TraceContext(PLACE, "a=1")
    assert with_state.headers() == {"traceparent": PLACE, "tracestate": "a=1"}
    assert [TraceContext(PLACE[:-2] + flags).is_sampled for flags in ("00", "01", "02", "03")] == [
        *(False, True, False, True)
    ]


def test_of_what_a_client_sends_no_more_is_kept_than_a_header_may_have():
    received = TraceContext.received("0" * 5000, "a" * 5000)
    assert (len(received.traceparent), received.tracestate) == (512, "")
    assert received.is_remote


async def test_a_child_is_in_its_parents_trace_and_a_span_without_one_in_its_own(collector):
    traces = traces_to(collector)
    parent = traces.begin("a", "server", {"x": 1, "y": None})
    child = traces.begin("b", "client", {}, parent=parent.context)
    remote = traces.begin("c", "server", {}, parent=TraceContext.received(PLACE, "a=1"))
    linked = traces.begin("d", "internal", {}, links=[parent.context, remote.context])
    for one in (child, remote, linked, parent):
        one.end({"z": ["1", "2"]})
    b, c, d, a = await sent(traces, collector)
    assert (a.parent, a.attributes) == ("", {"x": 1, "z": ["1", "2"]})
    assert (b.trace, b.parent, b.has_remote_parent) == (a.trace, a.id, False)
    assert (c.trace, c.parent, c.has_remote_parent) == ("1" * 32, "2" * 16, True)
    assert remote.context.tracestate == c.state == "a=1"
    assert (d.parent, d.links) == ("", (a.place, c.place))
    assert {one.is_error for one in (a, b, c, d)} == {False}


async def test_a_span_that_is_never_ended_is_never_sent(collector):
    traces = traces_to(collector)
    traces.begin("a", "server", {})
    assert await sent(traces, collector) == []


async def test_an_error_is_a_code(collector):
    traces = traces_to(collector)
    traces.begin("a", "server", {}).end({}, "server_error")
    (span,) = await sent(traces, collector)
    assert (span.is_error, span.attributes) == (True, {"error.type": "server_error"})


# What the environment sets


async def test_the_environment_names_the_service_and_more(collector, monkeypatch):
    traces = traces_to(collector, worker=2)
    traces.begin("a", "server", {}).end({})
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bridge-eu")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    named = traces_to(collector)
    named.begin("b", "server", {}).end({})
    await traces.close()
    a, b = await sent(named, collector)
    assert (a.resource["service.name"], a.resource["ws_bridge.worker"]) == ("ws-bridge", 2)
    assert b.resource["service.name"] == "bridge-eu"
    assert b.resource["deployment.environment.name"] == "prod"
    assert "ws_bridge.worker" not in b.resource
    assert a.resource["service.instance.id"] != b.resource["service.instance.id"]


async def test_the_environment_has_the_collectors_key_and_no_log_gets_it(
    collector, monkeypatch, caplog
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=canary-key,canary without a name")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "canary")
    with caplog.at_level(logging.DEBUG):
        traces = traces_to(collector)
        traces.begin("a", "server", {}).end({})
        assert len(await sent(traces, collector)) == 1
    assert collector.heads[0]["x-api-key"] == "canary-key"
    assert "canary" not in caplog.text


async def test_the_environment_has_the_sampler(collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    traces = traces_to(collector)
    own = traces.begin("a", "server", {})
    assert not own.context.is_sampled
    own.end({})
    traces.begin("b", "server", {}, parent=TraceContext.received(PLACE)).end({})
    assert [one.name for one in await sent(traces, collector)] == ["b"]


async def test_a_sdk_that_is_disabled_sends_nothing(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traces = traces_to(collector)
    traces.begin("a", "server", {}, links=[TraceContext(PLACE)]).end({"x": 1}, "error")
    assert await sent(traces, collector) == []


def test_a_variable_that_is_wrong_is_a_configuration_error(collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(ConfigError, match=r"telemetry\.otlp_endpoint.*ValueError.*OTEL_"):
        traces_to(collector)


def test_a_missing_library_is_a_configuration_error(collector, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"telemetry\.otlp_endpoint.*ws-bridge\[otel\]"):
        traces_to(collector)


def test_the_names_are_those_of_the_conventions():
    names = {
        value
        for name, value in vars(gen_ai_attributes).items()
        if name.startswith("GEN_AI_") and isinstance(value, str)
    }
    house = Path(tracing.__file__).parent
    files = (house / "jobs/create_spans.py", house / "upstream/attempts.py")
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    used = {word for word in code.split('"') if word.startswith("gen_ai.")}
    assert len(used) > 5
    assert used <= names
    providers = {one.value for one in gen_ai_attributes.GenAiProviderNameValues}
    assert set(PROVIDER_NAMES.values()) <= providers
    assert tracing.OPERATION in {one.value for one in gen_ai_attributes.GenAiOperationNameValues}


# What is lost


class Failing:
    """An exporter whose collector takes nothing."""

    def __init__(self):
        self.result = SpanExportResult.FAILURE

    def export(self, _spans):
        return self.result


def test_a_line_in_a_minute_says_how_many_spans_were_lost(caplog):
    now = [100.0]
    failing = Failing()
    exporter = tracing.ReportingExporter(failing, lambda: now[0])
    for seconds, count in ((100, 1), (101, 2), (159, 3), (160, 4), (161, 5)):
        now[0] = seconds
        exporter.export(["span"] * count)
    failing.result = SpanExportResult.SUCCESS
    now[0] = 300
    exporter.export(["span"])
    assert [one.getMessage() for one in caplog.records] == [
        "spans_lost spans=1",
        "spans_lost spans=9",
    ]


async def test_the_end_waits_for_a_silent_collector_no_longer_than_its_bound(
    collector, monkeypatch, caplog
):
    """The loop goes on meanwhile."""
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.05)
    collector.gate.clear()
    traces = traces_to(collector)
    traces.begin("a", "server", {}).end({})
    closing = asyncio.create_task(traces.close())
    await asyncio.to_thread(collector.wait_until, lambda: collector.bodies)
    await closing
    assert not collector.gate.is_set()
    assert "spans_unsent seconds=0.05" in caplog.text
    collector.gate.set()


async def test_ending_a_span_never_waits(collector):
    """More than the queue holds, at a collector that does not answer."""
    collector.gate.clear()
    traces = traces_to(collector)
    for _ in range(5000):
        traces.begin("a", "server", {}).end({})
    collector.gate.set()
    await traces.close()
    assert 0 < len(collector.spans) < 5000


OFF = """
import sys
from ws_bridge.config import Config, Settings
from ws_bridge.server.app import Bridge
Bridge(Settings(Config()))
print([name for name in sys.modules if name.startswith(("opentelemetry.exporter",
    "opentelemetry.sdk.trace", "opentelemetry.proto", "google.protobuf"))])
"""


def test_without_an_endpoint_nothing_is_imported():
    """Redis imports the API by itself, where that is installed."""
    command = [sys.executable, "-c", OFF]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "[]\n"
