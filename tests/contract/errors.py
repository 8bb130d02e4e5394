"""The table of error codes in docs/protocol.md, for the two documents."""

import re
from dataclasses import dataclass
from functools import cache

from contract.page import rows, section

OF_HTTP = (404, 405, 413, 417)  # statuses that HTTP itself refuses with, under the first code
OF_SOCKETS = frozenset({"invalid_stream_id"})  # and those that are named for it
SECTION = re.compile(r"(?<![\w./§])(\d{1,2}\.\d)(?![\w.])|\bsection (\d{1,2})\b")


@dataclass(frozen=True)
class ErrorRow:
    """One code: its statuses, when it comes, and whether it is worth a retry."""

    code: str
    statuses: tuple[int, ...]
    when: str
    retry: str

    @property
    def words(self) -> str:
        """The row as a sentence of a list."""
        where = "on a socket only, " if self.is_of_sockets else ""
        return f"`{self.code}`: {where}{self.when}. Come back: {self.retry}."

    @property
    def is_of_sockets(self) -> bool:
        """Whether HTTP never has it."""
        return self.code in OF_SOCKETS or self.code.startswith("websocket_")


@cache
def error_rows() -> list[ErrorRow]:
    """All codes, in the order of the page."""
    return [
        ErrorRow(code.strip("`"), (*map(int, re.findall(r"\d+", statuses)),), when, retry)
        for code, statuses, when, retry in (map(cited, row) for row in rows(section("4.2")))
    ]


def of_status(status: int) -> list[ErrorRow]:
    """The codes that come with a status."""
    own = error_rows()[: status in OF_HTTP]
    return [*own, *(row for row in error_rows() if status in row.statuses)]


def cited(text: str) -> str:
    """A text of the page with its sections marked, as they are elsewhere."""
    return SECTION.sub(lambda found: f"§{found[1] or found[2]}", text)
