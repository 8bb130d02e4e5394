"""Tools and choices are offered as Gemini knows them, or refused by their place."""

import pytest

from ws_bridge.errors import BridgeError

SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}}
F = {"type": "function", "name": "f", "description": "Do it.", "parameters": SCHEMA, "strict": True}
G = {"type": "function", "name": "g", "parameters": {}}
SEARCH, CODE = {"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}
DECLARED_F = {"name": "f", "description": "Do it.", "parametersJsonSchema": SCHEMA}


@pytest.fixture
def offered(written):
    """The fields of the body that are about tools."""

    def _offered(*tools, choice=None, model="gemini-3-pro", **options):
        body = written(tools=list(tools), tool_choice=choice, model=model, **options)
        return {name: body[name] for name in ("tools", "toolConfig") if name in body}

    return _offered


def refused(offered, *tools, **options):
    with pytest.raises(BridgeError) as failed:
        offered(*tools, **options)
    assert failed.value.status == 400
    return failed.value.param


def test_schemas_go_as_they_are(offered):
    assert offered(F, G) == {"tools": [{"functionDeclarations": [DECLARED_F, {"name": "g"}]}]}


def test_other_tools_of_the_client_are_functions(offered):
    tools = [{"type": "apply_patch"}, {"type": "custom", "name": "sql"}, {"type": "shell"}]
    tools.append({"type": "namespace", "name": "crm", "tools": [G]})
    (one,) = offered(*tools)["tools"]
    names = [function["name"] for function in one["functionDeclarations"]]
    assert names == ["apply_patch", "sql", "shell", "crm__g"]


def test_hosted_tools_are_geminis_own(offered):
    assert offered(SEARCH, CODE)["tools"] == [{"googleSearch": {}}, {"codeExecution": {}}]
    preview = {"type": "web_search_preview", "search_context_size": "medium", "user_location": None}
    assert offered(preview, SEARCH)["tools"] == [{"googleSearch": {}}]


def test_new_models_take_functions_and_hosted_tools_at_once(offered):
    both = offered(G, SEARCH)
    assert both["tools"] == [{"functionDeclarations": [{"name": "g"}]}, {"googleSearch": {}}]
    assert both["toolConfig"] == {"includeServerSideToolInvocations": True}
    assert refused(offered, G, SEARCH, model="gemini-2.5-pro") == "tools[1]"
    assert refused(offered, G, CODE, model="gemini-2.5-pro") == "tools[1]"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "file_search", "vector_store_ids": ["vs"]}, "tools[1]"),
        ({"type": "mcp", "server_label": "m", "server_url": "https://m"}, "tools[1]"),
        ({"type": "computer_use_preview"}, "tools[1]"),
        ({"type": "hologram"}, "tools[1]"),
        ({"type": "image_generation"}, "tools[1]"),
        ({"type": "web_search", "filters": {"allowed_domains": ["a"]}}, "tools[1].filters"),
        ({"type": "web_search", "search_context_size": "high"}, "tools[1].search_context_size"),
        ({"type": "web_search", "hologram": 1}, "tools[1].hologram"),
        ({"type": "code_interpreter", "container": "cntr_1"}, "tools[1].container"),
    ],
)
def test_what_gemini_has_not_is_refused_by_its_place(offered, tool, param):
    assert refused(offered, G, tool) == param


def test_models_that_make_images_are_asked_for_them(written):
    body = written(tools=[{"type": "image_generation", "size": "auto"}], model="gemini-3-pro-image")
    assert body["generationConfig"] == {"responseModalities": ["TEXT", "IMAGE"]}
    assert "tools" not in body


# Choices


def calling(**fields):
    return {"functionCallingConfig": fields}


def test_a_mode_is_geminis_word_for_it(offered):
    assert "toolConfig" not in offered(G, choice="auto")
    assert offered(G, choice="required")["toolConfig"] == calling(mode="ANY")
    assert offered(G, choice="none")["toolConfig"] == calling(mode="NONE")


def test_none_offers_no_hosted_tool(offered):
    assert offered(SEARCH, choice="none") == {}
    assert offered(G, SEARCH, choice="none") == {
        "tools": [{"functionDeclarations": [{"name": "g"}]}],
        "toolConfig": calling(mode="NONE"),
    }


def test_one_function_is_named(offered):
    config = calling(mode="ANY", allowedFunctionNames=["f"])
    assert offered(F, G, choice={"type": "function", "name": "f"})["toolConfig"] == config


def test_allowed_tools_narrow_what_is_offered(offered):
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "g"}],
    }
    narrowed = [{"functionDeclarations": [{"name": "g"}]}]
    assert offered(F, G, SEARCH, choice=allowed) == {
        "tools": narrowed,
        "toolConfig": calling(mode="ANY"),
    }
    assert offered(F, G, choice={**allowed, "mode": "auto"}) == {"tools": narrowed}
    search = {**allowed, "mode": "auto", "tools": [{"type": "web_search"}]}
    assert offered(F, G, SEARCH, choice=search) == {"tools": [{"googleSearch": {}}]}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "h"},
        {"type": "web_search"},
        {"type": "hologram"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "h"}]},
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(offered, choice):
    assert refused(offered, F, SEARCH, choice=choice) == "tool_choice"


def test_a_hosted_tool_cannot_be_demanded(offered):
    assert refused(offered, SEARCH, choice="required") == "tool_choice"
