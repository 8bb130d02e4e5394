"""Tools in namespaces, as coding agents send them, over dialects that know no namespaces."""

import pytest
from support.fleet import KEYS, models_for
from upstreams import FakeProviders

PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "Patch a file.",
    "format": {"type": "text"},
}
TOOLS = [
    {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}},
    {
        "type": "namespace",
        "name": "mcp__crm",
        "description": "Customers.",
        "tools": [
            {
                "type": "function",
                "name": "find",
                "description": "Find a customer.",
                "strict": False,
                "defer_loading": True,
                "parameters": {"type": "object", "properties": {"content": {"type": "string"}}},
            },
            PATCH,
        ],
    },
]
FIND = {"type": "function", "name": "find", "namespace": "mcp__crm"}
CHANGE = {"type": "custom", "name": "patch", "namespace": "mcp__crm"}
USER = {"type": "message", "role": "user", "content": "hi"}
CALLS = {
    "function": {"type": "function_call", "arguments": '{"content": "x"}'},
    "custom": {"type": "custom_tool_call", "input": "x"},
}
MODELS = {"chat": "m-chosentool", "anthropic": "claude-chosentool"}


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


@pytest.fixture
async def bridge(serve, fake):
    fake.reset()
    return await serve(None, {"models": models_for(fake)}, KEYS)


def sent(fake, family):
    """What the provider was sent last: the names of its tools, the one to call, those called."""
    body = fake.requests(MODELS[family])[-1]
    choice = body.get("tool_choice")
    if family == "anthropic":
        blocks = [
            block
            for message in body["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
        ]
        called = [(one["name"], one["input"]) for one in blocks if one["type"] == "tool_use"]
        return [tool["name"] for tool in body["tools"]], choice["name"], called
    calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
    functions = [call["function"] for call in calls]
    names = [tool["function"]["name"] for tool in body["tools"]]
    return names, choice["function"]["name"], [(one["name"], one["arguments"]) for one in functions]


def flat_calls(family, *names):
    given = {"content": "x"} if family == "anthropic" else '{"content":"x"}'
    return [(name, given) for name in names]


@pytest.mark.parametrize("choice", [FIND, CHANGE], ids=["function", "custom"])
@pytest.mark.parametrize("family", MODELS)
async def test_a_call_comes_back_as_the_client_named_its_tool(bridge, fake, family, choice):
    client = await bridge.connect()
    asked = {"model": f"{family}-chosentool", "tools": TOOLS, "tool_choice": choice}
    events = await client.turn(input="hi", **asked)
    flat = f"mcp__crm__{choice['name']}"
    assert sent(fake, family) == (["look", "mcp__crm__find", "mcp__crm__patch"], flat, [])
    [call] = events[-1]["response"]["output"]
    said = {"name": choice["name"], "namespace": "mcp__crm"}
    assert call.items() >= (CALLS[choice["type"]] | said).items()
    assert "mcp__crm__" not in str(events)
    output = {"type": f"{call['type']}_output", "call_id": call["call_id"], "output": "done"}
    parent = events[-1]["response"]["id"]
    await client.turn(input=[output], previous_response_id=parent, **asked)
    assert sent(fake, family)[2] == flat_calls(family, flat)


@pytest.mark.parametrize("family", MODELS)
async def test_calls_of_a_history_are_sent_under_the_names_of_their_tools(bridge, fake, family):
    history = [USER]
    for number, tool in enumerate((FIND, CHANGE)):
        call = CALLS[tool["type"]] | {"call_id": f"call_{number}"}
        history.append(call | {"name": tool["name"], "namespace": tool["namespace"]})
        output = {"type": f"{call['type']}_output", "call_id": f"call_{number}", "output": "done"}
        history.append(output)
    asked = {"model": f"{family}-chosentool", "tools": TOOLS, "tool_choice": FIND}
    status, _ = await bridge.post("/v1/responses", input=history, store=False, **asked)
    assert status == 200
    assert sent(fake, family)[2] == flat_calls(family, "mcp__crm__find", "mcp__crm__patch")


@pytest.mark.parametrize("family", MODELS)
async def test_a_choice_of_a_tool_that_its_namespace_lacks_is_refused(bridge, fake, family):
    asked = {"model": f"{family}-chosentool", "tools": TOOLS, "input": "hi"}
    wrong = {"type": "function", "name": "find", "namespace": "other"}
    status, body = await bridge.post("/v1/responses", **asked, tool_choice=wrong)
    assert (status, body["error"]["param"]) == (400, "tool_choice")
    assert fake.requests(MODELS[family]) == []
