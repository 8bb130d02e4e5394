"""A citation is a link where it has one, else a document."""

import pytest

from ws_bridge.upstream.dialects.bedrock.citations import annotation

PLACE = {"start_index": 2, "end_index": 5}


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        (
            {"title": "T", "location": {"web": {"url": "https://x.test/", "domain": "x.test"}}},
            {"type": "url_citation", "url": "https://x.test/", "title": "T", **PLACE},
        ),
        (
            {
                "source": "http://x.test/",
                "location": {"searchResultLocation": {"searchResultIndex": 1}},
            },
            {"type": "url_citation", "url": "http://x.test/", "title": "", **PLACE},
        ),
        (
            {"location": {"documentChar": {"documentIndex": 0}}},
            {"type": "file_citation", "file_id": "0", "filename": "document 0", "index": 5},
        ),
        (
            {"title": "T", "source": "doc-7", "location": {"documentChunk": {"documentIndex": 0}}},
            {"type": "file_citation", "file_id": "doc-7", "filename": "T", "index": 5},
        ),
        (
            {"title": "T", "location": {"web": {"url": "javascript:1"}}},
            {"type": "file_citation", "file_id": "T", "filename": "T", "index": 5},
        ),
        ({"location": {"web": None}}, None),
        ({"location": 3}, None),
        ({}, None),
    ],
)
def test_every_location_has_its_form(citation, expected):
    assert annotation(citation, 2, 5) == expected
