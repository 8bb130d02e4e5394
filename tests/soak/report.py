"""What a run saw → a table and a plot. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import Any

from support.svg_plot import Line, Panel, lines

from soak.judge import (
    BLOCKS,
    CPU,
    FDS,
    IN_USE,
    KEYS,
    RSS,
    STORED,
    TASKS,
    TO_PROVIDERS,
    TO_STORE,
    WARM_UP,
    Finding,
    Place,
    Sample,
)
from soak.tides import Seen
from tests.bench.report import table

SHOWN = 40  # problems in the report; all of them count
PLOTTED = (
    RSS,
    BLOCKS,
    IN_USE,
    FDS,
    TO_STORE,
    TO_PROVIDERS,
    TASKS,
    "connections",
    KEYS,
    STORED,
    CPU,
)


def markdown(seen: Seen, findings: Sequence[Finding], about: dict[str, Any]) -> str:
    """The whole report."""
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(seen.counts.items()))
    problems = "\n".join(f"- {one}" for one in seen.problems[:SHOWN]) or "None."
    return "\n".join(
        (
            "# Soak: clients come and go\n",
            facts,
            f"\nVisits by kind: {kinds}.\n",
            "![Everything that was sampled](soak.svg)\n",
            "## Growth after the warm-up\n",
            "At ebb is when no client is there. A slope is the median of the slopes between any",
            "two samples; one above its bound fails the run, and so does a value above its own.",
            "Garbage is collected before an ebb is read. Blocks are Python's, malloc's MiB are",
            "those in use: what leaks, grows there. RSS also has what peaks took, and nobody gives",
            "back.\n",
            table([row(finding) for finding in findings]),
            "\nAt the ebbs, in MiB of RSS:\n",
            *_ebbs(seen.samples, RSS, 1),
            "\nand in thousands of blocks:\n",
            *_ebbs(seen.samples, BLOCKS, 1000),
            f"\n## What was wrong ({len(seen.problems)})\n",
            problems,
            "",
        )
    )


def row(finding: Finding) -> dict[str, str]:
    """One line of the table."""
    gauge, who = finding.place
    told = finding.slope is not None
    return {
        "gauge": gauge,
        "of": who,
        "read": "at ebb" if finding.bound.at_ebb else "always",
        "first": f"{finding.first:.1f}" if told else "-",
        "last": f"{finding.last:.1f}" if told else "-",
        "highest": f"{finding.highest:.1f}" if told else "-",
        "slope/min": f"{finding.slope:+.2f}" if told else "too few samples",
        "bound/min": _bound(finding.bound.per_minute),
        "bound": _bound(finding.bound.most),
        "": "ok" if finding.is_bounded else "GROWS",
    }


def _ebbs(samples: Sequence[Sample], gauge: str, unit: float) -> Iterator[str]:
    """A gauge of each server at every ebb, the warm-up's too."""
    ebbs = [sample for sample in samples if sample.is_ebb]
    for place in dict.fromkeys(place for one in ebbs for place in one.values if place[0] == gauge):
        yield f"- {place[1]}: {' '.join(f'{one.values[place] / unit:.1f}' for one in ebbs)}"


def _bound(value: float) -> str:
    return "-" if value == inf else f"{value:g}"


def picture(samples: Sequence[Sample]) -> str:
    """Every gauge over the minutes of the run; the dashed line ends the warm-up."""
    ordered = sorted(samples, key=lambda sample: sample.at)
    panels = [Panel(gauge, _of_gauge(ordered, gauge)) for gauge in PLOTTED]
    end = ordered[-1].at / 60
    return lines("Soak: what the servers hold", "minutes", panels, mark=end * WARM_UP)


def _of_gauge(samples: Sequence[Sample], gauge: str) -> list[Line]:
    places = dict.fromkeys(
        place for sample in samples for place in sample.values if place[0] == gauge
    )
    series = _rate if gauge == CPU else _points
    return [Line(place[1], series(samples, place)) for place in places]


def _points(samples: Sequence[Sample], place: Place) -> list[tuple[float, float]]:
    return [(one.at / 60, one.values[place]) for one in samples if place in one.values]


def _rate(samples: Sequence[Sample], place: Place) -> list[tuple[float, float]]:
    """Seconds of CPU so far → percent of a core between two samples."""
    found = []
    for before, after in pairwise(samples):
        if after.at - before.at > 0.5:
            share = (after.values[place] - before.values[place]) / (after.at - before.at)
            found.append((after.at / 60, 100 * share))
    return found
