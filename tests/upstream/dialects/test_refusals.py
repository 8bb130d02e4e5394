"""What no family knows is refused by each of them before a byte goes out, with its place.

Of hosted tools it is left out where the operator says so.
"""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.dialects.litellm_chunks import request as others
from ws_bridge.upstream.dialects.table import Refuse

HELLO = {"type": "message", "role": "user", "content": "hi"}
PART = {"type": "invented", "text": "x"}
INVENTED = {
    "item": ([HELLO, {"type": "invented", "id": "x_1"}], {}, "input"),
    "tool": ([HELLO], {"tools": [{"type": "invented", "name": "f"}]}, "tools[0]"),
    "part": ([{**HELLO, "content": [PART]}], {}, "input.content[0]"),
    "part of an answer": (
        [{**HELLO, "role": "assistant", "content": [PART]}, HELLO],
        {},
        "input.content[0]",
    ),
    "option": ([HELLO], {"invented": 1}, "invented"),
}
REFUSING = [name for name, family in FAMILIES.items() if isinstance(family.table.default, Refuse)]


def written(family, items, options):
    tools = ToolTable.of(options.get("tools") or (), items)
    return FAMILIES[family].write(WriterInput("m-1", "p", items, options, tools))


@pytest.mark.parametrize("family", REFUSING)
@pytest.mark.parametrize(("items", "options", "place"), INVENTED.values(), ids=INVENTED)
def test_an_invented_type_is_refused_with_its_place(family, items, options, place):
    with pytest.raises(BridgeError) as refused:
        written(family, items, options)
    found = refused.value
    assert (found.status, found.code, found.param) == (400, "unsupported_parameter", place)


def test_the_family_of_responses_alone_lets_its_provider_judge():
    assert set(FAMILIES) - set(REFUSING) == {"responses"}
    for items, options, _ in INVENTED.values():
        assert written("responses", items, options).body["input"]


# What is offered to each family that translates the tool, to see that a tool was left out.
F = {"type": "function", "name": "f"}
SEARCH = {"type": "web_search"}
OFFLINE = {**SEARCH, "external_web_access": False}  # as Codex offers it
WRITERS = {**{name: family.write for name, family in FAMILIES.items()}, "others": others.write}
MODELS = {
    "bedrock": ("amazon.nova-pro-v1:0", "bedrock"),
    "gemini": ("gemini-2.5-pro", "gemini"),
    "openai_chat": ("m-1", "groq"),
}
# Families that have a search, and an option of it that each refuses and that bounds nothing.
SEARCHING = {
    "anthropic": ("quality", "high"),
    "bedrock": ("search_context_size", "high"),
    "gemini": ("search_context_size", "high"),
    "openai_chat": ("search_context_size", "high"),
}
HOSTED = {
    "a search": SEARCH,
    "an offline search": OFFLINE,
    "a search in some places": {**SEARCH, "filters": {"allowed_domains": ["a.example"], "x": 1}},
    "a store": {"type": "file_search", "vector_store_ids": ["vs_1"]},
    "a server that asks": {
        "type": "mcp",
        "server_label": "s",
        "server_url": "https://mcp.example",
        "require_approval": "always",
    },
    "code with files": {
        "type": "code_interpreter",
        "container": {"type": "auto", "file_ids": ["file_1"]},
    },
    "pictures": {"type": "image_generation"},
}


def offered(family, *tools, drop=True, **options):
    """The body that offers the tools."""
    model, provider = MODELS.get(family, ("m-1", "p"))
    options |= {"tools": list(tools)}
    table = ToolTable.of(tools)
    given = WriterInput(model, provider, [HELLO], options, table, drop_params=drop)
    return WRITERS[family](given).body


def refusal(family, *tools, **options):
    """The place that is refused; None if nothing is."""
    try:
        offered(family, *tools, **options)
    except BridgeError as found:
        return found.param
    return None


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("tool", HOSTED.values(), ids=HOSTED)
def test_a_hosted_tool_that_is_refused_is_left_out_where_parameters_are_dropped(family, tool):
    place = refusal(family, tool, drop=False)
    body = offered(family, tool)
    if place is None:
        assert body == offered(family, tool, drop=False)
    else:
        assert place.startswith("tools[0]")
        assert {**body, "tools": []} == {**offered(family), "tools": []}


@pytest.mark.parametrize("family", SEARCHING)
def test_a_search_that_is_to_stay_offline_is_never_a_live_one(family):
    assert refusal(family, OFFLINE, drop=False) == "tools[0].external_web_access"
    assert offered(family, SEARCH) != offered(family, OFFLINE) == offered(family)


@pytest.mark.parametrize(("family", "option"), SEARCHING.items())
def test_of_a_search_its_tuning_alone_is_left_out(family, option):
    name, value = option
    tuned = {**SEARCH, name: value}
    assert refusal(family, tuned, drop=False) == f"tools[0].{name}"
    assert offered(family, tuned) == offered(family, SEARCH) != offered(family)


@pytest.mark.parametrize("family", REFUSING)
def test_a_tool_that_the_choice_names_is_refused_all_the_same(family):
    for choice in (SEARCH, {"type": "allowed_tools", "mode": "auto", "tools": [F, SEARCH]}):
        refused = refusal(family, F, OFFLINE, tool_choice=choice)
        assert refused in ("tools[0]", "tools[1]", "tools[1].external_web_access", "tool_choice")


@pytest.mark.parametrize("family", REFUSING)
@pytest.mark.parametrize("kind", ["invented", "computer", "computer_use_preview", "namespace"])
def test_a_tool_that_no_provider_is_known_to_run_is_refused_all_the_same(family, kind):
    assert refusal(family, {"type": kind}) == "tools[0]"


def test_a_model_that_takes_functions_or_its_own_tools_is_given_the_functions():
    assert refusal("gemini", F, SEARCH, drop=False) == "tools[1]"
    assert offered("gemini", F, SEARCH) == offered("gemini", F)


def test_a_model_that_completes_text_refuses_the_client_s_own_tools_all_the_same():
    assert refusal("completions", SEARCH, F) == "tools[1]"


def test_a_count_of_calls_that_cannot_be_told_is_left_out_as_well():
    code = {"type": "code_interpreter"}
    assert refusal("anthropic", code, max_tool_calls=1, drop=False) == "max_tool_calls"
    assert offered("anthropic", code, max_tool_calls=1) == offered("anthropic", code)
