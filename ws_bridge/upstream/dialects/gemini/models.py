"""What Gemini's generations of models differ in, told from their names (pure).

Rule 1: a name that is not known to be old is of the newest generation, so that a new model works
without a release of the bridge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Generations before 3, and names without a number that stand for them; Gemma has none of it all.
_OLD = re.compile(
    r"gemini-(?:[12](?:\.\d+)?|exp|pro|flash)(?![\w.])(?!-(?:lite-)?latest$)|gemma|learnlm"
)
_FIXED_THINKING = re.compile(r"gemini-2\.5-pro")  # it can be made short, but not be switched off
_LITTLE_THINKING = re.compile(r"gemini-3(?:\.[0-6])?-flash")  # these know the level "minimal"
_IMAGES = re.compile(r"-image(?![a-z])|nano-banana")


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What a request must know of its model."""

    is_new: bool  # Gemini 3 and later: call ids, signed calls, levels of thinking, mixed tools
    always_thinks: bool  # of the old ones
    thinks_minimally: bool  # of the new ones
    makes_images: bool


def traits_of(model: str) -> ModelTraits:
    """The traits of a model, by its name at the provider."""
    name = model.rpartition("/")[2].lower()
    return ModelTraits(
        is_new=not _OLD.match(name),
        always_thinks=bool(_FIXED_THINKING.match(name)),
        thinks_minimally=bool(_LITTLE_THINKING.match(name)),
        makes_images=bool(_IMAGES.search(name)),
    )
