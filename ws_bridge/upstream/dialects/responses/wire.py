"""A provider's event as JSON text → a draft (pure); of HTTP and of WebSockets.

Rule: a draft has the text only where it can be passed on byte for byte: no key of the bridge's own
stands in it twice, and no half of a character.
"""

from __future__ import annotations

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import LIFECYCLE, Draft
from ws_bridge.protocol.json_edit import OWN_KEYS, is_plain
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import UNREADABLE, parsed
from ws_bridge.upstream.errors import UNTYPED_EVENT
from ws_bridge.upstream.provider_errors import error_of, has_error


def draft_of(text: bytes, name: str = "") -> Draft:
    """The event; ``name`` is its type where the text has none. Raises ``UpstreamError``."""
    try:
        fields: Json = orjson.loads(text)
        kind = fields.pop("type", None)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return _crooked(text, name)
    if not isinstance(kind, str):
        return _untyped(fields, kind, name)
    fields.pop("sequence_number", None)
    fields.pop("stream_id", None)
    # A response object is never passed on in its own bytes.
    return Draft(kind, fields, text if kind in LIFECYCLE or is_plain(text, OWN_KEYS) else b"")


def _crooked(text: bytes, name: str) -> Draft:
    """An event that only the slow parser takes. Raises ``UpstreamError`` for all others."""
    fields = parsed(text)
    if not isinstance(fields, dict):
        raise UpstreamError(UNREADABLE)
    kind = fields.pop("type", None)
    if not isinstance(kind, str):
        return _untyped(fields, kind, name)
    for own in ("sequence_number", "stream_id"):
        fields.pop(own, None)
    return Draft(kind, fields)


def _untyped(fields: Json, kind: object, name: str) -> Draft:
    if has_error(fields):
        raise error_of(None, fields)
    if kind is not None or not name.startswith("response."):
        raise UpstreamError(UNTYPED_EVENT)
    for own in ("sequence_number", "stream_id"):
        fields.pop(own, None)
    return Draft(name, fields)
