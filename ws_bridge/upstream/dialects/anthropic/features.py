"""What a Claude can do, by its name (pure).

Rule 1: the rules are of generations, not a list of models: a new name has what its number says.
Rule 2: a name that is no Claude's is of another maker who speaks the dialect as it was at first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_NAME = re.compile(r"claude-(?P<family>[a-z]+)-(?P<major>\d)(?:[-.](?P<minor>\d)(?!\d))?")
_OLD_NAME = re.compile(r"claude-(?P<major>\d)(?:[-.](?P<minor>\d)(?!\d))?(?:-(?P<family>[a-z]+))?")

BY_BUDGET, BY_EFFORT = (3, 7), (4, 6)
NO_SAMPLING, ON_BY_DEFAULT = (4, 7), (5, 0)
FORMATS = (4, 5)
ALWAYS_THINK = frozenset({"fable", "mythos"})


@dataclass(frozen=True, slots=True)
class ModelFeatures:
    """How one model thinks, and what it takes."""

    thinking: Literal["", "budget", "adaptive"] = "budget"
    efforts: frozenset[str] = frozenset({"low", "medium", "high"})
    thinks_by_default: bool = False
    always_thinks: bool = False
    takes_sampling: bool = True
    has_output_format: bool = True
    can_be_forced: bool = True  # to call a tool


def features_of(model: str) -> ModelFeatures:
    """The features of the model of that name at the provider."""
    found = _NAME.search(model) or _OLD_NAME.search(model)
    if found is None and "claude" not in model:
        return ModelFeatures()
    family = (found["family"] or "") if found else ""
    version = (int(found["major"]), int(found["minor"] or 0)) if found else (4, 6)
    if family in ALWAYS_THINK and version < ON_BY_DEFAULT:
        version = ON_BY_DEFAULT
    if "mythos-preview" in model:
        family, version = "mythos", ON_BY_DEFAULT
    is_later = version > ON_BY_DEFAULT and family != "haiku"
    efforts = {"low", "medium", "high"}
    if version >= BY_EFFORT:
        efforts.add("max")
    if version >= NO_SAMPLING:
        efforts.add("xhigh")
    return ModelFeatures(
        thinking="adaptive" if version >= BY_EFFORT else "budget" if version >= BY_BUDGET else "",
        efforts=frozenset(efforts),
        thinks_by_default=version >= ON_BY_DEFAULT,
        always_thinks=version >= ON_BY_DEFAULT and (family in ALWAYS_THINK or is_later),
        takes_sampling=version < NO_SAMPLING,
        has_output_format=version >= FORMATS,
        can_be_forced=not is_later,
    )
