"""The numbers of one process: counters of what happens, and gauges that are read now and then.

Rule 1: counting costs nothing for an event of a response, only for a response, request or socket.
Rule 2: a label has few values, whatever clients send: a model is its entry in the operator's table,
a key is its name, a route is its pattern. Beyond so many series all others are one.
Rule 3: where several processes are one server, prometheus_client keeps each number in a file that
its reader shares (`processes/metrics_page.py`), so that a process that is killed takes none along.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, TypeVar, cast

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from ws_bridge import __version__
from ws_bridge.clock import Clock
from ws_bridge.jobs.observe import JobFinished, JobStarted
from ws_bridge.upstream.base import Target

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Of what takes a provider its time: OpenTelemetry's buckets for `gen_ai.client.operation.duration`.
LONG_SECONDS = tuple(0.01 * 2**step for step in range(14))
STORE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3)
REFRESH_SECONDS = 5.0  # the age of a gauge; some of them walk over all sockets or tasks

RESPONSE = ("model", "provider", "key", "transport", "outcome")
MOST_SERIES = 5_000  # sets of these labels; a set is about ten numbers
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})
CLOSE_CODES = frozenset({*range(1000, 1016)})

M = TypeVar("M", Counter, Gauge)
Mode = Literal["livesum", "livemin", "livemax", "sum"]  # how several processes are one number


@dataclass(frozen=True, slots=True)
class ResponseSeries:
    """The counters of the responses with one set of labels."""

    responses: Counter
    cost: Counter
    tokens: Mapping[str, Counter]
    first_event: Histogram
    first_chunk: Histogram
    duration: Histogram


class Metrics:
    """The process's numbers, in a registry of their own."""

    def __init__(self, worker: int = 0) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._worker = worker  # its number, where several processes serve one address
        self._readers: list[tuple[Gauge, Callable[[], float]]] = []
        self._series: dict[tuple[str, ...], ResponseSeries] = {}
        self._children: dict[tuple[Counter | Gauge, tuple[str, ...]], Counter | Gauge] = {}
        self._gauges: dict[tuple[str, ...], Gauge] = {}  # of running responses, by their labels
        self._running: dict[str, Gauge] = {}  # by response: the one that counts it

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ws_bridge_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self._started = counter("responses_started", "Responses begun", "transport")
        self._finished = counter("responses", "Responses by outcome", *RESPONSE)
        self._tokens = counter("tokens", "Tokens as providers told them", *RESPONSE, "type")
        self._cost = counter("cost_usd", "What responses cost", *RESPONSE)
        self._tried = counter("tries", "Targets asked", "model", "provider", "outcome")
        self._cooled = counter("cooldowns", "Rests after failures", "model", "provider")
        self._events = counter("events", "Events of ended responses")
        self._breaches = counter("limited", "Refusals by a limit", "limit")
        self._refused = counter("refused", "Requests and creates refused", "reason")
        self._answered = counter("http_requests", "HTTP requests", "route", "method", "status")
        self._opened = counter("sockets", "Sockets opened")
        self._closed = counter("socket_closes", "Sockets closed", "code")
        by = ("model", "outcome")
        self._first_event = histogram(
            "ws_bridge_first_event_seconds", "Until a response's first event", SECONDS, *by
        )
        self._first_chunk = histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            *("Until a provider's answer begins", LONG_SECONDS, *by),
        )
        self._duration = histogram(
            "gen_ai_client_operation_duration_seconds", "Of a response", LONG_SECONDS, *by
        )
        self._store = histogram(
            "ws_bridge_store_seconds", "A round trip to the store", STORE_SECONDS, "script"
        )
        self._add_gauges()

    def _add_gauges(self) -> None:
        text, labels = "Responses being generated, by whom they are for", RESPONSE[:-1]
        self._running_by = Gauge(
            "ws_bridge_running", text, labels, registry=self.registry, multiprocess_mode="livesum"
        )
        ProcessCollector(registry=self.registry)
        build = {"version": __version__, "litellm": version("litellm")}
        build["python"] = platform.python_version()
        info = Gauge(
            *("ws_bridge_build_info", "The release", tuple(build)),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        info.labels(**build).set(1)
        # A number that grows with the hours is a leak. Memory that grows where blocks do not is the
        # allocator's: it keeps what a peak took. To count two million blocks takes 70 microseconds.
        self.gauge("tasks", "Asyncio tasks of the process", lambda: len(asyncio.all_tasks()))
        self.gauge("blocks", "Blocks of memory that Python's objects take", sys.getallocatedblocks)

    # What happens

    def observe(self, happened: JobStarted | JobFinished) -> None:
        """Count what happened to a job."""
        if isinstance(happened, JobStarted):
            self._child(self._started, happened.transport).inc()
            self._running[happened.id] = gauge = self._gauge_of(happened)
            gauge.inc()
            return
        if happened.id in self._running:
            self._running.pop(happened.id).dec()
        series = self._series_of(happened)
        series.responses.inc()
        for kind, count in tokens_of(happened.usage):
            series.tokens[kind].inc(count)
        if happened.cost:
            series.cost.inc(happened.cost)
        if happened.first_event_seconds is not None:
            series.first_event.observe(happened.first_event_seconds)
        if happened.first_chunk_seconds is not None:
            series.first_chunk.observe(happened.first_chunk_seconds)
        series.duration.observe(happened.seconds)
        self._events.inc(happened.events)
        for tried in happened.tried:
            target = tried.target
            self._child(self._tried, target.entry, target.provider, tried.outcome).inc()

    def limit_reached(self, limit: str) -> None:
        """Count a refusal by a limit of the configuration."""
        self._breaches.labels(limit).inc()

    def refused(self, reason: str) -> None:
        """Count a request or create that was refused. ``reason`` is the code of its error."""
        self._refused.labels(reason).inc()

    def answered(self, route: str, method: str, status: int) -> None:
        """Count an HTTP request. ``route`` is a pattern of the table of routes."""
        self._answered.labels(route, method if method in METHODS else OTHER, status).inc()

    def socket_opened(self) -> None:
        """Count a socket."""
        self._opened.inc()

    def socket_closed(self, code: int | None) -> None:
        """Count the end of a socket; without a code its connection was lost."""
        known = 1006 if code is None else code
        self._closed.labels(known if known in CLOSE_CODES else OTHER).inc()

    def cooled(self, target: Target) -> None:
        """Count a target that rests after a failure."""
        self._cooled.labels(target.entry, target.provider).inc()

    def store_called(self, script: str, seconds: float) -> None:
        """Count a round trip to the store."""
        self._store.labels(script).observe(seconds)

    def _child(self, metric: M, *labels: str) -> M:
        """The series of a metric with these labels: to look it up there takes its time."""
        found = self._children.get((metric, labels))
        if found is None:
            found = self._children[metric, labels] = metric.labels(*labels)
        return cast("M", found)

    def _gauge_of(self, job: JobStarted) -> Gauge:
        labels = (job.entry, job.provider, job.key, job.transport)
        found = self._gauges.get(labels)
        if found is None and len(self._gauges) >= MOST_SERIES:
            labels = (OTHER, OTHER, OTHER, job.transport)
            found = self._gauges.get(labels)
        if found is None:
            found = self._gauges[labels] = self._running_by.labels(*labels)
        return found

    def _series_of(self, job: JobFinished) -> ResponseSeries:
        labels = (job.entry, job.provider, job.key, job.transport, job.outcome)
        found = self._series.get(labels)
        if found is None and len(self._series) >= MOST_SERIES:
            labels = (OTHER, OTHER, OTHER, job.transport, job.outcome)
            found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = ResponseSeries(
                responses=self._finished.labels(*labels),
                cost=self._cost.labels(*labels),
                tokens={kind: self._tokens.labels(*labels, kind) for kind in TOKENS},
                first_event=self._first_event.labels(labels[0], job.outcome),
                first_chunk=self._first_chunk.labels(labels[0], job.outcome),
                duration=self._duration.labels(labels[0], job.outcome),
            )
        return found

    # What is

    def gauge(
        self, name: str, text: str, read: Callable[[], float], mode: Mode = "livesum"
    ) -> None:
        """Add a number that is read when the gauges are. ``sum`` is one that only grows."""
        gauge = Gauge(f"ws_bridge_{name}", text, registry=self.registry, multiprocess_mode=mode)
        self._readers.append((gauge, read))

    def refresh(self) -> None:
        """Read all gauges, in the event loop."""
        for gauge, read in self._readers:
            gauge.set(read())

    async def run(self, clock: Clock) -> None:
        """Read the gauges every few seconds, for a page that another process or thread serves."""
        while True:
            self.refresh()
            await clock.sleep(REFRESH_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """The numbers of this process, for clients: without the names of keys.

        One of several workers labels its series with its number.
        """
        own = {"worker": str(self._worker)} if self._worker else {}
        for metric in self.registry.collect():
            metric.samples = list(_without_keys(metric.samples, own))
            yield metric

    async def show(self, _request: web.Request) -> web.Response:
        """Answer with the text that Prometheus reads."""
        self.refresh()
        text = generate_latest(self)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


def _without_keys(samples: list[Sample], own: Mapping[str, str]) -> Iterator[Sample]:
    """The samples, those of all keys as one."""
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
    for one in samples:
        labels = tuple((name, text) for name, text in one.labels.items() if name != "key")
        sums[one.name, labels] += one.value
    for (name, labels), value in sums.items():
        yield Sample(name, {**dict(labels), **own}, value)


# Of a Responses usage: where each kind of token stands. Cached ones are input, reasoning is output.
TOKENS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "cached": ("input_tokens_details", "cached_tokens"),
    "reasoning": ("output_tokens_details", "reasoning_tokens"),
}


def tokens_in(usage: Any) -> int:
    """How many tokens went in and came out."""
    counts = dict(tokens_of(usage))
    return counts.get("input", 0) + counts.get("output", 0)


def tokens_of(usage: Any) -> Iterator[tuple[str, int]]:
    """The kinds of tokens that were used, and how many."""
    if not usage:
        return
    for kind, path in TOKENS.items():
        value = usage
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int) and value > 0:
            yield kind, value
