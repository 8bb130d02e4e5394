"""A round's figures, as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attack.rounds import COUNTED, Result


def told(result: Result) -> str:
    """All of it."""
    return "".join(f"{line}\n" for line in _lines(result))


def _lines(result: Result) -> Iterator[str]:
    quiet, attacked = result.quiet, result.attacked
    yield f"attack: {result.seconds:.0f} s"
    for name, seen in (("without", quiet), ("under the attack", attacked)):
        figures = ", ".join(f"{at} {seen[at]:.1f} ms" for at in ("p50", "p99", "max"))
        yield f"events late, {name}: {figures} ({seen['pieces']})"
    added = {at: attacked[at] - quiet[at] for at in ("p50", "p99")}
    yield f"added: p50 {added['p50']:.1f} ms, p99 {added['p99']:.1f} ms"
    yield (
        f"memory: {result.before_mib:.0f} MiB before, {result.peak_mib:.0f} MiB at most: "
        f"{result.peak_mib - result.before_mib:.0f} MiB more, of {result.sum_mib:.0f}"
    )
    for name, most in COUNTED.items():
        yield f"{name}: {result.most.get(name, 0):,.0f} of {most:,}"
    yield f"an answer without an end was let say {result.let_say_mib:.0f} MiB at most"
    for (wave, status), count in sorted(result.counts.items(), key=str):
        yield f"  {wave}: {count} x {status}"
    for warning, count in result.warnings.items():
        yield f"  logged {count} x {warning}"
    for problem in result.problems:
        yield f"WRONG: {problem}"
