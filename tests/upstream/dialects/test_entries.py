"""Every form that a client can send becomes one entry, or a 400 with its place."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.entries import (
    AnswerText,
    ContentPart,
    HostedUse,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
    entries_of,
    instructions_of,
)
from ws_bridge.upstream.dialects.table import (
    CLIENT_ITEMS,
    HOSTED_ITEMS,
    SEND_DATA,
    TEXT_PARTS,
    TRANSLATE,
    RequestTable,
)

TABLE = RequestTable(
    tools={},
    choices={},
    items=CLIENT_ITEMS | HOSTED_ITEMS | {"web_search_call": TRANSLATE},
    parts=TEXT_PARTS
    | {
        "input_image.data": TRANSLATE,
        "input_image.url": SEND_DATA,
        "image_url.data": TRANSLATE,
        "input_file.data": TRANSLATE,
        "input_file.url": TRANSLATE,
        "input_audio": TRANSLATE,
    },
    options={},
)
TOOLS = ToolTable.of([{"type": "function", "name": "f"}])
PNG = "data:image/png;base64,aGk="


def read(*items):
    return list(entries_of(items, TOOLS, TABLE))


def user(*parts):
    return {"type": "message", "role": "user", "content": list(parts)}


def test_text_and_a_list_of_text_are_the_same():
    turn = [UserTurn("user", (ContentPart("text", "hi"),))]
    assert read({"role": "user", "content": "hi"}) == turn
    assert read(user({"type": "input_text", "text": "hi"})) == turn


def test_empty_content_is_no_turn():
    assert read({"role": "user", "content": ""}, user(), user({"type": "input_text"})) == []


def test_a_refusal_of_the_model_is_its_text():
    said = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert read(said) == [AnswerText("no")]


def test_a_refusal_is_a_paragraph_and_the_pieces_of_a_text_are_one():
    refusal = {"type": "refusal", "refusal": "This is not allowed."}
    texts = [{"type": "output_text", "text": text} for text in ("I ", "can")]
    said = {"role": "assistant", "content": [*texts, refusal, texts[0]]}
    assert read(said) == [AnswerText("I can\n\nThis is not allowed.\n\nI ")]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": PNG, "detail": "low"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
    ],
)
def test_both_forms_of_an_image_are_read(part):
    image = ContentPart("image", media_type="image/png", data="aGk=", detail="low")
    assert read(user(part)) == [UserTurn("user", (image,))]
    assert image.data_url == PNG


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "input_image", "image_url": "https://x.org/a.png"}, "input.content[1]"),
        ({"type": "input_image", "file_id": "file-1"}, "input.content[1]"),
        ({"type": "input_hologram"}, "input.content[1]"),
        ("text", "input.content[1]"),
    ],
)
def test_a_part_that_cannot_be_said_is_refused_with_its_place(part, place):
    with pytest.raises(BridgeError) as caught:
        read(user({"type": "input_text", "text": "a"}, part))
    assert (caught.value.status, caught.value.param) == (400, place)


def test_a_link_is_refused_with_what_to_send_instead():
    with pytest.raises(BridgeError, match="Send a data URL"):
        read(user({"type": "input_image", "image_url": "https://x.org/a.png"}))


def test_files_come_as_data_with_or_without_their_type_or_by_address():
    assert read(
        user(
            {
                "type": "input_file",
                "file_data": "data:application/pdf;base64,QQ==",
                "filename": "a",
            },
            {"type": "input_file", "file_data": "QQ=="},
            {"type": "input_file", "file_url": "https://x.org/a.pdf"},
        )
    ) == [
        UserTurn(
            "user",
            (
                ContentPart("file", media_type="application/pdf", data="QQ==", name="a"),
                ContentPart("file", data="QQ=="),
                ContentPart("file", url="https://x.org/a.pdf"),
            ),
        )
    ]


def test_sound_has_its_format():
    part = {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}
    assert read(user(part)) == [UserTurn("user", (ContentPart("audio", "", "audio/wav", "QQ=="),))]


def test_a_thought_has_its_text_and_its_seal():
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "a"}],
        "content": [{"type": "reasoning_text", "text": "b"}],
        "encrypted_content": "s",
    }
    assert read(item, {"type": "reasoning", "summary": []}) == [Thought("ab", "s")]


def test_a_result_knows_the_tool_of_its_call():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    use, result = read(call, output)
    assert use == ToolUse("c", TOOLS.tools["f"], {})
    assert result == ToolResult("c", TOOLS.tools["f"], (ContentPart("text", "x"),))


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("x", "x"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}], "a\nb"),
        ({"a": 1}, '{"a":1}'),
        (7, "7"),
        (None, ""),
    ],
)
def test_every_form_of_an_output_is_text(output, text):
    (result,) = read({"type": "function_call_output", "call_id": "c", "output": output})
    assert result.text == text


def test_what_a_shell_wrote_is_told_with_its_end():
    output = [{"stdout": "a", "stderr": "b", "outcome": {"type": "exit", "exit_code": 1}}]
    (result,) = read({"type": "shell_call_output", "call_id": "c", "output": output})
    assert result.text == "a\nb\n[exit: 1]"


def test_a_failed_patch_is_an_error():
    item = {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "no"}
    assert read(item)[0].is_error


def test_a_local_shells_output_finds_its_call():
    call = {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}}
    _, result = read(call, {"type": "local_shell_call_output", "id": "c", "output": "x"})
    assert result.tool.kind == "local_shell"


def search(end, **fields):
    return {"type": f"tool_search_{end}", "call_id": "c", **fields}


def test_a_search_of_the_clients_is_a_call_and_tells_what_it_found():
    late = {"type": "function", "name": "late", "defer_loading": True}
    space = {"type": "namespace", "name": "n", "tools": [late]}
    use, result = read(
        search("call", execution="client", arguments={"query": "q"}),
        search("output", execution="client", tools=[late, space]),
    )
    assert (use.call_id, use.tool.flat, use.arguments) == ("c", "tool_search", {"query": "q"})
    assert (result.tool, result.text) == (use.tool, '{"tools":["late","n__late"]}')
    nothing = read(search("output", execution="client", tools=[]))
    assert nothing[0].text == '{"tools":[]}'


def test_a_search_of_the_providers_is_no_call_of_the_clients():
    found = {"tools": [], "execution": "server"}
    assert read(search("call", execution="server", arguments={}), search("output", **found)) == []


def test_harmless_items_are_left_out_and_unknown_ones_refused():
    assert read({"type": "file_search_call", "id": "x"}) == []
    with pytest.raises(BridgeError) as caught:
        read({"type": "invented_call", "id": "x"})
    assert (caught.value.status, caught.value.param) == (400, "input")


def test_a_hosted_call_that_the_dialect_wants_is_its_own_entry():
    item = {"type": "web_search_call", "id": "ws"}
    assert read(item) == [HostedUse(item)]


def test_a_role_that_is_none_is_refused():
    with pytest.raises(BridgeError, match="role 'wizard'"):
        read({"role": "wizard", "content": "x"})


def test_instructions_are_text_or_a_list():
    system = (UserTurn("system", (ContentPart("text", "be brief"),)),)
    assert instructions_of({"instructions": "be brief"}, TABLE) == system
    listed = [{"type": "message", "role": "system", "content": "be brief"}]
    assert instructions_of({"instructions": listed}, TABLE) == system
    assert instructions_of({}, TABLE) == ()


def test_a_call_that_xai_ran_itself_is_nothing_for_another_model_to_answer():
    call = {"type": "custom_tool_call", "call_id": "xs_call_1", "name": "x_search", "input": "{}"}
    assert read(call) == []
