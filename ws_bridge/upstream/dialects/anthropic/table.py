"""What the Messages API can be told of a Responses request, as data."""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import (
    TRANSLATE,
    Harmless,
    Refuse,
    Translate,
    family_table,
)

SEARCHES = (
    *("web_search", "web_search_2025_08_26"),
    *("web_search_preview", "web_search_preview_2025_03_11"),
)
_FILE_ID = Refuse("It names a file at OpenAI. Send its data, or a link.")
_SEARCH = Translate("Anthropic's own `web_search`; `search_context_size` is not sent.")

TABLE = family_table(
    tools={
        **dict.fromkeys(SEARCHES, _SEARCH),
        "code_interpreter": Translate("Anthropic's own `code_execution`."),
        "mcp": Translate('With a `server_url`, and `require_approval` "never".'),
        "tool_search": Translate("Anthropic's own, over the deferred tools."),
    },
    choices={**dict.fromkeys((*SEARCHES, "code_interpreter"), TRANSLATE)},
    parts={
        "refusal": Harmless("It explains a refusal, in the provider's words and not the model's."),
        **dict.fromkeys(
            (
                *("input_image.data", "input_image.url", "image_url.data", "image_url.url"),
                *("input_file.data", "input_file.url"),
            ),
            TRANSLATE,
        ),
        **dict.fromkeys(("input_image.id", "image_url.id", "input_file.id"), _FILE_ID),
    },
    options={
        "instructions": TRANSLATE,
        "max_output_tokens": TRANSLATE,
        "max_tool_calls": Translate("The most uses of the web search."),
        "parallel_tool_calls": TRANSLATE,
        "reasoning": Translate("As a budget or an effort of thinking, as the model has it."),
        "safety_identifier": Translate("As `metadata.user_id`, hashed where it names a person."),
        "service_tier": Translate('"default" is `standard_only`, the others are `auto`.'),
        "temperature": Translate("At most 1."),
        "text": Translate("`json_object` is said in words."),
        "tool_choice": TRANSLATE,
        "tools": TRANSLATE,
        "top_logprobs": Refuse("Claude tells no log probabilities."),
        "top_p": TRANSLATE,
        "truncation": Harmless("An input that is too long is the provider's error."),
        "user": Translate("As `metadata.user_id`, hashed where it names a person."),
    },
)
