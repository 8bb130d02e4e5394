"""The section: a row for each type and option that a table names, a column for each family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ws_bridge.upstream.dialects.table import (
    REFUSE,
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
        names = known(tables.values(), column)
        yield f"| {title} | {' | '.join(tables)} |"
        yield "|---|" + "---|" * len(tables)
        for name in names:
            cells = [getattr(table, column).get(name, REFUSE) for table in tables.values()]
            yield f"| `{name}` | {' | '.join(_shown(cell, notes) for cell in cells)} |"
        yield ""
    for note, number in notes.items():
        yield f"{number}. {note}"


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
