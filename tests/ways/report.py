"""Tables and lists, as they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ways.measure import Counted
from ways.recorder import Bytes, Entered
from ways.way import Way

HEAD = (
    "way", "provider", "files", "calls", "resumptions", "depth", "async generators", "loop steps",
    "all Python calls", "alike", "whole thread's calls",
)  # fmt: skip


def table(rows: Sequence[Counted]) -> str:
    """One line a way, as Markdown."""
    lines = [HEAD, ["---"] * 2 + ["--:"] * (len(HEAD) - 2), *map(_cells, rows)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _cells(row: Counted) -> list[object]:
    way = row.steady.way
    return [
        *(row.name, row.family.title, len(way.files), way.calls, way.resumptions, way.depth),
        *(way.async_generators, way.loop_steps, way.all_calls),
        f"{row.steady.alike} of {row.steady.count}",
        "" if row.whole is None else round(row.whole),
    ]


def listing(row: Counted) -> str:
    """The files of a way, and its functions in their order, indented by their depth."""
    way = row.steady.way
    files = "".join(f"  {number:2} {file}\n" for number, file in enumerate(way.files, 1))
    functions = "".join(f"  {line}\n" for line in _lines(way))
    return f"{row.name}, {row.family.title}\n{files}\n{functions}"


def _lines(way: Way) -> Iterator[str]:
    is_said = True
    for each in way.happened:
        if isinstance(each, Bytes):
            yield f"{'<-' if each.direction == 'from' else '->'} {each.peer}"
        elif isinstance(each, Entered):
            if not is_said:
                yield "-- the event loop"
            is_said = True
            yield _line(each)
        else:
            is_said = False


def _line(entered: Entered) -> str:
    mark = "~ " if entered.is_resumed else ""
    return f"{'. ' * entered.depth}{mark}{entered.function.name}  ({entered.function.file})"
