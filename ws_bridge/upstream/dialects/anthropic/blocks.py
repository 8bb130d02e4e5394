"""One content block of a Messages stream while it comes in pieces (pure).

Rule 1: a block keeps all that came of it, also what no client sees: joined, it is what Anthropic
wants back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import orjson

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.turns import fitting_id

THINKING = frozenset({"thinking", "redacted_thinking"})
USES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
# What a sealed thought consists of, its seal last; nothing else of it goes back.
SEALED_KEYS = {
    "thinking": ("type", "thinking", "signature"),
    "redacted_thinking": ("type", "data"),
}
RESULT = "_tool_result"
# Deltas: where the text of each stands. A delta without a block begins one of the kind given.
DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
    "compaction_delta": "content",
}
IMPLIED = {"text_delta": "text", "thinking_delta": "thinking"}
# What of a block's text may stand in its beginning.
BEGUN_WITH = {"text": ("text",), "thinking": ("thinking", "signature")}
# Blocks that are text: its key.
TEXTS = {"text": "text", "thinking": "thinking", "compaction": "content"}


@dataclass(slots=True)
class MessageBlock:
    """A block: as it began, and its pieces since then."""

    kind: str  # its type
    start: Json
    text_begins: int = 0  # where its text begins in the open part, characters
    call: int = -1  # the number of a call of the client's
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    citations: list[Json] = field(default_factory=list)

    @property
    def has_pieces(self) -> bool:
        """Whether any of its pieces says something."""
        return any(piece.strip() for piece in self.pieces)

    def append_text(self, text: Any) -> str:
        """Keep a piece of its text; "" if it is none."""
        if type(text) is not str:
            return ""
        self.pieces.append(text)
        return text

    def append(self, delta: Json) -> str:
        """Keep a delta; its text, "" if it has none."""
        kind = str(delta.get("type"))
        if kind == "citations_delta" and isinstance(delta.get("citation"), dict):
            self.citations.append(in_whole_characters(delta["citation"]))
        if kind == "compaction_delta" and isinstance(delta.get("encrypted_content"), str):
            self.start = {**self.start, "encrypted_content": mended(delta["encrypted_content"])}
        text = delta.get(DELTAS.get(kind, ""))
        if kind != "signature_delta":
            return self.append_text(text)
        self.signature += text if isinstance(text, str) else ""
        return ""

    def whole(self) -> Json:
        """The block as Anthropic wants it back."""
        joined = mended("".join(self.pieces))
        if self.kind in USES:
            return {**self.start, "input": self.input()}
        if self.kind not in TEXTS:
            return self.start
        block = {**self.start, TEXTS[self.kind]: joined or self.start.get(TEXTS[self.kind])}
        if self.kind == "thinking":
            block["signature"] = self.signature
        if self.citations:
            block["citations"] = self.citations
        return block

    def sealed(self) -> Json | None:
        """The thought as it goes back; None if its maker has not signed it."""
        whole = self.whole()
        keys = SEALED_KEYS[self.kind]
        if not all(isinstance(whole.get(key), str) for key in keys) or not whole[keys[-1]]:
            return None
        return {key: mended(whole[key]) for key in keys}

    def input(self) -> Json:
        """The input of a call: its pieces, or what it began with."""
        parsed = object_in("".join(self.pieces))
        given = self.start.get("input")
        return parsed if parsed is not None else given if isinstance(given, dict) else {}


def object_in(text: str) -> Json | None:
    """The JSON object that a text is; None if it is none."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:  # half of a surrogate pair, which orjson refuses
            value = in_whole_characters(json.loads(text))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def json_text(value: Any) -> str:
    """A value as JSON, also with half of a surrogate pair or a huge number in it."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def in_whole_characters(value: Any) -> Any:
    """A value of JSON without halves of surrogate pairs: it can be sent on."""
    try:
        orjson.dumps(value)
    except TypeError:
        return orjson.loads(mended(json.dumps(value, ensure_ascii=False)))
    return value


def mended(text: str) -> str:
    """The text with halves of surrogate pairs joined; a lone half is U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def call_id_of(provider_id: Any) -> str | None:
    """The id of a call for clients. The provider pairs by it only, so it gets this one back."""
    return fitting_id(provider_id) if isinstance(provider_id, str) and provider_id else None
