"""A citation of Converse → an annotation (pure)."""

from __future__ import annotations

from ws_bridge.types import Json

LINK = ("http://", "https://")


def annotation(citation: Json, begin: int, end: int) -> Json | None:
    """The annotation of the text between two places; None if the source is not told."""
    location = citation.get("location")
    places = location if isinstance(location, dict) else {}
    title, source = _text(citation, "title"), _text(citation, "source")
    web = places.get("web")
    url = _text(web, "url") if isinstance(web, dict) else source
    if url.startswith(LINK):
        domain = _text(web, "domain") if isinstance(web, dict) else ""
        place = {"start_index": begin, "end_index": end}
        return {"type": "url_citation", "url": url, "title": title or domain, **place}
    document = next((place for place in places.values() if isinstance(place, dict)), {})
    number = document.get("documentIndex", document.get("searchResultIndex"))
    name = title or source or (f"document {number}" if number is not None else "")
    if not name:
        return None
    file_id = source or str(number if number is not None else name)
    return {"type": "file_citation", "file_id": file_id, "filename": name, "index": end}


def _text(fields: Json, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
