"""Parts as Converse's blocks."""

import pytest

from ws_bridge.errors import InvalidRequest
from ws_bridge.upstream.dialects.bedrock.blocks import BlockWriter
from ws_bridge.upstream.dialects.entries import ContentPart


def blocks(*parts):
    return BlockWriter().blocks(parts)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (ContentPart("text", "a"), {"text": "a"}),
        (
            ContentPart("image", media_type="image/jpg", data="QQ=="),
            {"image": {"format": "jpeg", "source": {"bytes": "QQ=="}}},
        ),
        (
            ContentPart("file", media_type="image/PNG", data="QQ==", name="a.png"),
            {"image": {"format": "png", "source": {"bytes": "QQ=="}}},
        ),
        (
            ContentPart("audio", media_type="audio/wav", data="QQ=="),
            {"audio": {"format": "wav", "source": {"bytes": "QQ=="}}},
        ),
    ],
)
def test_media_go_as_bytes(part, block):
    assert blocks(part) == [block]


@pytest.mark.parametrize(
    ("media_type", "name", "form"),
    [
        ("application/pdf", "a.bin", "pdf"),
        ("text/plain", "notes.md", "md"),
        ("text/plain", "notes.rst", "txt"),
        ("", "table.csv", "csv"),
        ("application/octet-stream", "A.XLSX", "xlsx"),
    ],
)
def test_a_documents_format_is_its_types_or_its_names(media_type, name, form):
    block = blocks(ContentPart("file", media_type=media_type, data="QQ==", name=name))[0]

    assert block["document"]["format"] == form


def test_documents_have_names_that_the_api_takes_and_text_beside_them():
    part = ContentPart("file", media_type="application/pdf", data="QQ==", name="a_b  ü.v1.pdf")
    nameless = ContentPart("file", media_type="application/pdf", data="QQ==")
    first, second, third, text = blocks(part, part, nameless)

    names = [block["document"]["name"] for block in (first, second, third)]
    assert names == ["a b v1", "a b v1 2", "Document"]
    assert text == {"text": "File: a_b  ü.v1.pdf, a_b  ü.v1.pdf, (unnamed)"}


def test_blank_text_is_left_out():
    assert blocks(ContentPart("text", " \n")) == []


@pytest.mark.parametrize(
    "part",
    [
        ContentPart("image", media_type="image/tiff", data="QQ=="),
        ContentPart("audio", media_type="audio/None", data="QQ=="),
        ContentPart("file", media_type="application/zip", data="QQ==", name="a.zip"),
        ContentPart("file", data="QQ=="),
    ],
)
def test_a_format_that_bedrock_lacks_is_refused(part):
    with pytest.raises(InvalidRequest) as refused:
        blocks(part)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "input")
