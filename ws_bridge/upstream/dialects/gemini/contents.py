"""The history of a request, as Gemini's `contents` and `systemInstruction` (pure).

Rule 1: turns of the user and the model alternate, and the first one is the user's.
Rule 2: the results of a turn's calls stand in the very next turn, all of them, before anything
else; a call that was not answered gets a result that says so.
Rule 3: a signature goes back with the part that it came with, or not at all. Models that demand
one for each step get Google's own placeholder where another model made the call.
Rule 4: what the model thought is sent only where it is signed.
Rule 5: a turn with side data goes back in the parts that the model wrote.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.entries import (
    SYSTEM,
    AnswerText,
    ContentPart,
    Entry,
    MakerTurn,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
    entries_of,
    instructions_of,
)
from ws_bridge.upstream.dialects.gemini.models import ModelTraits
from ws_bridge.upstream.dialects.gemini.own_parts import FUNCTION_CALL, SIGNATURE, own_parts
from ws_bridge.upstream.dialects.gemini.signatures import (
    CALL,
    IMAGE,
    THOUGHT,
    UNSIGNED,
    Signature,
    read_signature,
    split_id,
)
from ws_bridge.upstream.dialects.gemini.table import TABLE
from ws_bridge.upstream.dialects.table import refused

USER, MODEL = "user", "model"
NO_RESULT = "The call was not answered."
NO_CALL = "No call was found for the output with call_id '{}'."
NO_TYPE = "The type of the file is not known: send it as a data URL, or with its 'filename'."
BLANK: Json = {"text": " "}  # where Gemini demands a turn that the client did not write
# What may stand inside of a function's response; other data follows it.
_IN_RESPONSES = ("image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain")
# The first characters of a picture in base64.
_PICTURES = {"/9j/": "image/jpeg", "UklGR": "image/webp", "R0lGOD": "image/gif"}
_FILES = {"JVBERi0": "application/pdf", **_PICTURES, "iVBORw0KGgo": "image/png"}
_OTHER_NAMES = {"image/jpg": "image/jpeg"}


def write_contents(given: WriterInput, traits: ModelTraits) -> Json:
    """`contents`, and `systemInstruction` if there is one. Raises a 400 for what cannot be said."""
    entries = list(entries_of(given.items, given.tools, TABLE))
    system = list(instructions_of(given.options, TABLE))
    for entry in entries.copy():  # what the system says first; later words stand where they are
        if not isinstance(entry, UserTurn) or entry.role not in SYSTEM:
            break
        system.append(entry)
        entries.remove(entry)
    texts = [{"text": part.text} for turn in system for part in turn.parts if part.kind == "text"]
    others = [_blob(part) for turn in system for part in turn.parts if part.kind != "text"]
    history = History(given, traits, entries)
    if others:
        history.add(USER, *others)
    for entry in entries:
        history.write(entry)
    contents = history.finish()
    if not contents and not texts:
        raise InvalidRequest("There is no input for the model.", param="input")
    if not contents or contents[0]["role"] == MODEL:
        contents.insert(0, {"role": USER, "parts": [BLANK]})
    return {"contents": contents, **({"systemInstruction": {"parts": texts}} if texts else {})}


class History:
    """The turns while they grow."""

    def __init__(self, given: WriterInput, traits: ModelTraits, entries: Sequence[Entry]) -> None:
        self._given = given
        self._traits = traits
        self._turns: list[Json] = []
        results = [entry for entry in entries if isinstance(entry, ToolResult)]
        self._results = {split_id(result.call_id)[0]: result for result in results}
        self._ids: dict[str, str] = {}  # the provider's own, by the client's
        self._called: set[str] = set()
        self._unanswered: list[ToolUse] = []  # calls of the last turn
        self._next: Signature | None = None  # of the call that follows

    def write(self, entry: Entry) -> None:
        """One entry more."""
        if isinstance(entry, UserTurn):
            self._answer()
            self.add(USER, *map(_user_part, entry.parts))
        elif isinstance(entry, AnswerText):
            self.add(MODEL, {"text": entry.text})
        elif isinstance(entry, Thought):
            self._sign(entry)
        elif isinstance(entry, ToolUse):
            self._call(entry)
        elif isinstance(entry, MakerTurn):
            self._own_turn(entry)
        elif isinstance(entry, ToolResult):
            if split_id(entry.call_id)[0] not in self._called:
                raise InvalidRequest(NO_CALL.format(entry.call_id[:64]), param="input")
            self._answer()
        else:
            self._picture(str(entry.item.get("result") or ""))

    def finish(self) -> list[Json]:
        """All turns."""
        self._answer()
        return self._turns

    def add(self, role: str, *parts: Json) -> None:
        """Parts of a role, in its open turn or a new one."""
        if not self._turns or self._turns[-1]["role"] != role:
            self._turns.append({"role": role, "parts": []})
        self._turns[-1]["parts"] += parts

    def _parts(self) -> list[Json]:
        """The parts of the model's open turn."""
        is_open = bool(self._turns) and self._turns[-1]["role"] == MODEL
        parts: list[Json] = self._turns[-1]["parts"] if is_open else []
        return parts

    # What the model said

    def _sign(self, thought: Thought) -> None:
        """Put a signature where it belongs, if it is this maker's."""
        found = read_signature(self._given.seals.open(thought.sealed))
        if found is None:
            return
        if found.place == CALL:
            self._next = found
        elif found.place == THOUGHT:
            signed = {"text": thought.text, "thought": True, "thoughtSignature": found.value}
            self.add(MODEL, signed)
        elif found.place == IMAGE:
            self._sign_picture(found)
        elif found.length == 0:
            self.add(MODEL, {"text": "", "thoughtSignature": found.value})
        else:
            self._sign_text(found)

    def _sign_text(self, signature: Signature) -> None:
        """Sign the last characters before; they are a part of their own, as they came."""
        parts = self._parts()
        last = parts[-1] if parts else {}
        text = last.get("text", "")
        if last.keys() != {"text"} or len(text) < signature.length:
            return
        cut = len(text) - signature.length
        parts[-1:] = [{"text": text[:cut]}] if cut else []
        parts.append({"text": text[cut:], "thoughtSignature": signature.value})

    def _sign_picture(self, signature: Signature) -> None:
        parts = self._parts()
        if parts and parts[-1].keys() == {"inlineData"}:
            parts[-1]["inlineData"]["mimeType"] = signature.media_type
            parts[-1]["thoughtSignature"] = signature.value

    def _picture(self, data: str) -> None:
        if data:
            self.add(MODEL, _inline(_sniffed(data, _PICTURES) or "image/png", data))

    def _call(self, entry: ToolUse) -> None:
        signature, self._next = self._next, None
        call_id, old = split_id(entry.call_id)
        call: Json = {"name": entry.tool.flat, "args": entry.arguments}
        own = signature.call_id if signature else ""
        if own or self._traits.is_new:
            call["id"] = own or call_id
        value = (signature.value if signature else "") or old
        self._add_call(entry, call, value or self._placeholder())

    def _placeholder(self) -> str:
        """What stands for the signature of a call that has none, where the model wants one."""
        is_first = not any(FUNCTION_CALL in part for part in self._parts())
        return UNSIGNED if self._traits.is_new and is_first else ""

    def _add_call(self, entry: ToolUse, call: Json, signature: str) -> None:
        call_id = split_id(entry.call_id)[0]
        if "id" in call:
            self._ids[call_id] = call["id"]
        self.add(MODEL, {FUNCTION_CALL: call, **({SIGNATURE: signature} if signature else {})})
        self._called.add(call_id)
        self._unanswered.append(entry)

    def _own_turn(self, turn: MakerTurn) -> None:
        """A turn in the model's own parts; in its items where the parts do not fit."""
        parts = own_parts(turn, takes_tool_calls=self._traits.is_new)
        if parts is None:
            for entry in turn.entries:
                self.write(entry)
            return
        self._next = None
        is_signed = any(SIGNATURE in part for part, _ in parts)
        for part, use in parts:
            if use is None:
                self.add(MODEL, part)
                continue
            signature = part.get(SIGNATURE) or ("" if is_signed else self._placeholder())
            self._add_call(use, {"args": use.arguments, **part[FUNCTION_CALL]}, signature)

    # What the tools said

    def _answer(self) -> None:
        """The results of the last turn's calls; a signature without its call is left out."""
        self._next = None
        calls, self._unanswered = self._unanswered, []
        after: list[Json] = []
        for call in calls:
            call_id = split_id(call.call_id)[0]
            inside, outside = self._result(self._results.get(call_id))
            response: Json = {"name": call.tool.flat, **inside}
            if call_id in self._ids:
                response["id"] = self._ids[call_id]
            self.add(USER, {"functionResponse": response})
            after += outside
        if after:
            self.add(USER, *after)

    def _result(self, result: ToolResult | None) -> tuple[Json, list[Json]]:
        """The response of a function, and the data that follows it."""
        if result is None:
            return {"response": {"error": NO_RESULT}}, []
        response = {"error" if result.is_error else "output": result.text}
        blobs = [_blob(part) for part in result.parts if part.kind != "text"]
        within = [blob for blob in blobs if self._traits.is_new and _fits_inside(blob)]
        outside = [blob for blob in blobs if blob not in within]
        return {"response": response, **({"parts": within} if within else {})}, outside


def _user_part(part: ContentPart) -> Json:
    return {"text": part.text} if part.kind == "text" else _blob(part)


def _blob(part: ContentPart) -> Json:
    """Data as Gemini takes it. Raises a 400 for data of an unknown type."""
    media_type = part.media_type or mimetypes.guess_type(part.name)[0]
    media_type = media_type or _sniffed(part.data, _FILES)
    if not media_type or not part.data:
        raise refused("content part", f"input_{part.kind}", "input", NO_TYPE)
    return _inline(_OTHER_NAMES.get(media_type, media_type), part.data)


def _fits_inside(blob: Json) -> bool:
    return blob["inlineData"]["mimeType"] in _IN_RESPONSES


def _inline(media_type: str, data: str) -> Json:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _sniffed(data: str, beginnings: dict[str, str]) -> str:
    return next((kind for begin, kind in beginnings.items() if data.startswith(begin)), "")
