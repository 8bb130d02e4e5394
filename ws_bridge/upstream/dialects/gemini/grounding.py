"""Where an answer's words come from: Gemini's metadata → annotations and searches (pure).

A support names a segment of the text and the chunks (sources) behind it.

Rule 1: offsets are bytes of UTF-8 in the segment's part, and 0 where they are absent. Providers
count from several beginnings: the place where the segment's own text stands is the right one.
Rule 2: one annotation for each source of each support. Metadata that is sent again gives none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.gemini.hosted import (
    file_search_item,
    page_item,
    search_item,
    texts,
)

FAILED_PAGES = ("ERROR", "PAYWALL", "UNSAFE")


class Segment(NamedTuple):
    """A place in the text, in characters."""

    start: int
    end: int


class Grounding:
    """The metadata of one answer, collected while it comes."""

    def __init__(self) -> None:
        self._chunks: list[Json] = []
        self._supports: list[Json] = []  # not written yet
        self._citations: list[Json] = []
        self._taken: set[str] = set()  # supports and citations of earlier events
        self._pages: dict[str, str] = {}  # address to status, not shown yet
        self._queries: dict[str, list[str]] = {"web": [], "files": []}  # not shown yet
        self._shown: set[str] = set()  # queries and pages
        self._is_cited = False

    def take(self, candidate: Json) -> None:
        """What an event of the stream has of it."""
        metadata = _object(candidate.get("groundingMetadata"))
        chunks = _objects(metadata.get("groundingChunks"))
        is_repeated = chunks[: len(self._chunks)] == self._chunks
        self._chunks = chunks if is_repeated else self._chunks + chunks
        self._supports += self._new(metadata.get("groundingSupports"))
        self._queries["web"] += texts(metadata.get("webSearchQueries") or [])
        self._queries["files"] += texts(metadata.get("retrievalQueries") or [])
        cited = _object(candidate.get("citationMetadata"))
        self._citations += self._new(cited.get("citationSources") or cited.get("citations"))
        for page in _objects(_object(candidate.get("urlContextMetadata")).get("urlMetadata")):
            if isinstance(url := page.get("retrievedUrl"), str) and url:
                self._pages[url] = str(page.get("urlRetrievalStatus") or "")

    def was_shown(self, item: Json) -> None:
        """The answer told of a call itself: it is not shown again."""
        action = item.get("action") or {}
        queries = action.get("queries") or item.get("queries") or []
        self._shown |= {*queries, str(action.get("url") or "")}

    def searches(self) -> Iterator[tuple[Json, str]]:
        """Items of what was looked for and read, each with its status, once."""
        for url, state in self._pages.items():
            if url not in self._shown:
                is_lost = state.removeprefix("URL_RETRIEVAL_STATUS_") in FAILED_PAGES
                yield page_item(url), "failed" if is_lost else "completed"
        web = self._not_shown("web")
        if web:
            urls = dict.fromkeys(texts([_source(chunk)["url"] for chunk in self._chunks]))
            yield search_item(web, list(urls)), "completed"
        if files := self._not_shown("files"):
            yield file_search_item(files), "completed"
        self._shown |= {*self._pages, *web, *files}
        self._pages = {}
        self._queries = {"web": [], "files": []}

    def _not_shown(self, place: str) -> list[str]:
        return [one for one in dict.fromkeys(self._queries[place]) if one not in self._shown]

    def annotations(self, text: str) -> list[Json]:
        """The annotations of the open text that were not given yet."""
        supports, self._supports = self._supports, []
        citations, self._citations = self._citations, []
        found: list[Json] = []
        for support in supports:
            segment = _segment(_object(support.get("segment")), text)
            for index in _indices(support, len(self._chunks)):
                found += _annotation(_source(self._chunks[index]), segment)
        for citation in citations:
            source = {"url": citation.get("uri"), "title": citation.get("title")}
            found += _annotation(source, _segment(citation, text))
        self._is_cited = self._is_cited or bool(supports)
        return found

    def unplaced(self, text: str) -> list[Json]:
        """Sources of which the wire does not say what they support: they support all of it."""
        if self._is_cited:
            return []
        whole = Segment(0, len(text))
        return [one for chunk in self._chunks for one in _annotation(_source(chunk), whole)]

    def _new(self, given: Any) -> list[Json]:
        """Those that no event before this one had: some streams repeat what they sought."""
        found = [one for one in _objects(given) if repr(one) not in self._taken]
        self._taken.update(map(repr, found))
        return found


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _indices(support: Json, size: int) -> list[int]:
    given = support.get("groundingChunkIndices")
    indices = given if isinstance(given, list) else []
    return [one for one in indices if type(one) is int and 0 <= one < size]


def _offset(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _segment(segment: Json, text: str) -> Segment | None:
    """The place of a segment in the open text; None if its words are not of this text."""
    raw = text.encode(errors="replace")
    start = min(_offset(segment.get("startIndex")), len(raw))
    last = _offset(segment.get("endIndex")) or len(raw)
    end = min(max(last, start), len(raw))
    words = segment.get("text")
    if isinstance(words, str) and words:
        sought = words.encode(errors="replace")
        if raw[start : start + len(sought)] == sought:
            end = start + len(sought)
        elif (found := _nearest(raw, sought, start)) >= 0:
            start, end = found, found + len(sought)
        elif last > len(raw):
            return None
    begin = len(raw[:start].decode(errors="ignore"))
    return Segment(begin, begin + len(raw[start:end].decode(errors="ignore")))


def _nearest(raw: bytes, sought: bytes, start: int) -> int:
    """Where the words stand, as near as can be to a place; -1 if nowhere."""
    after, before = raw.find(sought, start), raw.rfind(sought, 0, start + len(sought))
    if after < 0 or before < 0:
        return max(after, before)
    return after if after - start <= start - before else before


def _source(chunk: Json) -> Json:
    """A chunk: a page, a place on a map, a picture's page, or a piece of a file."""
    if isinstance(file := chunk.get("retrievedContext"), dict):
        names = texts([file.get(name) for name in ("documentName", "uri", "fileSearchStore")])
        titles = texts([file.get("title")]) + names
        return {"url": "", "file_id": names[0] if names else "", "title": (titles or [""])[0]}
    page = next(filter(None, (_object(chunk.get(kind)) for kind in ("web", "maps", "image"))), {})
    urls = texts([page.get("uri"), page.get("sourceUri")])
    return {"url": urls[0] if urls else "", "title": page.get("title")}


def _annotation(source: Json, segment: Segment | None) -> Iterator[Json]:
    """The annotation of a source, none where it has no name or no place."""
    if segment is None:
        return
    title = source["title"] if isinstance(source["title"], str) else ""
    if "file_id" in source:
        file = {"file_id": source["file_id"], "filename": title, "index": segment.end}
        yield {"type": "file_citation", **file}
    elif isinstance(source["url"], str) and source["url"]:
        place = {"start_index": segment.start, "end_index": segment.end}
        yield {"type": "url_citation", "url": source["url"], "title": title, **place}
