"""Parts of content → Converse blocks (pure).

Rule 1: media go as bytes, in the formats that the API names; for others there is a 400.
Rule 2: a document's name has the characters that the API takes, and no two of a request the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.entries import ContentPart

IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
IMAGES["image/jpg"] = "jpeg"
SOUNDS = {
    **{f"audio/{name}": name for name in ("mp3", "wav", "aac", "flac", "ogg", "opus", "mp4")},
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/pcm16": "pcm",
}
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCUMENTS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    f"{_OFFICE}wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
EXTENSIONS = frozenset(DOCUMENTS.values())
LONGEST_NAME = 200
_FOREIGN = re.compile(r"[^A-Za-z0-9()\[\]-]+")


class BlockWriter:
    """Writes the parts of one request."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def blocks(self, parts: Iterable[ContentPart]) -> list[Json]:
        """The blocks of a user's parts or of a tool's output; text that is blank is left out.

        Raises ``InvalidRequest`` for a format that Bedrock does not take.
        """
        blocks = [self._block(part) for part in parts if part.kind != "text" or part.text.strip()]
        has_document = any("document" in block for block in blocks)
        if has_document and not any("text" in block for block in blocks):
            names = (part.name for part in parts if part.kind == "file")
            blocks.append({"text": f"File: {', '.join(name or '(unnamed)' for name in names)}"})
        return blocks

    def _block(self, part: ContentPart) -> Json:
        if part.kind == "text":
            return {"text": part.text}
        if part.kind == "audio":
            return _media("audio", part, SOUNDS)
        if part.kind == "image" or part.media_type.lower() in IMAGES:
            return _media("image", part, IMAGES)
        return {"document": {**_document(part), "name": self._name(part.name)}}

    def _name(self, name: str) -> str:
        stem = _FOREIGN.sub(" ", name.rpartition(".")[0] or name).strip()[: LONGEST_NAME - 8]
        stem = stem or "Document"
        unique, number = stem, 1
        while unique in self._names:
            number += 1
            unique = f"{stem} {number}"
        self._names.add(unique)
        return unique


def _media(kind: str, part: ContentPart, formats: Mapping[str, str]) -> Json:
    form = formats.get(part.media_type.lower())
    if form is None:
        raise _unknown(part)
    return {kind: {"format": form, "source": {"bytes": part.data}}}


def _document(part: ContentPart) -> Json:
    extension = part.name.rpartition(".")[2].lower()
    form = DOCUMENTS.get(part.media_type.lower())
    if form in (None, "txt") and extension in EXTENSIONS:  # many clients send text/plain for all
        form = extension
    if form is None:
        raise _unknown(part)
    return {"format": form, "source": {"bytes": part.data}}


def _unknown(part: ContentPart) -> InvalidRequest:
    named = part.media_type or "without a media type"
    return InvalidRequest(
        f"This model does not take a file of this format: {named[:64]}.",
        code="unsupported_parameter",
        param="input",
    )
