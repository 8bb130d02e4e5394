"""Every history that a client can send becomes one that Gemini takes, with its signatures."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.upstream.dialects.gemini.contents import NO_RESULT
from ws_bridge.upstream.dialects.gemini.signatures import (
    CALL,
    IMAGE,
    TEXT,
    THOUGHT,
    UNSIGNED,
    Signature,
)
from ws_bridge.upstream.dialects.seals import MakerSeals

PNG = "iVBORw0KGgoAAAA"
IMAGE_PART = {"inlineData": {"mimeType": "image/png", "data": PNG}}


def user(*parts, role="user"):
    content = [{"type": "input_text", "text": p} if isinstance(p, str) else p for p in parts]
    return {"type": "message", "role": role, "content": content}


def said(text):
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }


def call(call_id, name="f", arguments="{}"):
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def result(call_id, output="ok", **more):
    return {"type": "function_call_output", "call_id": call_id, "output": output, **more}


def image(url=f"data:image/png;base64,{PNG}"):
    return {"type": "input_image", "image_url": url}


@pytest.fixture
def contents(written):
    """The turns, as (role, parts)."""

    def _contents(*items, model="gemini-2.5-pro", **options):
        body = written(*items, model=model, **options)
        return [(turn["role"], turn["parts"]) for turn in body["contents"]]

    return _contents


@pytest.fixture
def sealed(seals):
    """A reasoning item with a signature in it."""

    def _sealed(place, value="c2ln", text="", by=seals, **more):
        values = Signature(place, value, **more).json()
        summary = [{"type": "summary_text", "text": text}] if text else []
        return {"type": "reasoning", "summary": summary, "encrypted_content": by.seal(values)}

    return _sealed


def refused(contents, *items, **options):
    with pytest.raises(BridgeError) as failed:
        contents(*items, **options)
    assert failed.value.status == 400
    return failed.value


# Turns


def test_turns_alternate_and_are_merged(contents):
    assert contents(user("a"), user("b"), said("c"), said("d"), user("e")) == [
        ("user", [{"text": "a"}, {"text": "b"}]),
        ("model", [{"text": "c"}, {"text": "d"}]),
        ("user", [{"text": "e"}]),
    ]


def test_the_user_begins(contents):
    assert contents(said("a"), user("b"))[0] == ("user", [{"text": " "}])


def test_what_the_system_says_first_is_the_instruction(written):
    body = written(
        user("b", role="developer"), user("c"), user("d", role="system"), instructions="a"
    )
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "c"}, {"text": "d"}]}]


def test_instructions_may_be_a_list_and_stand_alone(written):
    body = written(user(), instructions=[user("a", image(), role="system")])
    assert body["systemInstruction"] == {"parts": [{"text": "a"}]}
    assert body["contents"] == [{"role": "user", "parts": [IMAGE_PART]}]
    assert written(user(), instructions="a")["contents"] == [
        {"role": "user", "parts": [{"text": " "}]}
    ]


def test_a_request_without_anything_is_refused(contents):
    assert refused(contents, user()).param == "input"


# Calls and results


def test_results_of_parallel_calls_are_one_turn_in_the_order_of_the_calls(contents):
    items = [user("a"), call("1"), call("2", "g"), result("2", "two"), result("1", "one")]
    assert contents(*items)[1:] == [
        (
            "model",
            [
                {"functionCall": {"name": "f", "args": {}}},
                {"functionCall": {"name": "g", "args": {}}},
            ],
        ),
        (
            "user",
            [
                {"functionResponse": {"name": "f", "response": {"output": "one"}}},
                {"functionResponse": {"name": "g", "response": {"output": "two"}}},
            ],
        ),
    ]


def test_calls_one_after_the_other_are_turns_one_after_the_other(contents):
    items = [user("a"), call("1"), result("1"), call("2"), result("2"), said("b")]
    assert [role for role, _ in contents(*items)] == ["user", "model"] * 3


def test_results_follow_their_calls_directly_whatever_stands_between(contents):
    items = [user("a"), call("1"), user("b"), said("c"), result("1", "x", status="failed")]
    response = {"functionResponse": {"name": "f", "response": {"error": "x"}}}
    assert contents(*items)[2:] == [
        ("user", [response, {"text": "b"}]),
        ("model", [{"text": "c"}]),
    ]


def test_text_between_calls_stays_in_their_turn(contents):
    items = [user("a"), call("1"), said("b"), call("2"), result("1"), result("2")]
    turns = contents(*items)
    assert [list(part) for part in turns[1][1]] == [["functionCall"], ["text"], ["functionCall"]]
    assert len(turns[2][1]) == 2


def test_a_call_without_a_result_gets_one_that_says_so(contents):
    turns = contents(user("a"), call("1"), user("b"))
    assert turns[2][1][0]["functionResponse"]["response"] == {"error": NO_RESULT}


def test_a_result_without_a_call_is_refused(contents):
    assert refused(contents, user("a"), result("1")).param == "input"


def test_arguments_that_are_no_object_are_wrapped(contents):
    (_, parts) = contents(user("a"), call("1", arguments='{"a":'), result("1"))[1]
    assert parts[0]["functionCall"]["args"] == {"arguments": '{"a":'}


def test_calls_of_other_kinds_are_functions(contents):
    operation = {"type": "delete_file", "path": "a.txt"}
    patch = {"type": "apply_patch_call", "call_id": "1", "operation": operation}
    done = {"type": "apply_patch_call_output", "call_id": "1", "status": "completed", "output": "k"}
    turns = contents(user("a"), patch, done)
    assert turns[1][1] == [{"functionCall": {"name": "apply_patch", "args": operation}}]
    assert turns[2][1][0]["functionResponse"]["response"] == {"output": "k"}


def test_new_models_get_ids_and_old_ones_none(contents):
    turns = contents(user("a"), call("c1"), result("c1"), model="gemini-3-pro")
    assert turns[1][1][0]["functionCall"]["id"] == "c1"
    assert turns[2][1][0]["functionResponse"]["id"] == "c1"
    assert "id" not in contents(user("a"), call("c1"), result("c1"))[1][1][0]["functionCall"]


def test_the_provider_gets_its_own_id_back(contents, sealed):
    items = [user("a"), sealed(CALL, call_id="a/b"), call("call_x"), result("call_x")]
    turns = contents(*items)
    assert turns[1][1][0]["functionCall"]["id"] == "a/b"
    assert turns[2][1][0]["functionResponse"]["id"] == "a/b"


# Signatures


def test_a_signature_goes_back_with_its_call_alone(contents, sealed):
    items = [user("a"), sealed(CALL, text="Hm"), call("1"), call("2"), result("1"), result("2")]
    for model in ("gemini-2.5-pro", "gemini-3-pro"):
        parts = contents(*items, model=model)[1][1]
        assert [part.get("thoughtSignature") for part in parts] == ["c2ln", None]


def test_new_models_get_the_placeholder_for_the_first_call_of_a_step(contents):
    items = [user("a"), call("1"), call("2"), result("1"), result("2"), call("3"), result("3")]
    turns = contents(*items, model="gemini-3-pro")
    signed = [
        [p.get("thoughtSignature") for p in parts] for role, parts in turns if role == "model"
    ]
    assert signed == [[UNSIGNED, None], [UNSIGNED]]
    assert "thoughtSignature" not in str(contents(*items))


def test_an_old_id_gives_its_signature_and_both_ends_match(contents):
    old = "call_1__thought__Ep+/w=="
    turns = contents(user("a"), call(old), result(old), model="gemini-3-pro")
    part = turns[1][1][0]
    assert (part["functionCall"]["id"], part["thoughtSignature"]) == ("call_1", "Ep+/w==")
    assert turns[2][1][0]["functionResponse"]["id"] == "call_1"
    shortened = contents(user("a"), call(old), result("call_1"), model="gemini-3-pro")
    assert shortened == turns


def test_a_signed_text_is_a_part_of_its_own_as_it_came(contents, sealed):
    assert contents(user("a"), said("bcdef"), sealed(TEXT, length=2), user("g"))[1] == (
        "model",
        [{"text": "bcd"}, {"text": "ef", "thoughtSignature": "c2ln"}],
    )
    assert contents(user("a"), said("ef"), sealed(TEXT, length=2))[1][1] == [
        {"text": "ef", "thoughtSignature": "c2ln"}
    ]


def test_a_signature_of_an_empty_text_is_one_also_at_the_end(contents, sealed):
    signed = {"text": "", "thoughtSignature": "c2ln"}
    assert contents(user("a"), said("b"), sealed(TEXT))[1][1] == [{"text": "b"}, signed]


def test_a_signature_whose_call_is_gone_is_left_out(contents, sealed):
    items = [user("a"), sealed(CALL), user("b"), call("1"), result("1")]
    assert "Signature" not in str(contents(*items))


def test_a_signature_whose_text_is_gone_is_left_out(contents, sealed):
    twice = [said("bcd"), sealed(TEXT, "b25l", length=2), sealed(TEXT, length=2)]
    assert "c2ln" not in str(contents(user("a"), *twice))
    for items in ([], [said("b")], [call("1"), result("1")]):
        assert "Signature" not in str(
            contents(user("a"), *items, sealed(TEXT, length=2), user("b"))
        )


def test_a_signed_thought_goes_back_and_an_unsigned_one_does_not(contents, sealed):
    unsigned = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
    thought = {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}
    assert contents(user("a"), unsigned, sealed(THOUGHT, text="Hm"), said("b"))[1][1] == [
        thought,
        {"text": "b"},
    ]


def test_seals_of_others_and_forged_ones_are_left_out(contents, sealed):
    others = [
        sealed(CALL, by=MakerSeals("another", lambda: [b"key"])),
        sealed(CALL, by=MakerSeals("gemini", lambda: [b"forged"])),
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {
            "type": "reasoning",
            "summary": [],
            "encrypted_content": '[{"type":"thinking","thinking":"a","signature":"x"}]',
        },
    ]
    assert "Signature" not in str(contents(user("a"), *others, call("1"), result("1")))


def test_pictures_of_the_model_go_back_with_their_signatures(contents, sealed):
    made = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": "/9j/AA",
    }
    jpeg = {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/AA"}}
    assert contents(user("a"), made)[1] == ("model", [jpeg])
    webp = {"inlineData": {"mimeType": "image/webp", "data": "/9j/AA"}, "thoughtSignature": "c2ln"}
    assert contents(user("a"), made, sealed(IMAGE, media_type="image/webp"))[1][1] == [webp]
    assert contents(user("a"), {**made, "result": None}, user("b"))[0][1] == [
        {"text": "a"},
        {"text": "b"},
    ]
    assert len(contents(user("a"), sealed(IMAGE))) == 1


# Data


def test_data_is_inline(contents):
    sound = {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg"}}
    pdf = {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64,JVB",
    }
    text = {"type": "input_file", "filename": "a.md", "file_data": "IyBh"}
    chat = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}}
    parts = contents(user(image(), sound, pdf, text, chat))[0][1]
    assert [part["inlineData"]["mimeType"] for part in parts] == [
        *("image/png", "audio/wav", "application/pdf", "text/markdown", "image/jpeg"),
    ]
    bare = {"type": "input_file", "file_data": "JVBERi0xLjQ"}
    assert contents(user(bare))[0][1][0]["inlineData"]["mimeType"] == "application/pdf"


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        (image("https://pictures.example/a.png"), "data URL"),
        ({"type": "input_image", "file_id": "file_1"}, "data URL"),
        ({"type": "input_file", "file_url": "https://files.example/a.pdf"}, "data URL"),
        ({"type": "input_file", "file_id": "file_1"}, "data URL"),
        ({"type": "input_file", "file_data": "AAAA"}, "filename"),
        ({"type": "input_hologram"}, "input_hologram"),
    ],
)
def test_what_the_model_cannot_see_is_refused_with_its_place(contents, part, hint):
    for items in ([user("a", part)], [user("a"), call("1"), result("1", [part])]):
        failed = refused(contents, *items)
        assert hint in failed.message
        assert failed.param.startswith("input")


def test_pictures_of_a_tool_stand_in_its_result_or_after_all_results(contents):
    output = [{"type": "input_text", "text": "see"}, image()]
    items = [user("a"), call("1"), call("2"), result("1", output), result("2")]
    new = contents(*items, model="gemini-3-pro")[2][1]
    assert new[0]["functionResponse"]["parts"] == [IMAGE_PART]
    assert new[0]["functionResponse"]["response"] == {"output": "see"}
    old = contents(*items)[2][1]
    assert [list(part) for part in old] == [
        ["functionResponse"],
        ["functionResponse"],
        ["inlineData"],
    ]


def test_items_of_hosted_tools_are_left_out_and_unknown_ones_refused(contents):
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert contents(user("a"), search, said("b")) == [
        ("user", [{"text": "a"}]),
        ("model", [{"text": "b"}]),
    ]
    assert refused(contents, user("a"), {"type": "hologram_call"}).code == "unsupported_parameter"
    assert refused(contents, user("a"), user("b", role="critic")).param == "input"
