"""litellm's import and its set-up: it is imported here alone, and all others take it from here.

Rule 1: importing it makes no network call, reads no `.env` file, prints and logs nothing.
Rule 2: what litellm would do again for every call is done once.

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
# 100 equal chunks in a row are a table's blanks more often than a model gone wrong.
os.environ.setdefault("REPEATED_STREAMING_CHUNK_LIMIT", "100000")

import litellm

__all__ = ["litellm"]

GUESSES_KEPT = 4096  # names; a call of an unknown model asks for seven spellings of its name
WARNINGS = (
    "Pydantic serializer warnings",  # about litellm's own copy of each native response
    "Items? '.*' on TypedDict class",  # about its types
    "Accessing the 'model_(computed_)?fields' attribute",  # about its way to read them
)


def _quiet() -> None:
    """Neither output, nor log lines with content in them, nor calls nobody asked for."""
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


def _guess_once() -> None:
    """Remember what litellm's patterns say of a name: it searches all of them for every lookup.

    The patterns come with the price map, which is loaded once. Of a release without them nothing
    is remembered.
    """
    rules = internals.RULES.find(internals.load(internals.GUESSES))
    for part in internals.GUESSERS:
        if (search := part.find(rules)) is not None:
            setattr(rules, part.name, _remembered(search))


def _remembered(search: Callable[..., Any]) -> Callable[..., Any]:
    """The search, made once a name; whoever changes what it gives changes a copy."""
    found = lru_cache(maxsize=GUESSES_KEPT)(search)

    def again(*names: str) -> Any:
        value = found(*names)
        return dict(value) if isinstance(value, dict) else value

    return again


_quiet()
_guess_once()
