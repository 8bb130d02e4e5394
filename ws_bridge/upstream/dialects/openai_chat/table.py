"""What Chat Completions can be sent, as data; a variant's own cells replace these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ws_bridge.upstream.dialects.openai_chat.variants import VARIANTS, Variant, known_as
from ws_bridge.upstream.dialects.table import (
    TRANSLATE,
    Harmless,
    Refuse,
    RequestTable,
    Translate,
    family_table,
)

_NO_FILE = Refuse("Send the text of the file, or a picture of its pages.")
_NO_ID = Refuse("Send a data URL: chat models know no files by id.")

TABLE = family_table(
    parts={
        "input_image.data": TRANSLATE,
        "input_image.url": TRANSLATE,
        "input_image.id": _NO_ID,
        "image_url.data": TRANSLATE,
        "image_url.url": TRANSLATE,
        "image_url.id": _NO_ID,
        "input_file.data": _NO_FILE,
        "input_file.url": _NO_FILE,
        "input_file.id": _NO_ID,
        "input_audio": Refuse("Send the text of the sound."),
    },
    options={
        "instructions": TRANSLATE,
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": Translate("It is refused beside tools that the provider runs."),
        "parallel_tool_calls": TRANSLATE,
        "reasoning": Translate("The effort; thoughts are shown as they come."),
        "service_tier": Translate(
            "Elsewhere than at OpenAI and Groq it is left out, as a mere price."
        ),
        "temperature": TRANSLATE,
        "text": Translate("The verbosity is OpenAI's; elsewhere it can be medium only."),
        "tool_choice": TRANSLATE,
        "tools": TRANSLATE,
        "top_logprobs": TRANSLATE,
        "top_p": TRANSLATE,
        "truncation": Harmless("Nothing is cut off: a prompt that is too long is an error."),
    },
    includes={"message.output_text.logprobs": TRANSLATE},
)


def _with(variant: Variant) -> RequestTable:
    columns: Any = {
        name: {**getattr(TABLE, name), **cells} for name, cells in variant.cells.items()
    }
    return replace(TABLE, **columns)


_TABLES = {provider: _with(variant) for provider, variant in VARIANTS.items()}


def table_of(provider: str) -> RequestTable:
    """The table of one provider."""
    return _TABLES.get(known_as(provider), TABLE)
