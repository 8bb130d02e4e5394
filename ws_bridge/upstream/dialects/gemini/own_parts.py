"""The parts of an answer in which Gemini ran tools itself: how they are kept and sent back (pure).

Rule 1: only such an answer has side data. Of all others the items and their seals say it all.
Rule 2: a part is kept as it came. Neighbouring texts without a signature are one, and thoughts
without a signature are left out, as they are of all turns.
Rule 3: the calls of the client's tools are those of the items, in the same order. A call that the
items do not have was cut.
Rule 4: side data of a form that this release does not write is nothing: the items are sent.
"""

from __future__ import annotations

from typing import Any

from ws_bridge.protocol.output.half_characters import HalfCharacters
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.entries import MakerTurn, ToolUse

PARTS = "parts"  # the field of the side data
FUNCTION_CALL, SIGNATURE = "functionCall", "thoughtSignature"
TOOL_CALL, TOOL_RESPONSE = "toolCall", "toolResponse"
HOSTED = frozenset(
    {
        *("executableCode", "codeExecutionResult", TOOL_CALL, TOOL_RESPONSE),
        "functionResponse",  # of a function that the provider ran
    }
)
# What may go back, and the form of it.
FORMS: dict[str, type] = {
    "text": str,
    "inlineData": dict,
    FUNCTION_CALL: dict,
    **dict.fromkeys(HOSTED, dict),
}


class AnswerParts:
    """The parts of one answer while it comes."""

    def __init__(self) -> None:
        self.texts: list[str] = []  # unsigned, since the last part
        self._parts: list[Json] = []

    def add_text(self, text: str, signature: str) -> None:
        """A piece of the answer's text."""
        if signature:
            self.add({"text": text}, signature)
        elif text:
            self.texts.append(text)

    def add_call(self, name: str, call_id: Any, arguments: Any, signature: str) -> None:
        """A call of the client's."""
        call: Json = {"name": name}
        if isinstance(call_id, str) and call_id:
            call["id"] = call_id
        if isinstance(arguments, dict):
            call["args"] = arguments
        self.add({FUNCTION_CALL: call}, signature)

    def add(self, part: Json, signature: str) -> None:
        """A part of any kind."""
        self._join()
        self._parts.append({**part, **({SIGNATURE: signature} if signature else {})})

    def side_data(self, *, is_cut: bool) -> Json | None:
        """What goes back; a call of the provider's that an end cut off from its result does not."""
        self._join()
        parts = self._parts
        if is_cut:
            ended = [part[TOOL_RESPONSE].get("id") for part in parts if TOOL_RESPONSE in part]
            parts = [p for p in parts if TOOL_CALL not in p or p[TOOL_CALL].get("id") in ended]
        return {PARTS: parts} if any(HOSTED & part.keys() for part in parts) else None

    def _join(self) -> None:
        texts, self.texts = self.texts, []
        if text := HalfCharacters().join("".join(texts)):
            self._parts.append({"text": text})


def own_parts(
    turn: MakerTurn, *, takes_tool_calls: bool
) -> list[tuple[Json, ToolUse | None]] | None:
    """The parts of a turn, each call with that of the items; None where they cannot be sent.

    ``takes_tool_calls``: the model knows `toolCall`; older ones do not.
    """
    given = turn.side_data.get(PARTS)
    if not isinstance(given, list) or not given or not all(map(_is_known, given)):
        return None
    if not takes_tool_calls and any({TOOL_CALL, TOOL_RESPONSE} & part.keys() for part in given):
        return None
    uses = [entry for entry in turn.entries if isinstance(entry, ToolUse)]
    parts: list[tuple[Json, ToolUse | None]] = []
    for part in given:
        if FUNCTION_CALL not in part:
            parts.append((part, None))
        elif uses:
            use = uses.pop(0)
            if part[FUNCTION_CALL]["name"] != use.tool.flat:
                return None
            parts.append((part, use))
    return None if uses else parts


def _is_known(part: Any) -> bool:
    """Whether it is a part of one known kind."""
    if not isinstance(part, dict) or not isinstance(part.get(SIGNATURE, ""), str):
        return False
    kinds = part.keys() - {SIGNATURE, "thought"}
    if len(kinds) != 1 or part.get("thought", True) is not True:
        return False
    (kind,) = kinds
    if kind not in FORMS or not isinstance(part[kind], FORMS[kind]):
        return False
    return kind != FUNCTION_CALL or _is_call(part[kind])


def _is_call(call: Json) -> bool:
    forms = {"name": str, "id": str, "args": dict}
    is_known = call.keys() <= forms.keys() and "name" in call
    return is_known and all(isinstance(value, forms[key]) for key, value in call.items())
