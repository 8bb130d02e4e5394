"""Parts of content → content blocks of Messages (pure).

Rule 1: Anthropic fetches links itself: the bridge passes them, and opens none.
Rule 2: a file of a type that Anthropic does not read is refused, with its place.
"""

from __future__ import annotations

import base64
import mimetypes

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.entries import ContentPart
from ws_bridge.upstream.dialects.table import refused

PDF = "application/pdf"
PDF_BEGINS = "JVBER"  # "%PDF", in base64
SAME = {"image/jpg": "image/jpeg"}
TEXTUAL = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-yaml"}
)


def block_of(part: ContentPart) -> Json | None:
    """The block of a part; None for blank text. Raises a 400."""
    if part.kind == "text":
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if part.kind == "image":
        return _image(part, SAME.get(part.media_type, part.media_type))
    if part.kind == "file":
        return _file(part)
    raise refused("content part", part.kind, "input")


def _image(part: ContentPart, media_type: str) -> Json:
    if part.url:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    if not part.data:
        raise InvalidRequest("An image has data or a link.", param="input")
    source = {"type": "base64", "media_type": media_type, "data": part.data}
    return {"type": "image", "source": source}


def _file(part: ContentPart) -> Json:
    if part.url:
        return _document(part, {"type": "url", "url": part.url})
    media_type = _media_type(part)
    if media_type.startswith("image/"):
        return _image(part, media_type)
    if media_type == PDF:
        return _document(part, {"type": "base64", "media_type": PDF, "data": part.data})
    if media_type.startswith("text/") or media_type in TEXTUAL:
        text = {"type": "text", "media_type": "text/plain", "data": _decoded(part)}
        return _document(part, text)
    raise refused("file type", media_type or part.name, "input", "Send a PDF, text or an image.")


def _document(part: ContentPart, source: Json) -> Json:
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": source, **title}


def _media_type(part: ContentPart) -> str:
    """The type of a file, also where the client did not say it."""
    if part.media_type and part.media_type != "application/octet-stream":
        return SAME.get(part.media_type, part.media_type)
    if part.data.startswith(PDF_BEGINS):
        return PDF
    return mimetypes.guess_type(part.name)[0] or ""


def _decoded(part: ContentPart) -> str:
    try:
        return base64.b64decode(part.data, validate=True).decode(errors="replace")
    except ValueError:
        raise InvalidRequest("'file_data' is not base64.", param="input") from None
