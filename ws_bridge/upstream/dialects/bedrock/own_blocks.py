"""The blocks of an answer in which Bedrock ran tools: how they are kept and sent back (pure).

Rule 1: only such an answer has side data. Of all others the items and their seals say it all.
Rule 2: the calls of the client's tools are those of the items, in the same order: a block has only
their name. A call that the items do not have was cut.
Rule 3: pictures are left out: Converse takes none of the model's.
Rule 4: side data of a form that this release does not write is nothing: the items are sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from ws_bridge.protocol.output.half_characters import HalfCharacters
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.bedrock.hosted import input_of
from ws_bridge.upstream.dialects.entries import MakerTurn, OwnBlock, ToolUse

CONTENT = "content"  # the field of the side data
SERVER = "server_tool_use"  # the type of a call that the provider answers
THOUGHT, TEXT, SIGNATURE = "reasoningText", "text", "signature"
CITATIONS = "citationsContent"
CITATION = {"title": str, "source": str, "sourceContent": list, "location": dict}


def text_blocks(text: str, citations: list[Json]) -> Iterator[Json]:
    """A text and its citations, as Nova itself writes them: a block each."""
    if text.strip():
        yield {TEXT: _whole(text)}
    if citations:
        yield {CITATIONS: {"citations": list(map(_citation, citations))}}


def thought_blocks(text: str, signature: str, redacted: str) -> Iterator[Json]:
    """A thought, as text or redacted; none if there is nothing in it."""
    if redacted:
        yield {"reasoningContent": {"redactedContent": redacted}}
    elif text or signature:
        signed = {SIGNATURE: signature} if signature else {}
        yield {"reasoningContent": {THOUGHT: {TEXT: _whole(text), **signed}}}


def call_block(name: str) -> Json:
    """A call of the client's."""
    return {"toolUse": {"name": name}}


def hosted_block(call_id: str, name: str, kind: str, arguments: str) -> Json:
    """A call of the provider's."""
    use = {"toolUseId": call_id, "name": name, "input": input_of(arguments), "type": kind}
    return {"toolUse": use}


def result_block(call_id: str, start: Json, pieces: Iterable[Any]) -> Json:
    """What such a call brought. ``start``: the fields that came first."""
    content: list[Json] = []
    for is_text, group in groupby(pieces, key=_is_text):
        if is_text:
            content.append({TEXT: _whole("".join(piece[TEXT] for piece in group))})
        else:
            content += [piece for piece in group if isinstance(piece, dict)]
    known = {key: start.get(key) for key in ("status", "type")}
    kept = {key: value for key, value in known.items() if value and isinstance(value, str)}
    return {"toolResult": {"toolUseId": call_id, **kept, CONTENT: content}}


def side_data_of(blocks: list[Json]) -> Json | None:
    """What goes back of an answer; a hosted call without its result, or the reverse, does not."""
    hosted = {_call_id(block) for block in blocks if "toolUse" in block}
    results = {_call_id(block) for block in blocks if "toolResult" in block}
    pairs = (hosted & results) - {None}
    kept = [block for block in blocks if _call_id(block) in pairs | {None}]
    return {CONTENT: kept} if pairs else None


def own_entries(turn: MakerTurn) -> list[OwnBlock | ToolUse] | None:
    """The blocks of a turn, and its calls as they are in the items; None if they do not fit."""
    given = turn.side_data.get(CONTENT)
    if not isinstance(given, list) or not given or not all(map(_is_known, given)):
        return None
    uses = [entry for entry in turn.entries if isinstance(entry, ToolUse)]
    entries: list[OwnBlock | ToolUse] = []
    for block in given:
        if not _is_clients(block):
            entries.append(OwnBlock(block))
        elif uses:
            if block["toolUse"]["name"] != uses[0].tool.flat:
                return None
            entries.append(uses.pop(0))
    return None if uses else entries


def _is_text(piece: Any) -> bool:
    is_one = isinstance(piece, dict) and piece.keys() == {TEXT}
    return is_one and isinstance(piece[TEXT], str)


def _citation(given: Json) -> Json:
    """What Converse takes back of a citation."""
    return {key: given[key] for key, form in CITATION.items() if isinstance(given.get(key), form)}


def _whole(text: str) -> str:
    """The text with the halves of characters joined that came in two pieces."""
    return HalfCharacters().join(text)


def _call_id(block: Json) -> Any:
    """The id of a hosted call, or of that which a result is of; None for all other blocks."""
    return (block.get("toolUse") or block.get("toolResult") or {}).get("toolUseId")


def _is_clients(block: Json) -> bool:
    return "toolUse" in block and "type" not in block["toolUse"]


# The forms of what may go back: the fields of an object, by their names.

_HOSTED = {"toolUseId": str, "name": str, "input": dict, "type": str}
_RESULT = {"toolUseId": str, CONTENT: list, "status": str, "type": str}


def _is_known(block: Any) -> bool:
    """Whether it is a block of one known kind."""
    if not isinstance(block, dict) or len(block) != 1:
        return False
    ((kind, value),) = block.items()
    if kind == TEXT:
        return isinstance(value, str)
    return isinstance(value, dict) and kind in _CHECKS and _CHECKS[kind](value)


def _has(value: Any, forms: Mapping[str, type], *needed: str) -> bool:
    """Whether it is an object of these fields, with those that are needed."""
    if not isinstance(value, dict) or not value.keys() >= {*needed}:
        return False
    return all(key in forms and isinstance(one, forms[key]) for key, one in value.items())


def _is_use(use: Json) -> bool:
    if "type" not in use:
        return _has(use, {"name": str}, "name")
    return use["type"] == SERVER and _has(use, _HOSTED, *_HOSTED)


def _is_result(result: Json) -> bool:
    pieces = result.get(CONTENT)
    return _has(result, _RESULT, "toolUseId", CONTENT) and all(
        _has(piece, {TEXT: str, "json": object}) and len(piece) == 1 for piece in pieces or ()
    )


def _is_cited(content: Json) -> bool:
    cited = content.get("citations")
    return _has(content, {"citations": list}, "citations") and all(
        _has(c, CITATION) for c in cited or ()
    )


def _is_thought(content: Json) -> bool:
    if "redactedContent" in content:
        return _has(content, {"redactedContent": str})
    thought = content.get(THOUGHT)
    return content.keys() == {THOUGHT} and _has(thought, {TEXT: str, SIGNATURE: str}, TEXT)


_CHECKS = {
    "toolUse": _is_use,
    "toolResult": _is_result,
    CITATIONS: _is_cited,
    "reasoningContent": _is_thought,
}
