"""What a model that completes text can be told of a Responses request, as data."""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
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

_NO_TOOLS = Harmless("No tool can be offered.")
_NO_CHOICE = Harmless("The model has no tool to choose.")

TABLE = RequestTable(
    tools={},
    choices={"auto": _NO_CHOICE, "none": _NO_CHOICE},
    items={
        **HOSTED_ITEMS,
        "message": TRANSLATE,
        "reasoning": Harmless("It records what another model thought; the text after it has more."),
    },
    parts=TEXT_PARTS,
    options={
        **COMMON_OPTIONS,
        "instructions": Translate("As the first words of the prompt."),
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": _NO_TOOLS,
        "parallel_tool_calls": _NO_TOOLS,
        "reasoning": Translate('Only the effort "none".'),
        "service_tier": Harmless("It says how fast and at what price, not what is answered."),
        "temperature": TRANSLATE,
        "text": Translate("Only plain text."),
        "tool_choice": Translate('"auto" and "none".'),
        "tools": Translate("Only an empty list."),
        "top_logprobs": Refuse(),
        "top_p": TRANSLATE,
        "truncation": Harmless("Nothing is cut off: a prompt that is too long is an error."),
    },
    includes=INCLUDES,
)
