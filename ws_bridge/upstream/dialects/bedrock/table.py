"""What Bedrock's Converse API can be sent (data)."""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
    SEND_DATA,
    TRANSLATE,
    Cells,
    Harmless,
    Refuse,
    Translate,
    family_table,
)

_NOVA = Translate("Nova's own tool; refused for other models.")
_NO_FILES = Refuse("Send a data URL: Bedrock keeps no files.")
_MEDIA: Cells = {
    "input_image.data": TRANSLATE,
    "input_image.url": SEND_DATA,
    "input_image.id": _NO_FILES,
    "image_url.data": TRANSLATE,
    "image_url.url": SEND_DATA,
    "input_file.data": Translate("PDF, Word, Excel, CSV, HTML, Markdown, plain text."),
    "input_file.url": SEND_DATA,
    "input_file.id": _NO_FILES,
    "input_audio": Translate("Few models listen."),
}

TABLE = family_table(
    tools={
        "web_search": _NOVA,
        "web_search_preview": _NOVA,
        "code_interpreter": _NOVA,
    },
    parts=_MEDIA,
    options={
        "instructions": TRANSLATE,
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": Translate("Not beside Nova's own tools, which cannot be counted."),
        "parallel_tool_calls": Translate("`false` for Claude only."),
        "reasoning": Translate("`effort`, for Claude, Nova 2, gpt-oss and DeepSeek V3."),
        "service_tier": Translate("`default`, `flex`, `priority`."),
        "temperature": TRANSLATE,
        "text": Translate("`format` but for `json_object`; of `verbosity` only `medium`."),
        "tool_choice": TRANSLATE,
        "tools": TRANSLATE,
        "top_logprobs": Refuse(),
        "top_p": TRANSLATE,
        "truncation": Harmless("Nothing is cut: an input that is too long is an error."),
    },
)
