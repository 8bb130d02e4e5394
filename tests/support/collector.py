"""A collector on loopback that takes spans as OTLP over HTTP has them, in protobuf.

Its own thread, as the exporter's: what it has taken is read at any time.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from support.hang import HANG_SECONDS

REMOTE = 0x200  # of a span's or link's flags: its parent, or the other end, is of another program
PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class SpanSeen:
    """One span, its ids in hexadecimal."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    has_remote_parent: bool
    state: str
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    is_error: bool
    start: int
    end: int
    resource: dict[str, Any] = field(repr=False)

    @property
    def place(self) -> tuple[str, str]:
        return self.trace, self.id


class Collector:
    """A context manager. ``status`` is what it answers; it waits while ``gate`` is not set.

    ``bodies`` has the bytes of all requests, ``heads`` their headers, ``spans`` what was in them.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.spans: list[SpanSeen] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector._take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_until(self, is_met: Callable[[], bool]) -> None:
        """Return when something that was taken meets it. Raises ``TimeoutError``."""
        with self._changed:
            if not self._changed.wait_for(is_met, HANG_SECONDS):
                raise TimeoutError

    def named(self, start: str) -> list[SpanSeen]:
        """The spans whose names begin so, as they began."""
        found = [span for span in self.spans if span.name.startswith(start)]
        return sorted(found, key=lambda span: span.start)

    def of_kind(self, kind: str) -> list[SpanSeen]:
        """The spans of a kind, as they began."""
        return sorted((one for one in self.spans if one.kind == kind), key=lambda one: one.start)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        is_right = request.path == "/v1/traces" and request.headers["Content-Type"] == PROTOBUF
        with self._changed:
            self.bodies.append(body)
            self.heads.append({name.lower(): value for name, value in request.headers.items()})
            self._changed.notify_all()
        self.gate.wait()
        status = self.status if is_right else 404
        if status == 200:
            with self._changed:
                self.spans += _spans_of(body)
                self._changed.notify_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        try:
            request.send_response(status)
            request.send_header("Content-Type", PROTOBUF)
            request.send_header("Content-Length", str(len(answer)))
            request.end_headers()
            request.wfile.write(answer)
        except OSError:  # the exporter did not wait
            request.close_connection = True


def _spans_of(body: bytes) -> list[SpanSeen]:
    found = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        words = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            found += [_span(one, words) for one in scope.spans]
    return found


def _span(span: Any, resource: dict[str, Any]) -> SpanSeen:
    return SpanSeen(
        name=span.name,
        kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        has_remote_parent=bool(span.flags & REMOTE),
        state=span.trace_state,
        attributes=_attributes(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        resource=resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
