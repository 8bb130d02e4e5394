"""What providers that speak Responses are sent: all of it, as the client sent it (data)."""

from __future__ import annotations

from ws_bridge.upstream.dialects.table import PASSED, TRANSLATE, Refuse, RequestTable, Translate

# A type of item → the fields without which it says nothing to a provider: it is left out then.
# Other makers' items may lack them, and the text after such an item has its results.
FIELDS_NEEDED = {
    "code_interpreter_call": ("id",),
    "computer_call": ("id",),
    "file_search_call": ("id",),
    "image_generation_call": ("id",),
    "local_shell_call": ("id",),
    "mcp_approval_request": ("id",),
    "mcp_call": ("id",),
    "mcp_list_tools": ("id",),
    "web_search_call": ("id", "action", "status"),
}
TABLE = RequestTable(
    tools={"function": PASSED, "custom": PASSED, "namespace": PASSED},
    choices={"allowed_tools": PASSED},
    items={
        "message": Translate("The model's own has an id, a status and annotations."),
        "reasoning": Translate("With its seal or its raw text; a bare summary is left out."),
        "item_reference": Refuse("Send the item itself: nothing is stored at the provider."),
    },
    parts={"output_text": Translate("Without log probabilities, which are no input.")},
    options={
        "include": Translate("With the sealed reasoning, where the model reasons."),
        "instructions": TRANSLATE,
    },
    default=PASSED,
)
