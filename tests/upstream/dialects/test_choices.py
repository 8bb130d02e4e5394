"""A tool choice is one of three modes, over the tools that the client allows."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.choices import check_hosted, choice_of
from ws_bridge.upstream.dialects.table import (
    CLIENT_CHOICES,
    CLIENT_TOOLS,
    TRANSLATE,
    Harmless,
    RequestTable,
)

TABLE = RequestTable(
    {**CLIENT_TOOLS, "web_search": TRANSLATE, "file_search": Harmless("It is a test.")},
    CLIENT_CHOICES,
    {},
    {},
    {},
)
TOOLS = ToolTable.of(
    [
        {"type": "function", "name": "f"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
        {"type": "shell"},
    ]
)


def chosen(choice, tools=TOOLS):
    made = choice_of({} if choice is None else {"tool_choice": choice}, tools, TABLE)
    return made.mode, list(made.tools.tools), made.one and made.one.flat


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ("auto", ["f", "n__f", "shell"], None)),
        ("none", ("none", ["f", "n__f", "shell"], None)),
        ({"type": "required"}, ("required", ["f", "n__f", "shell"], None)),
        ({"type": "shell"}, ("required", ["f", "n__f", "shell"], "shell")),
        (
            {"type": "function", "name": "f", "namespace": "n"},
            ("required", ["f", "n__f", "shell"], "n__f"),
        ),
        (
            {"type": "allowed_tools", "tools": [{"type": "shell"}]},
            ("auto", ["shell"], None),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "shell"}]},
            ("required", ["shell"], None),
        ),
    ],
)
def test_every_form_is_read(choice, expected):
    assert chosen(choice) == expected


@pytest.mark.parametrize(
    "choice",
    [
        "any",
        7,
        {},
        {"type": "web_search"},
        {"type": "function"},
        {"type": "custom", "name": "g"},
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "tools": ["f"]},
        {"type": "allowed_tools", "tools": [{"type": "web_search"}]},
        {"type": "allowed_tools", "mode": "any", "tools": []},
        {"type": "allowed_tools", "mode": "required", "tools": []},
    ],
)
def test_what_names_no_tool_is_refused(choice):
    with pytest.raises(BridgeError) as refused:
        chosen(choice)
    assert (refused.value.status, refused.value.param) == (400, "tool_choice")


def test_hosted_tools_are_translated_left_out_or_refused():
    kinds = ["web_search", "file_search"]
    tools = ToolTable.of([{"type": kind} for kind in kinds])

    assert check_hosted(tools, TABLE) == [("tools[0]", {"type": "web_search"})]
    with pytest.raises(BridgeError) as refused:
        check_hosted(ToolTable.of([{"type": "shell"}, {"type": "invented"}]), TABLE)
    assert refused.value.param == "tools[1]"
