"""Figures → a table with the limit of each. Pure.

Rule: what a busy machine can spoil (latency, CPU, rates) is told beside its target and fails
nothing; what it cannot spoil (drops, memory, what is left over) fails the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from tests.bench.report import table

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """How high a figure may be, and whether more than that fails the run."""

    most: float
    fails: bool


LIMITS: Mapping[tuple[str, str], Limit] = {
    ("hold", "refused"): Limit(0, fails=True),
    ("hold", "dropped"): Limit(0, fails=True),
    ("hold", "pings missed"): Limit(0, fails=True),
    ("hold", "KiB a connection"): Limit(25, fails=True),
    ("hold", "KiB a stream, half-way"): Limit(400, fails=True),
    ("hold", "CPU % idle, pings answered"): Limit(10, fails=False),
    ("hold", "streams' added p50 ms"): Limit(1, fails=False),
    ("hold", "streams' added p99 ms"): Limit(10, fails=False),
    ("storm", "refused"): Limit(0, fails=True),
    ("storm", "dropped"): Limit(0, fails=True),
    ("storm", "all in after s"): Limit(30, fails=False),
    ("storm", "streams' p99 ms"): Limit(250, fails=False),
    ("churn", "refused"): Limit(0, fails=True),
    ("churn", "descriptors more"): Limit(2, fails=True),
    ("churn", "tasks more"): Limit(0, fails=True),
    ("churn", "MiB more"): Limit(4, fails=True),
}
TITLES = {
    "hold": "Held (C24): all idle, then with streams beside them",
    "storm": "Back at once (C25), while streams run",
    "churn": "Coming and going (C26)",
}


def broken(figures: Mapping[str, Json]) -> Iterator[str]:
    """The limits that fail the run."""
    for act, told in figures.items():
        for name, value in told.items():
            limit = LIMITS.get((act, name), Limit(inf, fails=False))
            if limit.fails and value > limit.most:
                yield f"{act}: {name} is {_said(value)}, and may be {limit.most:g}"


def markdown(figures: Mapping[str, Json], about: Json) -> str:
    """The whole report."""
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    tables = [f"## {TITLES[act]}\n\n{table(_rows(act, told))}\n" for act, told in figures.items()]
    problems = "\n".join(f"- {one}" for one in broken(figures)) or "Every limit that fails was met."
    return "\n".join(["# Scale: many sockets, one process\n", facts, "", *tables, problems, ""])


def _rows(act: str, told: Json) -> list[dict[str, str]]:
    rows = []
    for name, value in told.items():
        limit = LIMITS.get((act, name))
        said = "" if limit is None else f"≤ {limit.most:g}{'' if limit.fails else ' (target)'}"
        met = "" if limit is None else "ok" if value <= limit.most else "ABOVE"
        rows.append({"figure": name, "value": _said(value), "limit": said, "": met})
    return rows


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
