"""What a chat model thinks, from the fields that providers use, and its seal (pure).

Rule 1: a thought that comes in several fields of one delta is read once.
Rule 2: every thought is sealed: clients that keep their history themselves (the AI SDK, LangChain)
send no thought back that is not. The seal has the field's name, and what the text does not tell:
the details with their signatures, and what calls carry beside their arguments.
"""

from __future__ import annotations

from typing import Any

from ws_bridge.types import Json

FIELDS = ("reasoning_content", "reasoning")
DETAILS = "reasoning_details"
EXTRAS = "extra_content"  # of calls
# What a detail is made of; all else in it is more than the text.
TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}
PLAIN = frozenset({"type", "text", "index"})


class ThoughtSeal:
    """What goes into the seal of the thought that is open now."""

    def __init__(self, usual_field: str) -> None:
        self._usual = usual_field
        self._field = ""
        self._details: list[Json] = []
        self._pieces: list[str] = []  # of the last detail's text
        self._extras: Json = {}
        self.is_open = False  # something may have to be sealed

    def note(self, field: str) -> None:
        """The thought comes in this field."""
        self._field, self.is_open = field, True

    def add_extra(self, call_id: str, extra: Json) -> None:
        """What a provider wants back with a call: Gemini signs its calls so."""
        self._extras[call_id], self.is_open = extra, True

    def take(self, delta: Json) -> str:
        """The text that a delta adds to the thought."""
        given = delta.get(DETAILS)
        details = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        for detail in details:
            self._add(detail)
        for name in FIELDS:
            if text := _text(delta.get(name)):
                self.note(name)
                return text
        text = "".join(
            _text(detail.get(TEXTS.get(str(detail.get("type")), ""))) for detail in details
        )
        if text:
            self.note(self._usual)
        return text

    def values(self) -> Json:
        """The seal's values, and the next thought begins; {} if nothing of this one goes back."""
        field, self._field = self._field, ""
        self._join()
        details, self._details = self._details, []
        extras, self._extras = self._extras, {}
        self.is_open = False
        values: Json = {"field": field} if field else {}
        if extras:
            values[EXTRAS] = extras
        if any(detail.get(key) for detail in details for key in detail.keys() - PLAIN):
            values[DETAILS] = details
        return values

    def _add(self, detail: Json) -> None:
        """Join fragments of one detail; a signature comes with any of them."""
        self.is_open = True
        name = TEXTS.get(str(detail.get("type")))
        last = self._details[-1] if self._details else None
        places = [(one.get("type"), one.get("index")) for one in (last, detail) if one is not None]
        if name is None or last is None or places[0] != places[1]:
            self._join()
            self._details.append(dict(detail))
        else:
            fields = {key: value for key, value in detail.items() if value not in (None, "")}
            last.update(fields)
        if name is not None:
            self._pieces.append(_text(detail.get(name)))

    def _join(self) -> None:
        """The last detail has all of its text: nothing more is added to it."""
        pieces, self._pieces = self._pieces, []
        if text := "".join(pieces):
            last = self._details[-1]
            last[TEXTS[last["type"]]] = text


def part_text(part: Json) -> str:
    """The text of a content part that is a thought: text, or a list of parts."""
    return _text(part.get("thinking") or part.get("text"))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(one.get("text")) for one in value if isinstance(one, dict))
    if isinstance(value, dict):
        return _text(value.get("text") or value.get("content"))
    return ""
