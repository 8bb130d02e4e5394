"""What an operator learns about each response: one `JobStarted` and one `JobFinished`.

An observer is a function of one frozen value, called in the event loop: it must not wait or raise.
`server/app.py` gives them to the log and to `/metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ws_bridge.jobs.spec import JobSpec
from ws_bridge.types import Json
from ws_bridge.upstream.base import Tried


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A response begins."""

    id: str
    model: str
    transport: str


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

    @property
    def cost(self) -> float | None:
        """What it cost in USD, if the usage has it (``report_cost``)."""
        cost = (self.usage or {}).get("cost")
        return float(cost) if isinstance(cost, int | float) else None


Observe = Callable[[JobStarted | JobFinished], None]


def finished(spec: JobSpec, result: Json | None, *, error: str, **facts: Any) -> JobFinished:
    """The outcome of a response; without a result it was refused."""
    failure = (result or {}).get("error") or {}
    return JobFinished(
        id=spec.record.id,
        model=spec.envelope.model,
        provider=spec.target.provider,
        transport=spec.transport,
        outcome=result["status"] if result else "refused",
        error=error or str(failure.get("code") or ""),
        usage=(result or {}).get("usage"),
        **facts,
    )


def line_of(job: JobFinished) -> tuple[str, ...]:
    """One line of the log, its fields and their values; never a key, never content."""
    usage, first = job.usage or {}, job.first_event_seconds
    fields = {
        "id": job.id,
        "model": job.model,
        "transport": job.transport,
        "outcome": job.outcome,
        "tried": ",".join(f"{one.target.model}:{one.outcome}" for one in job.tried) or "-",
        "error": job.error or "-",
        "events": job.events,
        "first_ms": "-" if first is None else f"{first * 1000:.1f}",
        "seconds": f"{job.seconds:.3f}",
        "tokens": f"{usage.get('input_tokens', 0)}+{usage.get('output_tokens', 0)}",
        "cost": "-" if job.cost is None else f"{job.cost:.6f}",
    }
    return (" ".join(("response", *(f"{key}=%s" for key in fields))), *map(str, fields.values()))
