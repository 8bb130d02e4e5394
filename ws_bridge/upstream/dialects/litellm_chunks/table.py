"""What litellm's bridge to chat completions carries, as data.

It is one table for providers of many kinds: what only some of them know is refused.
"""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
    CLIENT_CHOICES,
    CLIENT_ITEMS,
    CLIENT_TOOLS,
    COMMON_OPTIONS,
    HOSTED_ITEMS,
    INCLUDES,
    TEXT_PARTS,
    TRANSLATE,
    Harmless,
    Refuse,
    RequestTable,
    Translate,
)

_DATA = Refuse("Send 'file_data': the bridge opens no links.")

TABLE = RequestTable(
    tools=CLIENT_TOOLS,
    choices=CLIENT_CHOICES,
    items=CLIENT_ITEMS | HOSTED_ITEMS,
    parts=TEXT_PARTS
    | {
        "input_image.data": TRANSLATE,
        "input_image.url": Translate("of providers that open links themselves; else a 400"),
        "image_url.data": TRANSLATE,
        "input_file.data": TRANSLATE,
        "input_file.url": _DATA,
    },
    options=COMMON_OPTIONS
    | {
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
    includes=INCLUDES
    | {"message.output_text.logprobs": Refuse("Ask for them with 'top_logprobs'.")},
)
