"""What an operator learns about each response: one `JobStarted` and one `JobFinished`.

An observer is a function of one frozen value, called in the event loop: it must not wait or raise.
`server/app.py` gives them to the log and to the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ws_bridge.jobs.spec import JobSpec
from ws_bridge.logs import UNKNOWN, key_name
from ws_bridge.types import Json
from ws_bridge.upstream.base import Tried
from ws_bridge.upstream.prices import PriceRow


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A response begins. ``entry`` is the model's name in the operator's table, ``key`` a name."""

    id: str
    model: str
    transport: str
    entry: str
    provider: str
    key: str


@dataclass(frozen=True, slots=True)
class JobFinished:
    """A response ended, or was refused before it began."""

    id: str
    model: str
    provider: str
    transport: str
    outcome: str  # a terminal status, or "refused": an error before `response.created`
    error: str
    events: int
    first_event_seconds: float | None
    seconds: float
    usage: Json | None
    tried: tuple[Tried, ...] = ()  # whom was asked, in order; the last one may answer
    entry: str = ""
    key: str = UNKNOWN
    owner: str = ""
    first_chunk_seconds: float | None = None  # until something of an answer had come
    cost: float | None = None  # in USD; None: the prices, or what was used, are not known


Observe = Callable[[JobStarted | JobFinished], None]


def started(spec: JobSpec) -> JobStarted:
    """The beginning of a response, for the key of the request that this task serves."""
    given = (spec.record.id, spec.envelope.model, spec.transport, spec.entry)
    return JobStarted(*given, provider=spec.target.provider, key=key_name())


def finished(
    spec: JobSpec, result: Json | None, *, error: str, prices: PriceRow | None, **facts: Any
) -> JobFinished:
    """The outcome of a response; without a result it was refused."""
    failure, usage = (result or {}).get("error") or {}, (result or {}).get("usage")
    return JobFinished(
        id=spec.record.id,
        model=spec.envelope.model,
        provider=spec.target.provider,
        transport=spec.transport,
        outcome=result["status"] if result else "refused",
        error=error or str(failure.get("code") or ""),
        usage=usage,
        entry=spec.entry,
        key=key_name(),
        owner=spec.record.owner,
        cost=cost_of(usage, prices),
        **facts,
    )


def cost_of(usage: Json | None, prices: PriceRow | None) -> float | None:
    """USD, as the provider or the bridge has told it, or else by the prices of the model."""
    if not usage:
        return None
    known = usage.get("cost")
    if isinstance(known, int | float):
        return float(known)
    return None if prices is None else prices.cost(usage)


def line_of(job: JobFinished) -> tuple[Any, ...]:
    """One line of the log, its fields and their values; never a key, never content."""
    usage, first = job.usage or {}, job.first_event_seconds
    fields: dict[str, tuple[str, Any]] = {
        "id": ("%s", job.id),
        "model": ("%s", job.model),
        "transport": ("%s", job.transport),
        "outcome": ("%s", job.outcome),
        "tried": ("%s", ",".join(f"{one.target.model}:{one.outcome}" for one in job.tried) or None),
        "error": ("%s", job.error or None),
        "events": ("%d", job.events),
        "first_ms": ("%.1f", None if first is None else first * 1000),
        "seconds": ("%.3f", job.seconds),
        "tokens": ("%s", f"{usage.get('input_tokens', 0)}+{usage.get('output_tokens', 0)}"),
        "cost": ("%.6f", job.cost),
    }
    known = {
        name: ("%s", UNKNOWN) if value is None else (how, value)
        for name, (how, value) in fields.items()
    }
    form = " ".join(("response", *(f"{name}={how}" for name, (how, _) in known.items())))
    return (form, *(value for _, value in known.values()))
