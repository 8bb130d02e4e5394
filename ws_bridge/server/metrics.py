"""`/metrics`: counters of what happens to jobs, and gauges that are read on request."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

from ws_bridge.jobs.observe import JobFinished, JobStarted

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The server's numbers, in a registry of their own."""

    def __init__(self, worker: int = 0) -> None:
        registry = self._registry = CollectorRegistry()
        self._worker = worker  # its number, where several processes serve one address
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
        self._breaches = Counter(
            "ws_bridge_limited", "Refusals by a limit", ["limit"], registry=registry
        )
        self._first = Histogram(
            "ws_bridge_first_event_seconds",
            "From the create to the response's first event",
            buckets=SECONDS,
            registry=registry,
        )
        # A number that grows with the hours is a leak. Memory that grows where blocks do not is the
        # allocator's: it keeps what a peak took. To count two million blocks takes 70 microseconds.
        self.gauge("tasks", "Asyncio tasks of the process", lambda: len(asyncio.all_tasks()))
        self.gauge("blocks", "Blocks of memory that Python's objects take", sys.getallocatedblocks)

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

    def limit_reached(self, limit: str) -> None:
        """Count a refusal by a limit of the configuration."""
        self._breaches.labels(limit).inc()

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a number that is read at each request of `/metrics`."""
        gauge = Gauge(f"ws_bridge_{name}", text, registry=self._registry)
        gauge.set_function(read)

    def collect(self) -> Iterator[Metric]:
        """All numbers. One of several workers labels its series with its number."""
        own = {"worker": str(self._worker)} if self._worker else {}
        for metric in self._registry.collect():
            metric.samples = [one._replace(labels=one.labels | own) for one in metric.samples]
            yield metric

    async def show(self, _request: web.Request) -> web.Response:
        """Answer with the text that Prometheus reads."""
        text = generate_latest(self)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
