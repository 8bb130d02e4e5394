"""A tool choice is one of three modes, over the tools that the client allows."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.table import (
    CLIENT_CHOICES,
    CLIENT_TOOLS,
    TRANSLATE,
    Harmless,
    RequestTable,
)
from ws_bridge.upstream.dialects.tool_choice import read_choice

TABLE = RequestTable(
    {
        **CLIENT_TOOLS,
        **dict.fromkeys(("web_search", "web_search_preview"), TRANSLATE),
        "file_search": Harmless("It is a test."),
    },
    {**CLIENT_CHOICES, "web_search": TRANSLATE, "file_search": Harmless("It is a test.")},
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


SEARCH = {"type": "web_search_preview"}
HOSTED = ToolTable.of([{"type": "function", "name": "f"}, SEARCH])


def chosen(choice, tools=TOOLS):
    read = read_choice(choice, tools, TABLE)
    return read.mode, list(read.tools.tools), read.one and read.one.flat


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
    assert refused.value.status == 400
    assert refused.value.param in ("tool_choice", "tool_choice.mode")


def test_hosted_tools_are_translated_left_out_or_refused():
    kinds = ["web_search", "file_search"]
    tools = ToolTable.of([{"type": kind} for kind in kinds])

    assert read_choice("auto", tools, TABLE).tools.hosted == (("tools[0]", {"type": "web_search"}),)
    with pytest.raises(BridgeError) as refused:
        read_choice("none", ToolTable.of([{"type": "shell"}, {"type": "invented"}]), TABLE)
    assert refused.value.param == "tools[1]"


@pytest.mark.parametrize(
    ("choice", "flats", "has_search"),
    [
        ({"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}, ["f"], False),
        ({"type": "allowed_tools", "tools": [{"type": "web_search"}]}, [], True),
        ({"type": "allowed_tools", "mode": "none", "tools": []}, [], False),
        ("auto", ["f"], True),
    ],
)
def test_allowed_tools_leave_out_the_provider_s_own_tools_too(choice, flats, has_search):
    read = read_choice(choice, HOSTED, TABLE)

    assert (list(read.tools.tools), bool(read.tools.hosted)) == (flats, has_search)
    assert read.is_narrowed is (choice != "auto")


def test_of_two_servers_the_one_with_the_label_is_allowed():
    table = RequestTable({"mcp": TRANSLATE}, CLIENT_CHOICES, {}, {}, {})
    servers = [{"type": "mcp", "server_label": label} for label in ("a", "b")]
    choice = {"type": "allowed_tools", "tools": servers[1:]}

    read = read_choice(choice, ToolTable.of(servers), table)

    assert read.tools.hosted == (("tools[1]", servers[1]),)


def test_a_tool_of_the_provider_s_is_chosen_by_its_type_whatever_the_version():
    read = read_choice({"type": "web_search"}, HOSTED, TABLE)
    assert (read.mode, read.one, read.hosted) == ("required", None, SEARCH["type"])


def test_a_search_among_tools_is_left_out_where_all_are_offered_at_once():
    later = {"type": "function", "name": "f", "defer_loading": True}
    tools = ToolTable.of([{"type": "tool_search"}, later])
    for choice in (None, {"type": "allowed_tools", "tools": [{"type": "tool_search"}, later]}):
        read = read_choice(choice, tools, TABLE)
        assert (list(read.tools.tools), read.tools.hosted) == (["f"], ())


def test_a_choice_that_changes_no_answer_is_left_out():
    assert read_choice({"type": "file_search"}, HOSTED, TABLE).mode == "auto"


def test_a_tool_is_required_only_of_some():
    with pytest.raises(BridgeError) as refused:
        chosen("required", ToolTable.of([{"type": "file_search"}]))
    assert refused.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("allowed", "rest"),
    [
        (["text"], {}),
        (["text", "image"], {}),
        (["image"], {"search_content_types": ["image"]}),
        ("text", {"search_content_types": "text"}),
    ],
)
def test_a_search_that_may_find_images_too_is_a_search(allowed, rest):
    tools = ToolTable.of([{**SEARCH, "search_content_types": allowed}])
    assert read_choice(None, tools, TABLE).tools.hosted == (("tools[0]", {**SEARCH, **rest}),)
