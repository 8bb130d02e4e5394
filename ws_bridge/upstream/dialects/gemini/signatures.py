"""Gemini's thought signatures, between its parts and the seals that clients keep (pure).

A signature must come back with the very part that it came with. The seal says which that is: the
next call, the text before (of so many characters), the thought itself, or the picture before.

Rule 1: a value that does not have this form is nothing.
Rule 2: older releases, and litellm, put the signature into the call's id. Clients' histories live
long: these ids are read for ever.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ws_bridge.protocol.history import SIGNED_CALL_ID
from ws_bridge.types import Json

CALL, TEXT, THOUGHT, IMAGE = "call", "text", "thought", "image"
PLACES = (CALL, TEXT, THOUGHT, IMAGE)
# Google's documented value for a call that another model made: it is not checked.
UNSIGNED = "skip_thought_signature_validator"

_HALF = re.compile("[\ud800-\udfff]")  # of a character
_FITTING = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature, and where it belongs."""

    place: str
    value: str = ""
    length: int = 0  # characters of the text part that it signs
    call_id: str = ""  # the provider's id of the call, where clients have another one
    media_type: str = ""  # of a picture

    def json(self) -> Json:
        """The values to be sealed."""
        fields = {
            "on": self.place,
            "signature": self.value,
            "length": self.length,
            "id": self.call_id,
            "media_type": self.media_type,
        }
        return {name: value for name, value in fields.items() if value}


def read_signature(values: Json | None) -> Signature | None:
    """The signature in opened values; None for all else."""
    if not values or values.get("on") not in PLACES:
        return None
    texts = [values.get(name, "") for name in ("signature", "id", "media_type")]
    length = values.get("length", 0)
    if not all(isinstance(text, str) for text in texts) or type(length) is not int or length < 0:
        return None
    return Signature(values["on"], texts[0], length, texts[1], texts[2])


def sealable(value: Any) -> str:
    """A text that a seal can hold; "" for all else."""
    return value if isinstance(value, str) and not _HALF.search(value) else ""


def fitting_id(call_id: Any) -> str | None:
    """A provider's call id in a form that every client takes; None if there is none."""
    if not isinstance(call_id, str) or not call_id:
        return None
    if _FITTING.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode(errors="replace")).hexdigest()[:32]


def split_id(call_id: str) -> tuple[str, str]:
    """A call's id without the signature that an older release put into it, and the signature."""
    found = SIGNED_CALL_ID.fullmatch(call_id)
    return (found[1], found[2]) if found else (call_id, "")
