"""What Gemini can be sent, as data."""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
    SEND_DATA,
    TRANSLATE,
    Harmless,
    Refuse,
    Translate,
    family_table,
)

_OWN_FILES = Refuse("The model reads no files of OpenAI's: send a data URL.")
_SEARCH = Translate("Google Search, without filters and places")

TABLE = family_table(
    tools={
        **dict.fromkeys(
            (
                *("web_search", "web_search_2025_08_26"),
                *("web_search_preview", "web_search_preview_2025_03_11"),
            ),
            _SEARCH,
        ),
        "code_interpreter": Translate("code execution; it has no containers to name"),
        "image_generation": Translate("of models that make images themselves; else a 400"),
        "file_search": Refuse("The model searches no vector stores of OpenAI's."),
        "mcp": Refuse("Offer the tools of the MCP server as functions."),
    },
    items={"image_generation_call": TRANSLATE},
    parts={
        "input_image.data": TRANSLATE,
        "input_image.url": SEND_DATA,
        "input_image.id": _OWN_FILES,
        "image_url.data": TRANSLATE,
        "image_url.url": SEND_DATA,
        "input_file.data": TRANSLATE,
        "input_file.url": SEND_DATA,
        "input_file.id": _OWN_FILES,
        "input_audio": TRANSLATE,
    },
    options={
        "instructions": TRANSLATE,
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": Translate("where no hosted tool is offered; else a 400"),
        "parallel_tool_calls": Translate("true, or where no tool is offered; else a 400"),
        "reasoning": Translate("effort as a level or a budget of thinking; summary as thoughts"),
        "service_tier": Translate("'auto', 'default', 'flex' and 'priority'"),
        "temperature": TRANSLATE,
        "text": Translate("'format'; 'verbosity' is a 400, but for 'medium'"),
        "tool_choice": TRANSLATE,
        "tools": TRANSLATE,
        "top_logprobs": TRANSLATE,
        "top_p": TRANSLATE,
        "truncation": Harmless("Nothing is cut off: a prompt that is too long is an error."),
    },
    includes={"message.output_text.logprobs": TRANSLATE},
)
