"""Histories as Messages: the rules of the dialect hold for every one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstreams.claude import SEALS

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.tools import NO_TOOLS
from ws_bridge.upstream.dialects.anthropic.messages import (
    BEGINNING,
    GO_ON,
    messages_of,
    starts_unthought,
    system_of,
)
from ws_bridge.upstream.dialects.anthropic.table import TABLE
from ws_bridge.upstream.dialects.entries import entries_of
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.turns import NO_OUTPUT

THINKING = {"type": "thinking", "thinking": "Hm", "signature": "S"}
REDACTED = {"type": "redacted_thinking", "data": "D"}


def say(words, role="user"):
    return {"type": "message", "role": role, "content": words}


def use(call_id="c1", arguments="{}"):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def done(call_id="c1", output="ok", **more):
    return {"type": "function_call_output", "call_id": call_id, "output": output, **more}


def thought(*blocks, seals=SEALS):
    sealed = seals.seal({"blocks": list(blocks)}) if blocks else None
    summary = [{"type": "summary_text", "text": "Hm"}]
    return {"type": "reasoning", "summary": summary, "encrypted_content": sealed}


def written(*items):
    return messages_of(list(entries_of(items, NO_TOOLS, TABLE)), SEALS)


def shape(*items):
    """Each message as its role's letter and its blocks' types."""
    return [
        (message["role"][0], *(block["type"] for block in message["content"]))
        for message in written(*items)
    ]


def text(words):
    return {"type": "text", "text": words}


def tool_result(call_id, *content, **more):
    content = {"content": [text(one) for one in content]} if content else {}
    return {"type": "tool_result", "tool_use_id": call_id, **content, **more}


def test_roles_are_merged():
    assert written(say("a"), say("b"), say("c", "assistant"), say("d", "assistant"), say("e")) == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": [text("e")]},
    ]


def test_a_history_begins_and_ends_with_the_user():
    assert written(say("a", "assistant")) == [
        {"role": "user", "content": [text(BEGINNING)]},
        {"role": "assistant", "content": [text("a")]},
        {"role": "user", "content": [text(GO_ON)]},
    ]
    assert written() == [{"role": "user", "content": [text(GO_ON)]}]
    assert written(say(" "), say("\n", "assistant")) == written()


def test_system_turns_stand_in_the_system_in_order():
    items = [say("a", "system"), say("b"), say("c", "developer"), say(" ", "system")]
    assert system_of(entries_of(items, NO_TOOLS, TABLE)) == [text("a"), text("c")]
    assert written(*items) == [{"role": "user", "content": [text("b")]}]


def test_an_instruction_that_is_no_text_is_refused():
    image = {"type": "input_image", "image_url": "https://a/b.png"}
    with pytest.raises(UpstreamError, match="image"):
        system_of(entries_of([say([image], "system")], NO_TOOLS, TABLE))


def test_results_stand_first_and_directly_after_their_calls():
    items = [say("q"), use("a"), say("m"), use("b"), done("b", "2"), done("a", "1"), say("n")]
    assert written(*items)[1:] == [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
        },
        {"role": "user", "content": [tool_result("a", "1"), text("m")]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "b", "name": "f", "input": {}}],
        },
        {"role": "user", "content": [tool_result("b", "2"), text("n")]},
    ]


def test_parallel_calls_are_answered_in_one_message():
    messages = written(say("q"), use("a"), use("b"), done("a", "1"), use("c"), done("b"), done("c"))
    assert [len(message["content"]) for message in messages] == [1, 2, 2, 1, 1]


def test_a_call_without_a_result_gets_one_that_says_so():
    messages = written(say("q"), use("a"), say("b"))
    assert messages[2] == {"role": "user", "content": [tool_result("a", NO_OUTPUT), text("b")]}


def test_a_result_may_fail_be_empty_or_have_an_image():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    items = [use("a"), done("a", "", status="failed"), use("b"), done("b", [image])]
    messages = written(say("q"), *items)
    assert messages[2]["content"] == [tool_result("a", NO_OUTPUT, is_error=True)]
    [block] = messages[4]["content"][0]["content"]
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": "AA"}


def test_a_result_without_a_call_is_text_of_the_user():
    assert written(say("q"), done("c9")) == [{"role": "user", "content": [text("q"), text("ok")]}]


def test_an_id_that_comes_again_is_another_call():
    messages = written(say("q"), use("f:0"), done("f:0", "1"), use("f:0"), done("f:0", "2"))
    ids = [message["content"][0].get("id") for message in messages[1::2]]
    assert len(set(ids)) == 2
    assert [message["content"][0] for message in messages[2::2]] == [
        tool_result(ids[0], "1"),
        tool_result(ids[1], "2"),
    ]


def test_sealed_thoughts_go_back_as_they_came_and_others_not_at_all():
    other = MakerSeals("another maker", lambda: [b"key"])
    assert written(
        say("q"),
        thought(THINKING, {**REDACTED, "more": 1}, {"type": "text", "text": "forged"}, 7),
        thought(),
        thought(THINKING, seals=other),
        say("a", "assistant"),
        say("r"),
    )[1] == {"role": "assistant", "content": [THINKING, REDACTED, text("a")]}


def test_thoughts_of_older_releases_are_read():
    old = {"type": "reasoning", "summary": [], "encrypted_content": f"[{_json(THINKING)}]"}
    assert shape(say("q"), old, use(), done())[1] == ("a", "thinking", "tool_use")


def _json(block):
    return "{" + ",".join(f'"{key}":"{value}"' for key, value in block.items()) + "}"


def test_no_message_ends_with_a_thought():
    assert shape(say("q"), thought(THINKING), say("r")) == [("u", "text", "text")]
    assert shape(say("q"), say("a", "assistant"), thought(THINKING)) == [
        ("u", "text"),
        ("a", "text"),
        ("u", "text"),
    ]


def test_a_turn_that_goes_on_with_results_may_have_begun_without_a_thought():
    assert not starts_unthought(written(say("q")))
    assert starts_unthought(written(say("q"), use(), done()))
    assert not starts_unthought(written(say("q"), thought(THINKING), use(), done()))
    more = [use("c2"), done("c2")]
    assert not starts_unthought(written(say("q"), thought(THINKING), use(), done(), *more))
    assert starts_unthought(written(say("q"), use(), done(), thought(THINKING), *more))
    assert not starts_unthought(written(say("q"), use(), done(), say("a", "assistant"), say("r")))


ITEMS = st.lists(
    st.one_of(
        st.builds(say, st.sampled_from(["", " ", "a"]), st.sampled_from(["user", "system"])),
        st.builds(say, st.sampled_from(["", "a"]), st.just("assistant")),
        st.builds(use, st.sampled_from(["a", "b", "x:1"]), st.sampled_from(["", "{}", "{", "[]"])),
        st.builds(done, st.sampled_from(["a", "b", "x:1"]), st.sampled_from(["", "r"])),
        st.sampled_from([thought(THINKING), thought(REDACTED), thought()]),
    ),
    max_size=12,
)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(ITEMS)
def test_the_rules_hold_for_every_history(items):
    messages = written(*items)
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    used = []
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        content = message["content"]
        assert content
        assert all(block["text"].strip() for block in content if block["type"] == "text")
        ids = [block["id"] for block in content if block["type"] == "tool_use"]
        used += ids
        if message["role"] == "assistant":
            assert content[-1]["type"] not in ("thinking", "redacted_thinking")
            results = [one for one in following["content"] if one["type"] == "tool_result"]
            assert [one["tool_use_id"] for one in results] == ids
            assert following["content"][: len(results)] == results
    assert len(set(used)) == len(used)
