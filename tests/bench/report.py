"""Windows → numbers → a table. Pure.

Rule 1: a ratio or a difference is taken inside a round, then the median of the rounds is told.
Rule 2: no verdict; the reader compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from statistics import median
from typing import Any

from support.svg_plot import Bar, Group, bars

from tests.bench.driver import percentile
from tests.bench.field import Window
from tests.bench.loads import BRIDGE, DIRECT, PASS_THROUGH, SHARED, UNSTORED, Load

Json = dict[str, Any]
Row = dict[str, str]
Against = dict[tuple[int, str, str], Window]  # (round, load's name, subject)

NOTES = """\
Read along a load, never across loads: a stream alone costs more for each event, because every event
wakes an idle process. *CPU/event* is user and system time of the subject's process for one delta
of the upstream, the requests' fixed costs shared among the deltas; *ratio* is to the pass-through
of the same round, as median (lowest to highest). *Added* is the subject's latency less that of
a client that reads the upstream directly, from the upstream's write to the client's read, while all
streams of the load run; *with starts* is the p99 of the whole window, with all streams starting at
once. The pass-through sends another dialect's chunks on untranslated: there, its ratio is against
moving bytes only. Where others start beside running streams, the latencies are those of the running
ones, and not less the direct client's, from the moment when the others ask to the last one's first
event.
"""


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Median (lowest to highest)."""
    said = [form.format(value) for value in (median(values), min(values), max(values))]
    return said[0] if len(values) == 1 else f"{said[0]} ({said[1]} to {said[2]})"


def per_round(windows: list[Window], measure: Callable[[Window], float | None]) -> list[float]:
    """One measure in every round that has it."""
    return [value for window in windows if (value := measure(window)) is not None]


def grouped(windows: Iterable[Window]) -> dict[Load, dict[str, list[Window]]]:
    """By load, then by subject, in the order of the load's own list."""
    found: dict[Load, dict[str, list[Window]]] = {}
    for window in windows:
        found.setdefault(window.load, {name: [] for name in window.load.subjects})
        found[window.load][window.subject].append(window)
    return found


def against(windows: Iterable[Window]) -> Against:
    """Where to find what a window is compared with."""
    return {(window.round, window.load.name, window.subject): window for window in windows}


def ratio(window: Window, others: Against) -> float | None:
    """CPU as a multiple of the pass-through's in the same round."""
    limit = others[window.round, window.load.name, PASS_THROUGH]
    return window.cpu_ns / limit.cpu_ns if window.cpu_ns and limit.cpu_ns else None


def added(window: Window, others: Against, key: str) -> float:
    """Latency (ms) above the direct client's in the same round."""
    direct = others[window.round, window.load.name, DIRECT]
    return float(window.seen[key] - direct.seen[key])


def stream_row(subject: str, windows: list[Window], others: Against) -> Row:
    """One subject under one load."""
    cpu = per_round(windows, lambda window: window.cpu_us_per_delta)
    ratios = per_round(windows, lambda window: ratio(window, others))
    memory = per_round(windows, lambda window: window.rss_mib)
    row = {
        "subject": subject,
        "CPU µs/event": f"{median(cpu):.1f}" if cpu else "-",
        "ratio": spread(ratios) if ratios else "-",
        **{name: latency(windows, others, key) for name, key in LATENCIES.items()},
        "events/s": f"{median(window.deltas_per_second for window in windows):,.0f}",
        "RSS MiB": f"{max(memory):.0f}" if memory else "-",
    }
    if windows[0].load.kind == "burst":  # there, latency is the length of the upstream's queue
        row = {name: text for name, text in row.items() if name not in LATENCIES}
    return row


LATENCIES = {
    "added p50 ms": "p50_ms",
    "added p99 ms": "p99_ms",
    "p99 with starts": "p99_with_starts_ms",
}


def latency(windows: list[Window], others: Against, key: str) -> str:
    """Added latency; of the direct client, which nothing is added to, its own in brackets."""
    if windows[0].subject == DIRECT:
        return f"[{median(window.seen[key] for window in windows):.2f}]"
    return f"{median(added(window, others, key) for window in windows):.2f}"


def first_row(subject: str, windows: list[Window]) -> Row:
    """One subject asked one at a time: the answers of all rounds together."""
    cpu = per_round(windows, lambda window: window.cpu_ms_per_answer)
    row = {"subject": subject, "CPU ms/response": f"{median(cpu):.2f}" if cpu else "-"}
    for name, key in (("first event", "first_event_ms"), ("first text", "first_delta_ms")):
        values = [value for window in windows for value in window.seen[key]]
        for share in (50, 99):
            row[f"{name} p{share} ms"] = f"{percentile(values, share / 100):.2f}"
    return row


def starts_row(subject: str, windows: list[Window]) -> Row:
    """What running streams noticed of the others' start."""
    cpu = per_round(windows, lambda window: window.cpu_ms_per_answer)
    row = {"subject": subject, "CPU ms/response": f"{median(cpu):.2f}" if cpu else "-"}
    for name, key in STARTS.items():
        row[name] = spread([window.seen[key] for window in windows], "{:.1f}")
    return row


STARTS = {
    "running p50 ms": "beside_p50_ms",
    "running p99 ms": "beside_p99_ms",
    "worst ms": "beside_worst_ms",
    "all begun after ms": "all_begun_ms",
}


def rows(load: Load, subjects: dict[str, list[Window]], others: Against) -> list[Row]:
    """The table of one load."""
    if load.kind == "first":
        return [first_row(subject, windows) for subject, windows in subjects.items()]
    if load.kind == "starts":
        return [starts_row(subject, windows) for subject, windows in subjects.items()]
    return [stream_row(subject, windows, others) for subject, windows in subjects.items()]


def table(found: list[Row]) -> str:
    """A Markdown table, its columns aligned for a terminal."""
    names = list(found[0])
    width = {name: max(len(name), *(len(row[name]) for row in found)) for name in names}

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    head = line(name.ljust(width[name]) for name in names)
    rule = line("-" * width[name] for name in names)
    return "\n".join(
        [head, rule, *(line(row[name].ljust(width[name]) for name in names) for row in found)]
    )


def mirror_cost(others: Against) -> Row:
    """What storing costs: CPU with each store as a multiple of the same load not stored."""
    ratios: dict[str, list[float]] = {}
    for (number, load, subject), window in others.items():
        bare = others.get((number, load, UNSTORED))
        if subject in (BRIDGE, SHARED) and bare and bare.cpu_ns and window.cpu_ns:
            ratios.setdefault(subject, []).append(window.cpu_ns / bare.cpu_ns)
    return {f"CPU, {name} / store:false": spread(values) for name, values in ratios.items()}


def markdown(windows: list[Window], about: Json, extras: dict[str, Json], picture: str) -> str:
    """The whole report. ``extras`` are sections of single numbers; ``picture`` is a file's name."""
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    others = against(windows)
    tables = [
        f"## {load.name}\n\n{table(rows(load, subjects, others))}\n"
        for load, subjects in grouped(windows).items()
    ]
    if costs := mirror_cost(others):
        extras = {"What storing costs": costs} | extras
    for title, told in extras.items():
        listed = "\n".join(f"- {name}: {value}" for name, value in told.items())
        tables.append(f"## {title}\n\n{listed}\n")
    shown = [f"![The same as bars]({picture})\n"] if windows else []
    return "\n".join(
        ["# The bridge beside a bare pass-through\n", facts, "", NOTES, *shown, *tables]
    )


def picture(windows: list[Window]) -> str:
    """CPU of every subject under every load, and what running streams notice of a start."""
    groups = []
    for load, subjects in grouped(windows).items():
        measured = {name: found for name, found in subjects.items() if name != DIRECT}
        if load.kind == "starts":
            title, each = f"{load.name}: p99 of the running, ms", _noticed
        elif load.kind == "first":
            title, each = f"{load.name}: CPU ms a response", _cpu_per_answer
        else:
            title, each = f"{load.name}: CPU µs an event", _cpu_per_event
        groups.append(Group(title, [each(name, found) for name, found in measured.items()]))
    return bars("The bridge beside a bare pass-through", groups)


def _noticed(name: str, windows: list[Window]) -> Bar:
    late = median(window.seen["beside_p99_ms"] for window in windows)
    return Bar(name, late, f"{late:.1f}")


def _cpu_per_answer(name: str, windows: list[Window]) -> Bar:
    cost = median(per_round(windows, lambda window: window.cpu_ms_per_answer))
    return Bar(name, cost, f"{cost:.2f}")


def _cpu_per_event(name: str, windows: list[Window]) -> Bar:
    cost = median(per_round(windows, lambda window: window.cpu_us_per_delta))
    return Bar(name, cost, f"{cost:.1f}")


def plain(windows: list[Window], about: Json) -> Json:
    """Everything that was measured, for a later comparison; samples only where they are few."""
    return {"about": about, "windows": [_window(window) for window in windows]}


def _window(window: Window) -> Json:
    seen = {key: value for key, value in window.seen.items() if not isinstance(value, list)}
    named = {"load": window.load.name, "load_settings": asdict(window.load)}
    facts = {"round": window.round, "subject": window.subject, **named}
    costs = {"cpu_us_per_delta": window.cpu_us_per_delta, "rss_mib": window.rss_mib}
    firsts = {
        f"{key}_p{share}": percentile(window.seen[key], share / 100)
        for key in ("first_event_ms", "first_delta_ms")
        for share in (50, 99)
    }
    return facts | costs | {"cpu_ms_per_answer": window.cpu_ms_per_answer} | seen | firsts
