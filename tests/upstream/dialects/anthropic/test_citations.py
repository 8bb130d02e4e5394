"""Citations → annotations, valid for the official types."""

import pydantic
import pytest
from openai.types.responses.response_output_text import Annotation

from ws_bridge.upstream.dialects.anthropic.citations import annotations_of

URL = {"type": "url_citation", "title": "T", "start_index": 2, "end_index": 5}
FILE = {"type": "file_citation", "filename": "T", "index": 5}


@pytest.mark.parametrize(
    ("citation", "annotation"),
    [
        (
            {"type": "web_search_result_location", "url": "https://a", "title": "T"},
            {**URL, "url": "https://a"},
        ),
        (
            {"type": "search_result_location", "source": "https://a", "title": "T"},
            {**URL, "url": "https://a"},
        ),
        (
            {"type": "search_result_location", "source": "shelf 3", "title": "T"},
            {**FILE, "file_id": "shelf 3"},
        ),
        (
            {"type": "char_location", "document_title": "T", "file_id": "file_1"},
            {**FILE, "file_id": "file_1"},
        ),
        (
            {"type": "page_location", "document_title": "T", "file_id": None},
            {**FILE, "file_id": ""},
        ),
        (
            {"type": "content_block_location", "document_title": None},
            {**FILE, "file_id": "", "filename": ""},
        ),
        (
            {"type": "web_search_result_location", "url": "https://a", "title": None},
            {**URL, "url": "https://a", "title": ""},
        ),
        (
            {"type": "location_of_later_days", "url": "https://a", "title": "T"},
            {**URL, "url": "https://a"},
        ),
    ],
)
def test_a_citation_is_an_annotation_of_its_text(citation, annotation):
    [made] = annotations_of([citation], 2, 5)
    assert made == annotation
    pydantic.TypeAdapter(Annotation).validate_python(made, strict=True)


def test_what_cites_nothing_known_is_left_out():
    assert list(annotations_of([{"type": "new"}, {"url": 7}, {}], 0, 1)) == []
