"""What litellm's bridge to chat completions carries, as data.

It is one table for providers of many kinds: what only some of them know is refused.
"""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
    TRANSLATE,
    Harmless,
    Refuse,
    Translate,
    family_table,
)

_DATA = Refuse("Send 'file_data': the bridge opens no links.")

TABLE = family_table(
    parts={
        "input_image.data": TRANSLATE,
        "input_image.url": Translate("of providers that open links themselves; else a 400"),
        "image_url.data": TRANSLATE,
        "input_file.data": TRANSLATE,
        "input_file.url": _DATA,
    },
    options={
        "instructions": TRANSLATE,
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": Harmless("It counts hosted tools only, and none can be asked for."),
        "parallel_tool_calls": TRANSLATE,
        "reasoning": TRANSLATE,
        "service_tier": Harmless("It chooses a price and a speed at OpenAI, and no other answer."),
        "temperature": TRANSLATE,
        "text": TRANSLATE,
        "tool_choice": TRANSLATE,
        "tools": TRANSLATE,
        "top_logprobs": TRANSLATE,
        "top_p": TRANSLATE,
        "truncation": Harmless("Nothing is cut off: a prompt that is too long is an error."),
    },
    includes={"message.output_text.logprobs": Refuse("Ask for them with 'top_logprobs'.")},
)
