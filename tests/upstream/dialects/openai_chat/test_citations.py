"""Sources and where they stand."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.upstream.dialects.openai_chat.citations import Citations


def link(url: str, start: int, end: int, title: str = "") -> Any:
    return {
        "type": "url_citation",
        "url": url,
        "title": title,
        "start_index": start,
        "end_index": end,
    }


def test_a_source_stands_at_its_mark_or_cites_the_whole() -> None:
    citations = Citations()
    chunk = {"citations": ["https://a", "https://b"]}
    for _ in range(2):  # every chunk repeats them
        citations.take_sources(chunk)
    assert citations
    assert list(citations.placed("so[1].")) == [link("https://a", 2, 5), link("https://b", 0, 6)]
    assert not citations
    assert list(citations.placed("more [2]")) == []


def test_titles_come_from_search_results() -> None:
    citations = Citations()
    citations.take_sources(
        {
            "citations": ["https://a"],
            "search_results": [{"url": "https://a", "title": "A"}, {"title": "none"}, 3],
            "web_search": [{"link": "https://z", "title": "Z"}],
        }
    )
    expected = [link("https://a", 0, 1, "A"), link("https://z", 0, 1, "Z")]
    assert list(citations.placed("x")) == expected


@pytest.mark.parametrize(
    ("start", "end", "place"),
    [(1, 3, (1, 3)), (0, 0, (0, 5)), (2, 99, (2, 5)), (7, 9, (0, 5)), (None, None, (0, 5))],
)
def test_a_place_is_inside_of_the_text(start: Any, end: Any, place: tuple[int, int]) -> None:
    citations = Citations()
    fields = {"url": "https://a", "title": "A", "start_index": start, "end_index": end}
    citations.take_annotations([{"type": "url_citation", "url_citation": fields}])
    assert list(citations.placed("hello")) == [link("https://a", *place, "A")]


def test_files_are_cited_too_and_nonsense_is_not() -> None:
    citations = Citations()
    citations.take_annotations([{"type": "file_citation", "file_id": "f", "index": 2}])
    citations.take_annotations([{"type": "file"}, {"type": "url_citation"}, 1])
    citations.take_annotations("text")
    expected = {"type": "file_citation", "file_id": "f", "filename": "", "index": 2}
    assert list(citations.placed("x")) == [expected]
