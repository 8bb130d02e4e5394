"""What a provider read in the client's files, which it takes back instead of reading them again.

OpenRouter annotates an answer with the content of each document that it parsed, and bills for
parsing. With the annotation in the history the same document is not parsed another time.

Rule 1: side data of a form that this release does not write is nothing: the items are sent alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.entries import MakerTurn, OwnBlock

ANNOTATIONS = "annotations"  # the field of the side data, and of a message
_FORMS = {"hash": str, "name": str, "content": list}


def read_files(given: Any) -> dict[str, Json]:
    """The annotations of files among all annotations, by the files' digests."""
    files = [one for one in given if _is_file(one)] if isinstance(given, list) else []
    return {one["file"]["hash"]: one for one in files}


def side_data_of(files: Mapping[str, Json]) -> Json | None:
    """What goes back with the next turn."""
    return {ANNOTATIONS: list(files.values())} if files else None


def own_block(turn: MakerTurn) -> OwnBlock | None:
    """The fields that the message of the turn has beside its items; None if there are none.

    Without items there is no message.
    """
    given = turn.side_data.get(ANNOTATIONS)
    is_known = (
        bool(turn.entries) and isinstance(given, list) and bool(given) and all(map(_is_file, given))
    )
    return OwnBlock({ANNOTATIONS: given}) if is_known else None


def _is_file(annotation: Any) -> bool:
    if not isinstance(annotation, dict) or annotation.keys() != {"type", "file"}:
        return False
    file = annotation["file"]
    if annotation["type"] != "file" or not isinstance(file, dict) or "hash" not in file:
        return False
    return all(key in _FORMS and isinstance(value, _FORMS[key]) for key, value in file.items())
