"""What Cohere's chat API, version 2, can be sent (data)."""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
    TRANSLATE,
    Cells,
    Harmless,
    Refuse,
    Translate,
    family_table,
)

_IMAGES: Cells = dict.fromkeys(
    ("input_image.data", "input_image.url", "image_url.data", "image_url.url"),
    Translate("Links are fetched by Cohere."),
)
_FILES: Cells = dict.fromkeys(
    ("input_file.data", "input_file.url", "input_file.id"), Refuse("Send its text as 'input_text'.")
)

TABLE = family_table(
    parts={**_IMAGES, **_FILES},
    options={
        "instructions": TRANSLATE,
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": Harmless("It counts calls of hosted tools, and Cohere has none."),
        "parallel_tool_calls": Translate("Only `true`."),
        "reasoning": Translate("`effort` is a budget of thinking tokens."),
        "service_tier": Harmless("It says how fast and at what price, not what is answered."),
        "temperature": TRANSLATE,
        "text": Translate("`format`; of `verbosity` only `medium`."),
        "tool_choice": Translate("A named tool is offered alone, and required."),
        "tools": TRANSLATE,
        "top_logprobs": Refuse(),
        "top_p": Translate("From 0.01 to 0.99, as Cohere takes it."),
        "truncation": Harmless("Nothing is cut: an input that is too long is an error."),
    },
)
