"""What a family of providers can be sent, as data: one table a dialect (pure).

Rule 1: each type of tool, tool choice, item and part, and each option, is translated, harmless to
leave out, or refused. What a table does not name is refused, unless its ``default`` passes it.
Rule 2: "harmless" says why no answer can change.
Rule 3: a refusal is a 400 `unsupported_parameter` whose `param` names the place.
docs/protocol.md has what works with which family, generated from these tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json


@dataclass(frozen=True, slots=True)
class Translate:
    """It is said in the provider's words. ``note`` is for the docs, where that needs one."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class Harmless:
    """It is left out: ``why`` no answer changes by that."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is a 400; ``hint`` says what to send instead."""

    hint: str = ""


Cell = Translate | Harmless | Refuse
TRANSLATE = Translate()
PASSED = Translate("It is sent as it is: the provider judges it.")
REFUSE = Refuse()
Cells = dict[str, Cell]

SEND_DATA = Refuse("Send a data URL: the bridge opens no links.")


@dataclass(frozen=True, slots=True)
class RequestTable:
    """The table of one family. Keys are types; options go by their names."""

    tools: Cells
    choices: Cells  # "auto", "none", "required", "function", "custom", "allowed_tools", …
    items: Cells
    parts: Cells  # "input_text", "input_image.url", "input_image.data", "input_file.data", …
    options: Cells
    includes: Cells = field(default_factory=dict)  # values of `include`
    default: Cell = REFUSE  # of all that is not named

    def takes(self, column: str, name: str, param: str) -> bool:
        """True: it is to be translated; False: it is left out. Raises ``UpstreamError`` (400)."""
        cells: Cells = getattr(self, column)
        cell = cells.get(name, self.default)
        if isinstance(cell, Refuse):
            raise refused(NOUNS[column], name, param, cell.hint)
        return isinstance(cell, Translate)

    def refuses(self, column: str, name: str) -> bool:
        """Whether ``takes`` raises."""
        return isinstance(getattr(self, column).get(name, self.default), Refuse)

    def options_to_translate(self, options: Json, *, drop: bool = False) -> Json:
        """The options that this family is told of. Raises ``UpstreamError`` (400).

        ``drop``: what would be refused is left out, because the operator says so.
        """
        taken = {}
        for name, value in options.items():
            if drop and self.refuses("options", name):
                continue
            if self.takes("options", name, name):
                taken[name] = value
        return taken


NOUNS = {
    "tools": "tool",
    "choices": "tool choice",
    "items": "item",
    "parts": "content part",
    "options": "parameter",
    "includes": "value",
}


def refused(noun: str, name: str, param: str, hint: str = "") -> UpstreamError:
    """The error for what a dialect has no words for."""
    message = f"The {noun} '{name[:64]}' is not supported for this model. {hint}".strip()
    return UpstreamError(message, status=400, code="unsupported_parameter", param=param)


# What every dialect has in common

_CACHE = Harmless("It says how OpenAI's servers cache a prompt; caching changes no answer.")
_BOOKS = Harmless("The bridge keeps it and returns it; providers do nothing with it.")

COMMON_OPTIONS: Cells = {
    "context_management": Harmless("The bridge compacts the chain itself before it is sent."),
    "include": TRANSLATE,
    "metadata": _BOOKS,
    "prompt": Refuse("Prompt templates are stored at OpenAI only."),
    "prompt_cache_key": _CACHE,
    "prompt_cache_options": _CACHE,
    "prompt_cache_retention": _CACHE,
    "safety_identifier": Harmless("It names the end user to OpenAI's abuse detection only."),
    "user": Harmless("It names the end user; no answer depends on it."),
}
# The tools that the client runs, as functions (`protocol.tools`), and the search among them.
CLIENT_TOOLS: Cells = {
    **dict.fromkeys(
        ("function", "custom", "apply_patch", "shell", "local_shell", "tool_search.client"),
        TRANSLATE,
    ),
    "tool_search": Harmless(
        "All tools are offered at once, deferred ones too: none is to be found."
    ),
}
CLIENT_CHOICES: Cells = dict.fromkeys(
    (
        *("auto", "none", "required", "function", "custom", "allowed_tools"),
        *("apply_patch", "shell", "local_shell"),
    ),
    TRANSLATE,
)
CLIENT_ITEMS: Cells = dict.fromkeys(
    (
        *("message", "reasoning"),
        *("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *("apply_patch_call", "apply_patch_call_output", "shell_call", "shell_call_output"),
        *("local_shell_call", "local_shell_call_output"),
        *("tool_search_call.client", "tool_search_output.client"),
    ),
    TRANSLATE,
)
_SHOWN = Harmless("It records a call that another provider ran itself; the text after it has more.")
_FOUND = Harmless("Its tools are offered with those of the request.")
HOSTED_ITEMS: Cells = {
    **dict.fromkeys(
        (
            *("web_search_call", "file_search_call", "code_interpreter_call"),
            *("image_generation_call", "mcp_call", "mcp_list_tools", "tool_search_call"),
            *("mcp_approval_request", "mcp_approval_response"),
        ),
        _SHOWN,
    ),
    **dict.fromkeys(("tool_search_output", "additional_tools"), _FOUND),
}
TEXT_PARTS: Cells = dict.fromkeys(
    ("input_text", "output_text", "refusal", "text", "summary_text", "reasoning_text"), TRANSLATE
)
_SIZES = Harmless("The provider sends what it has: this asks OpenAI for more of an item.")
INCLUDES: Cells = {
    "reasoning.encrypted_content": Harmless("The bridge always sends sealed reasoning."),
    **dict.fromkeys(
        (
            *("code_interpreter_call.outputs", "computer_call_output.output.image_url"),
            *("file_search_call.results", "message.input_image.image_url"),
            *("web_search_call.action.sources", "web_search_call.results"),
        ),
        _SIZES,
    ),
}


def family_table(
    *,
    parts: Cells,
    options: Cells,
    tools: Cells | None = None,
    choices: Cells | None = None,
    items: Cells | None = None,
    includes: Cells | None = None,
) -> RequestTable:
    """The table of a family that calls functions: the common cells, and then its own.

    A cell of its own replaces the common one of that name.
    """
    return RequestTable(
        tools=CLIENT_TOOLS | (tools or {}),
        choices=CLIENT_CHOICES | (choices or {}),
        items=CLIENT_ITEMS | HOSTED_ITEMS | (items or {}),
        parts=TEXT_PARTS | parts,
        options=COMMON_OPTIONS | options,
        includes=INCLUDES | (includes or {}),
    )


def known(tables: Iterable[RequestTable], column: str) -> list[str]:
    """All names that a column of some table has, in order: the rows of the docs' table."""
    names: dict[str, None] = {}
    for table in tables:
        names.update(dict.fromkeys(getattr(table, column)))
    return list(names)
