"""Anthropic's citations → annotations of a text (pure).

Rule 1: a citation is of the text of its own block, wherever that stands in the answer.
Rule 2: what has an address is a `url_citation`; a place in a document is a `file_citation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ws_bridge.types import Json

LINK = ("https://", "http://")
DOCUMENTS = frozenset({"char_location", "page_location", "content_block_location"})


def annotations_of(citations: Iterable[Json], start: int, end: int) -> Iterator[Json]:
    """The annotations of the text between two places; what cites nothing known is left out."""
    for citation in citations:
        address = _text(citation, "url") or _text(citation, "source")
        title = _text(citation, "title") or _text(citation, "document_title")
        if address.startswith(LINK):
            yield {
                "type": "url_citation",
                "url": address,
                "title": title,
                "start_index": start,
                "end_index": end,
            }
        elif address or citation.get("type") in DOCUMENTS:
            yield {
                "type": "file_citation",
                "file_id": _text(citation, "file_id") or address,
                "filename": title,
                "index": end,
            }


def _text(citation: Json, key: str) -> str:
    value = citation.get(key)
    return value if isinstance(value, str) else ""
