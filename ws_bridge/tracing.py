"""Traces: spans of OpenTelemetry, and the way to the collector that takes them (OTLP over HTTP).

Rule 1: nothing of OpenTelemetry is imported before a ``Traces`` is made, and few servers make one.
Rule 2: a span has names, counts and codes: never content, never a key.
Rule 3: no response waits for a span. An ended span goes into a bounded queue, which a thread of the
SDK empties. A collector that is slow or away costs spans, and a line of the log now and then.
Rule 4: a ``Traces`` is made in the process whose spans it sends: a fork has no thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ws_bridge import __version__
from ws_bridge.errors import ConfigError
from ws_bridge.types import Now

if TYPE_CHECKING:
    from opentelemetry import trace as otel
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

SCOPE = "ws_bridge"
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
MOST_TEXT = 512  # characters of a header that are read; W3C Trace Context, 3.3.1.5
SIGNAL_PATH = "/v1/traces"  # of OTLP over HTTP, below the collector's address
CLOSE_SECONDS = 2.0  # at the end of a process, for what is not sent yet
LOG_SECONDS = 60.0  # between two lines about lost spans
# The SDK logs each attempt, and the values of headers that it cannot read: these may be keys.
SDK_LOGGER = "opentelemetry"

OPERATION = "chat"  # `gen_ai.operation.name`: the conventions have no nearer word for a response

Value = str | int | float | bool | Sequence[str]
Attributes = Mapping[str, Value | None]  # None: it is not known, and left out
Kind = Literal["server", "client", "internal"]

# The conventions' names of providers, where they differ from litellm's.
PROVIDER_NAMES = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span's place in its trace, as the two headers of W3C Trace Context have it.

    What a client sent is not checked before a span is begun with it.
    """

    traceparent: str
    tracestate: str = ""
    is_remote: bool = False  # it is a span of another program

    @classmethod
    def received(cls, traceparent: str, tracestate: str = "") -> TraceContext:
        """The context that a client sent; a state beyond the bound is left out."""
        state = tracestate if len(tracestate) <= MOST_TEXT else ""
        return cls(traceparent[:MOST_TEXT], state, is_remote=True)

    @property
    def is_sampled(self) -> bool:
        """Whether the span is sent to a collector."""
        return self.traceparent[-1:] in set("13579bdf")

    def headers(self) -> dict[str, str]:
        """The headers of a request that is made within the span."""
        state = {TRACESTATE: self.tracestate} if self.tracestate else {}
        return {TRACEPARENT: self.traceparent, **state}


# What came with the request that is served. Tasks that it starts inherit it, as `logs.CALLER`.
RECEIVED: ContextVar[TraceContext | None] = ContextVar("received", default=None)


class Span:
    """A span that has begun. One that is never ended is never sent."""

    __slots__ = ("_span", "context")

    def __init__(self, span: otel.Span, context: TraceContext) -> None:
        self.context = context
        self._span = span

    def end(self, attributes: Attributes, error: str = "") -> None:
        """End it now, with what became known, and as failed if there is an ``error``, a code."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - rule 1

        self._span.set_attributes(_known({**attributes, "error.type": error or None}))
        if error:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Traces:
    """Makes spans, and sends them to a collector from a thread of its own.

    ``endpoint`` is the collector's address. The SDK's own variables (`OTEL_…`) set all else.
    ``worker`` is the number of the process, 0 if it is the only one; ``now`` is monotonic.
    Raises ``ConfigError`` where the SDK is not installed, or cannot be set up.
    """

    def __init__(self, endpoint: str, *, worker: int, now: Now) -> None:
        check_installed()
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415 - rule 1
        from opentelemetry.sdk.trace import TracerProvider, export  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        logging.getLogger(SDK_LOGGER).setLevel(logging.CRITICAL)
        try:
            sender = trace_exporter.OTLPSpanExporter(endpoint=traces_url(endpoint))
            self._exporter = ReportingExporter(sender, now)
            processor = export.BatchSpanProcessor(self._exporter)  # type: ignore[arg-type]
            self._provider = TracerProvider(resource=_resource(worker), shutdown_on_exit=False)
        except Exception as unusable:  # noqa: BLE001 - whatever a wrong variable leads to
            raise ConfigError(
                "key 'telemetry.otlp_endpoint': OpenTelemetry cannot be set up "
                f"({type(unusable).__name__}): correct the variables of the environment that begin "
                "with OTEL_"
            ) from None
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SCOPE, __version__)
        self._headers = tracecontext.TraceContextTextMapPropagator()

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        *,
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
    ) -> Span:
        """Begin a span now; without a parent, or with one that cannot be read, a trace of its own.

        A span is linked to what it belongs to beside its parent.
        """
        from opentelemetry import trace as otel  # noqa: PLC0415 - rule 1
        from opentelemetry.context import Context  # noqa: PLC0415

        above = None if parent is None else otel.NonRecordingSpan(self._parsed(parent))
        span = self._tracer.start_span(
            name,
            Context() if above is None else otel.set_span_in_context(above, Context()),
            otel.SpanKind[kind.upper()],
            _known(attributes),
            [otel.Link(self._parsed(one)) for one in links],
        )
        carrier: dict[str, str] = {}
        self._headers.inject(carrier, otel.set_span_in_context(span, Context()))
        return Span(span, TraceContext(carrier.get(TRACEPARENT, ""), carrier.get(TRACESTATE, "")))

    async def close(self) -> None:
        """Send what is left, for ``CLOSE_SECONDS`` at most. No span may end afterwards."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()

        def work() -> None:
            self._provider.shutdown()
            done.set_result(None)

        # A daemon: the end of the process does not wait for it either.
        threading.Thread(target=work, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.wrap_future(done)
        except TimeoutError:
            log.warning("spans_unsent seconds=%g", CLOSE_SECONDS)
            self._exporter.shutdown()  # it makes no further attempt

    def _parsed(self, context: TraceContext) -> otel.SpanContext:
        """The context as the SDK has it; an invalid one if it cannot be read."""
        from opentelemetry import trace as otel  # noqa: PLC0415 - rule 1
        from opentelemetry.context import Context  # noqa: PLC0415

        read = self._headers.extract(context.headers(), Context())
        found = otel.get_current_span(read).get_span_context()
        return otel.SpanContext(
            found.trace_id,
            found.span_id,
            is_remote=context.is_remote,
            trace_flags=found.trace_flags,
            trace_state=found.trace_state,
        )


class ReportingExporter:
    """A ``SpanExporter`` around another: the log has a line if spans are lost, not too often.

    Its methods are called in threads of the SDK.
    """

    def __init__(self, exporter: SpanExporter, now: Now) -> None:
        self._exporter = exporter
        self._now = now
        self._lost = 0  # spans, since the last line
        self._quiet_until = -math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; the SDK makes the attempts, until the time of `OTEL_…_TIMEOUT` is over."""
        result = self._exporter.export(spans)
        if result.name != "SUCCESS":
            self._lost += len(spans)
            if self._now() >= self._quiet_until:
                self._quiet_until = self._now() + LOG_SECONDS
                log.warning("spans_lost spans=%d", self._lost)
                self._lost = 0
        return result

    def shutdown(self) -> None:
        """Send no more. May be called twice."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here."""
        return self._exporter.force_flush(timeout_millis)


def check_installed() -> None:
    """Raises ``ConfigError`` where the SDK is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415 - rule 1
        import opentelemetry.sdk.trace  # noqa: F401, PLC0415
    except ImportError:
        raise ConfigError(
            "key 'telemetry.otlp_endpoint': the library that sends traces is not installed: "
            'pip install "ws-bridge[otel]", or remove the key'
        ) from None


def traces_url(endpoint: str) -> str:
    """Where a collector takes spans: below its address, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it."""
    base = endpoint.rstrip("/")
    return base if base.endswith(SIGNAL_PATH) else base + SIGNAL_PATH


def provider_name(provider: str) -> str:
    """The name that the conventions have for a provider of litellm's."""
    return PROVIDER_NAMES.get(provider, provider)


def _known(attributes: Attributes) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _resource(worker: int) -> Resource:
    """What all spans of this process have; the environment's own words go before the bridge's."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - rule 1

    own: dict[str, Value] = {
        "service.name": "ws-bridge",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        **({"ws_bridge.worker": worker} if worker else {}),
    }
    return Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
