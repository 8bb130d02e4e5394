"""`/metrics`: an observer of jobs and a reader of gauges. Nothing else knows of it."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ws_bridge.plan import JobFinished, JobStarted

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The server's numbers, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._started = Counter(
            "ws_bridge_responses_started", "Responses begun", ["transport"], registry=registry
        )
        self._finished = Counter(
            "ws_bridge_responses",
            "Responses by outcome",
            ["provider", "outcome"],
            registry=registry,
        )
        self._tried = Counter(
            "ws_bridge_tries",
            "Targets asked: answers, or the status of the failure",
            ["provider", "outcome"],
            registry=registry,
        )
        self._events = Counter("ws_bridge_events", "Events of ended responses", registry=registry)
        self._first = Histogram(
            "ws_bridge_first_event_seconds",
            "From the create to the response's first event",
            buckets=SECONDS,
            registry=registry,
        )

    def observe(self, happened: JobStarted | JobFinished) -> None:
        """Count what happened to a job."""
        if isinstance(happened, JobStarted):
            self._started.labels(happened.transport).inc()
            return
        self._finished.labels(happened.provider, happened.outcome).inc()
        self._events.inc(happened.events)
        for tried in happened.tried:
            self._tried.labels(tried.target.provider, tried.outcome).inc()
        if happened.first_event_seconds is not None:
            self._first.observe(happened.first_event_seconds)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a number that is read when somebody asks for it."""
        gauge = Gauge(f"ws_bridge_{name}", text, registry=self._registry)
        gauge.set_function(read)

    async def show(self, _request: web.Request) -> web.Response:
        """The text that Prometheus reads."""
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
