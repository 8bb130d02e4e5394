"""Parts of content as blocks of Messages."""

import base64

import pytest

from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.upstream.dialects.anthropic.parts import block_of
from ws_bridge.upstream.dialects.entries import ContentPart

PDF = base64.b64encode(b"%PDF-1.7").decode()
TEXT = base64.b64encode("ä,b".encode()).decode()
PLAIN = {"type": "text", "media_type": "text/plain", "data": "ä,b"}
AS_PDF = {"type": "base64", "media_type": "application/pdf", "data": PDF}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (
            ContentPart("image", media_type="image/jpg", data="AA"),
            {"type": "base64", "media_type": "image/jpeg", "data": "AA"},
        ),
        (ContentPart("image", url="https://a/b.png"), {"type": "url", "url": "https://a/b.png"}),
        (
            ContentPart("file", media_type="image/png", data="AA"),
            {"type": "base64", "media_type": "image/png", "data": "AA"},
        ),
    ],
)
def test_an_image_is_data_or_a_link(part, source):
    assert block_of(part) == {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (ContentPart("file", media_type="application/pdf", data=PDF), AS_PDF),
        (ContentPart("file", data=PDF), AS_PDF),
        (ContentPart("file", media_type="application/octet-stream", data=PDF), AS_PDF),
        (ContentPart("file", media_type="text/csv", data=TEXT), PLAIN),
        (ContentPart("file", media_type="application/json", data=TEXT), PLAIN),
        (ContentPart("file", url="https://a/b"), {"type": "url", "url": "https://a/b"}),
    ],
)
def test_a_file_is_a_document(part, source):
    assert block_of(part) == {"type": "document", "source": source}


def test_a_files_name_is_its_title_and_tells_its_type():
    part = ContentPart("file", data=TEXT, name="a.csv")
    assert block_of(part) == {"type": "document", "source": PLAIN, "title": "a.csv"}


def test_blank_text_is_nothing():
    assert block_of(ContentPart("text", " \n")) is None
    assert block_of(ContentPart("text", " a")) == {"type": "text", "text": " a"}


@pytest.mark.parametrize(
    "part",
    [
        ContentPart("audio", media_type="audio/wav", data="AA"),
        ContentPart("file", media_type="application/msword", data="AA"),
        ContentPart("file", data="AA"),
    ],
)
def test_what_anthropic_does_not_read_is_refused(part):
    with pytest.raises(UpstreamError) as refusal:
        block_of(part)
    assert (refusal.value.status, refusal.value.param) == (400, "input")


@pytest.mark.parametrize(
    "part", [ContentPart("image"), ContentPart("file", media_type="text/plain", data="no base64")]
)
def test_what_holds_nothing_is_refused(part):
    with pytest.raises(InvalidRequest):
        block_of(part)
