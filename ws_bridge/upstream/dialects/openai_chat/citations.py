"""Sources that a chat provider names → annotations of the answer's text (pure).

They come before, amid or after the text they belong to, so the reader keeps them and places them
when the text is over. One without a place of its own stands at its mark, "[2]", or cites the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ws_bridge.types import Json

# Beside the choices; the first ones have titles.
SOURCE_LISTS = ("search_results", "web_search", "citations")


class Citations:
    """The sources of one answer, until its text is over."""

    def __init__(self) -> None:
        self._annotations: list[Json] = []
        self._sources: dict[str, str] = {}  # address → title, in the provider's order
        self._placed: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._annotations) or len(self._sources) > len(self._placed)

    def take_annotations(self, given: Any) -> None:
        """Keep annotations of a message: `url_citation` and `file_citation`, nested or flat."""
        for one in given if isinstance(given, list) else ():
            if isinstance(one, dict) and (read := _annotation(one)) is not None:
                self._annotations.append(read)

    def take_sources(self, chunk: Json) -> None:
        """Keep the sources that stand beside the choices, each once: every chunk repeats them."""
        for name in SOURCE_LISTS:
            given = chunk.get(name)
            for source in given if isinstance(given, list) else ():
                fields = source if isinstance(source, dict) else {"url": source}
                address, title = fields.get("url") or fields.get("link"), fields.get("title")
                if isinstance(address, str) and address:
                    known = self._sources.setdefault(address, "")
                    self._sources[address] = known or (title if isinstance(title, str) else "")

    def placed(self, text: str) -> Iterator[Json]:
        """The annotations of this text; nothing is kept of them."""
        kept, self._annotations = self._annotations, []
        for annotation in kept:
            yield _within(annotation, len(text))
        for number, (address, title) in enumerate(self._sources.items(), 1):
            if address in self._placed:
                continue
            self._placed.add(address)
            mark = f"[{number}]"
            at = text.find(mark)
            place = (at, at + len(mark)) if at >= 0 else (0, len(text))
            yield _url_citation(address, title, *place)


def _url_citation(address: str, title: str, start: int, end: int) -> Json:
    return {
        "type": "url_citation",
        "url": address,
        "title": title,
        "start_index": start,
        "end_index": end,
    }


def _annotation(given: Json) -> Json | None:
    """The annotation in the form of Responses; None for what has no such form."""
    nested = given.get(str(given.get("type")))
    fields = nested if isinstance(nested, dict) else given
    address, title = fields.get("url"), fields.get("title")
    if isinstance(address, str) and address:
        start, end = fields.get("start_index"), fields.get("end_index")
        numbers = [n if type(n) is int and n >= 0 else 0 for n in (start, end)]
        return _url_citation(address, title if isinstance(title, str) else "", *numbers)
    if given.get("type") == "file_citation" and isinstance(fields.get("file_id"), str):
        index, name = fields.get("index"), fields.get("filename")
        return {
            "type": "file_citation",
            "file_id": fields["file_id"],
            "filename": name if isinstance(name, str) else "",
            "index": index if type(index) is int else 0,
        }
    return None


def _within(annotation: Json, length: int) -> Json:
    """The annotation with a place inside of the text; an empty place is the whole text."""
    if annotation["type"] != "url_citation":
        return annotation
    start, end = annotation["start_index"], min(annotation["end_index"], length)
    return (
        annotation
        if start < end == annotation["end_index"]
        else annotation
        | ({"end_index": end} if start < end else {"start_index": 0, "end_index": length})
    )
