"""Every history becomes messages that Converse takes."""

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from ws_bridge.errors import BridgeError
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.bedrock.messages import BEGINNING, history_of
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("bedrock", lambda: [b"a key"])
OTHERS = MakerSeals("another", lambda: [b"a key"])
CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-20250514-v1:0", "us.amazon.nova-micro-v1:0"
R1 = "us.deepseek.r1-v1:0"


def history(*items, model=CLAUDE, **options):
    given = WriterInput(model, "bedrock", list(items), options, seals=SEALS)
    return history_of(given, options)


def messages(*items, model=CLAUDE):
    return [(one["role"], one["content"]) for one in history(*items, model=model).messages]


def turn(text, role="user"):
    return {"type": "message", "role": role, "content": text}


def thought(text, sealed=None):
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": sealed}


def call(call_id="c_1", arguments='{"a":1}'):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id="c_1", result="one", **more):
    return {"type": "function_call_output", "call_id": call_id, "output": result, **more}


def use(call_id="c_1"):
    return {"toolUse": {"toolUseId": call_id, "name": "f", "input": {"a": 1}}}


def result(call_id="c_1", *content, **more):
    return {"toolResult": {"toolUseId": call_id, "content": list(content), **more}}


HI = {"text": "Hi"}


def test_a_loop_of_calls_with_thoughts():
    items = [
        turn("Hi"),
        thought("Hm.", SEALS.seal({"signature": "s"})),
        thought("", SEALS.seal({"redacted": "QQ=="})),
        turn("I look.", "assistant"),
        call(),
        output(),
        turn("And?"),
        turn("Go on."),
    ]

    assert messages(*items) == [
        ("user", [HI]),
        (
            "assistant",
            [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": "QQ=="}},
                {"text": "I look."},
                use(),
            ],
        ),
        ("user", [result("c_1", {"text": "one"}), {"text": "And?"}, {"text": "Go on."}]),
    ]


def test_system_text_is_before_the_first_message_only():
    found = history(
        turn("A", "system"), turn("Hi"), turn("B", "developer"), instructions=[turn("C", "system")]
    )

    assert found.system == [{"text": "C"}, {"text": "A"}]
    assert found.messages == [{"role": "user", "content": [HI, {"text": "B"}]}]


def test_the_user_begins():
    assert messages(turn("Hello", "assistant"), turn("Hi")) == [
        ("user", [{"text": BEGINNING}]),
        ("assistant", [{"text": "Hello"}]),
        ("user", [HI]),
    ]


@pytest.mark.parametrize(
    "item",
    [
        thought("Hm."),
        thought("Hm.", OTHERS.seal({"signature": "s"})),
        thought("Hm.", SEALS.seal({"reasoned": True})),
        thought("Hm.", "gAAAA"),
        turn(" \n", "assistant"),
    ],
)
def test_what_claude_cannot_be_sent_is_left_out(item):
    assert messages(turn("Hi"), item, turn("Bye", "assistant"), turn("Hi")) == [
        ("user", [HI]),
        ("assistant", [{"text": "Bye"}]),
        ("user", [HI]),
    ]


def test_no_message_of_claude_ends_with_a_thought():
    sealed = thought("Hm.", SEALS.seal({"signature": "s"}))

    assert messages(turn("Hi"), turn("Bye", "assistant"), sealed, turn("Hi"))[1] == (
        "assistant",
        [{"text": "Bye"}],
    )
    assert messages(turn("Hi"), sealed, turn("Hi")) == [("user", [HI, HI])]


def test_another_model_gets_its_unsigned_thoughts():
    unsigned = thought("Hm.", SEALS.seal({"reasoned": True}))

    assert messages(turn("Hi"), unsigned, thought("No."), model=R1)[1] == (
        "assistant",
        [{"reasoningContent": {"reasoningText": {"text": "Hm."}}}],
    )


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (
            '{"type":"thinking","thinking":"Hm.","signature":"s"}',
            {"reasoningText": {"text": "Hm.", "signature": "s"}},
        ),
        # Redacted thinking of Claude's, and the same in the form that Converse gives out.
        ('{"type":"redacted_thinking","data":"EoI="}', {"redactedContent": "RW9JPQ=="}),
        ('{"type":"redacted_thinking","data":"RW9JPQ=="}', {"redactedContent": "RW9JPQ=="}),
    ],
)
def test_thoughts_from_before_the_seals_go_back(block, content):
    items = [turn("Hi"), thought("Hm.", f"[{block}]"), turn("Bye", "assistant")]

    assert messages(*items)[1][1][0] == {"reasoningContent": content}


def test_a_failed_output_is_an_error_where_the_model_knows_that():
    items = [call(), output(result="", status="failed")]

    assert messages(*items)[-1][1] == [result("c_1", {"text": "(no output)"}, status="error")]
    assert messages(*items, model=R1)[-1][1] == [result("c_1", {"text": "(no output)"})]


def test_images_and_files_in_an_output_stay_in_it():
    image = {"type": "input_image", "image_url": "data:image/png;base64,QQ=="}
    content = messages(call(), output(result=[image]))[-1][1][0]["toolResult"]["content"]

    assert content == [{"image": {"format": "png", "source": {"bytes": "QQ=="}}}]


def test_the_called_tools_are_known():
    assert history(call(), output()).called == ("f",)


def test_whether_results_go_on_from_calls_without_a_thought():
    sealed = thought("Hm.", SEALS.seal({"signature": "s"}))

    assert history(turn("Hi"), call(), output()).goes_on_unsigned
    assert not history(turn("Hi"), sealed, call(), output()).goes_on_unsigned
    assert not history(turn("Hi")).goes_on_unsigned


@pytest.mark.parametrize(
    "item",
    [
        {"type": "invented"},
        turn([{"type": "invented"}]),
        turn([{"type": "input_image", "image_url": "https://x.test/a.png"}]),
        turn([{"type": "input_file", "file_url": "https://x.test/a.pdf"}]),
        turn([{"type": "input_image", "file_id": "file_1"}]),
        turn([{"type": "input_image", "image_url": "data:image/png;base64,QQ=="}], "system"),
    ],
)
def test_what_converse_cannot_be_sent_is_refused(item):
    with pytest.raises(BridgeError) as refused:
        history(item)
    assert refused.value.status == 400
    assert refused.value.param.startswith("input")


ITEMS = st.lists(
    st.sampled_from(
        [
            turn("Hi"),
            turn(" "),
            turn("A", "developer"),
            turn("Bye", "assistant"),
            thought("Hm.", SEALS.seal({"signature": "s"})),
            call("c_1"),
            call("c 2", "no json"),
            output("c_1"),
            output("c 2", ""),
            output("c_3"),
        ]
    ),
    max_size=10,
)


@drawn(ITEMS, st.sampled_from([CLAUDE, NOVA]))
def test_any_history_keeps_the_rules(items, model):
    found = history(*items, model=model).messages
    roles = [message["role"] for message in found]

    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    for message, following in zip(found, [*found[1:], {"content": []}], strict=False):
        content = message["content"]
        assert content
        called = [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]
        results = [
            block["toolResult"]["toolUseId"]
            for block in following["content"][: len(called)]
            if "toolResult" in block
        ]
        assert results == called
        assert model != CLAUDE or "reasoningContent" not in content[-1]
