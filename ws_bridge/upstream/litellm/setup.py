"""The import of litellm and its set-up: all other modules take litellm from here.

Rule 1: importing it makes no network call, reads no `.env` file, prints and logs nothing.
Rule 2: what litellm would repeat for every call is done once.

Importing this takes seconds: import it in a thread.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ws_bridge.upstream.litellm import internals

# litellm reads these once, at its import.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches the price map, blocking
os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"  # the same
os.environ["LITELLM_MODE"] = "PRODUCTION"  # else it loads a .env file
# 100 equal chunks in a row are more often the blanks of a table than a model in a loop.
os.environ.setdefault("REPEATED_STREAMING_CHUNK_LIMIT", "100000")

import litellm

__all__ = ["litellm"]

GUESSES_KEPT = 4096  # names; a call of an unknown model looks up seven spellings of its name
WARNINGS = (
    "Pydantic serializer warnings",  # about litellm's own copy of each native response
    "Items? '.*' on TypedDict class",  # about its types
    "Accessing the 'model_(computed_)?fields' attribute",  # about its way to read them
)


def _quiet() -> None:
    """Switch off litellm's output, its log lines with content, and calls of its own."""
    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    litellm.user_url_validation = True  # an image's URL must not lead into the operator's network
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def _cache_guesses() -> None:
    """Cache what litellm guesses of a name: it searches all of its patterns for every lookup.

    The patterns come with the price map, which is loaded once. A release without them is left as
    it is.
    """
    rules = internals.RULES.find(internals.load(internals.GUESSES))
    for part in internals.GUESSERS:
        if (search := part.find(rules)) is not None:
            setattr(rules, part.name, _cached(search))


def _cached(search: Callable[..., Any]) -> Callable[..., Any]:
    """The search with a cache by name; callers get copies, which they may change."""
    found = lru_cache(maxsize=GUESSES_KEPT)(search)

    def again(*names: str) -> Any:
        value = found(*names)
        return dict(value) if isinstance(value, dict) else value

    return again


_quiet()
_cache_guesses()
