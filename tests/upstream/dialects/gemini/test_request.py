"""A whole body, as Google gets it, and the same conversation once more with its answer."""

from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.gemini.request import write

F = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
SIGNED = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "x1"}, "thoughtSignature": "c2ln"}


def test_a_whole_body(written):
    body = written(
        {"role": "user", "content": "hi"},
        model="gemini-3-flash-preview",
        instructions="Be kind.",
        tools=[F, {"type": "web_search"}],
        tool_choice="required",
        temperature=0.5,
        reasoning={"effort": "low", "summary": "auto"},
        service_tier="priority",
    )
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "tools": [
            {"functionDeclarations": [{"name": "f", "parametersJsonSchema": F["parameters"]}]},
            {"googleSearch": {}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY"},
            "includeServerSideToolInvocations": True,
        },
        "generationConfig": {
            "temperature": 0.5,
            "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
        },
        "serviceTier": "priority",
    }


def test_the_reader_gets_the_tools_that_were_offered():
    options = {
        "tools": [F, {"type": "function", "name": "g"}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [F]},
    }
    message = {"type": "message", "role": "user", "content": "hi"}
    given = WriterInput("m", "gemini", [message], options, ToolTable.of(options["tools"]))
    assert list(write(given).tools.tools) == ["f"]


def test_what_the_model_said_goes_back_part_by_part(play, written):
    parts = [
        {"text": "Let me "},
        {"text": "see.", "thoughtSignature": "dGV4dA=="},
        SIGNED,
        {"functionCall": {"name": "f", "args": {}, "id": "x2"}},
    ]
    played = play(*parts, tools=[F])
    outputs = [
        {"type": "function_call_output", "call_id": call_id, "output": "ok"}
        for call_id in ("x1", "x2")
    ]
    asked = {"type": "message", "role": "user", "content": "hi"}
    body = written(asked, *played.output, *outputs, tools=[F])
    assert body["contents"][1:] == [
        {"role": "model", "parts": parts},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"output": "ok"}, "id": "x1"}},
                {"functionResponse": {"name": "f", "response": {"output": "ok"}, "id": "x2"}},
            ],
        },
    ]
