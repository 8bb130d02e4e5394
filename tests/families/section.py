"""The section: a row for each type and option that a table names, a column for each family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ws_bridge.protocol.request import REFERENCE
from ws_bridge.upstream.dialects.table import (
    Cell,
    Harmless,
    Refuse,
    RequestTable,
    Translate,
    known,
)

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BEGIN, END = "<!-- families -->\n", "<!-- /families -->\n"
COLUMNS = {
    "tools": "Tools",
    "choices": "Tool choices",
    "items": "Items",
    "parts": "Parts of messages and outputs",
    "options": "Options",
    "includes": "Values of `include`",
}


def section(tables: Mapping[str, RequestTable]) -> str:
    """The Markdown of all tables."""
    return "\n".join(_lines(tables)) + "\n"


def replaced(page: str, text: str) -> str:
    """The page with that section between its marks."""
    marked = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not marked.search(page):
        raise ValueError(f"{PAGE.name} has no marks for the section")
    return marked.sub(lambda _: BEGIN + text + END, page)


def _lines(tables: Mapping[str, RequestTable]) -> Iterator[str]:
    notes: dict[str, int] = {}
    for column, title in COLUMNS.items():
        yield f"| {title} | {' | '.join(tables)} |"
        yield "|---|" + "---|" * len(tables)
        for row, names in _rows(tables, column, notes).items():
            yield f"| {', '.join(f'`{name}`' for name in names)} | {row} |"
        yield ""
    for note, number in notes.items():
        yield f"{number}. {note}"


def _rows(
    tables: Mapping[str, RequestTable], column: str, notes: dict[str, int]
) -> dict[str, list[str]]:
    """Each row's cells, with the names that have them."""
    rows: dict[str, list[str]] = {}
    for name in known(tables.values(), column):
        if name == REFERENCE:  # its item stands in its place before a dialect is asked
            continue
        cells = [getattr(table, column).get(name, table.default) for table in tables.values()]
        rows.setdefault(" | ".join(_shown(cell, notes) for cell in cells), []).append(name)
    return rows


def _shown(cell: Cell, notes: dict[str, int]) -> str:
    if isinstance(cell, Harmless):
        return f"– {_note(cell.why, notes)}"
    if isinstance(cell, Refuse):
        return f"400 {_note(cell.hint, notes)}".strip()
    assert isinstance(cell, Translate)
    return f"yes {_note(cell.note, notes)}".strip()


def _note(text: str, notes: dict[str, int]) -> str:
    if not text:
        return ""
    return f"<sup>{notes.setdefault(text, len(notes) + 1)}</sup>"
