"""Blocks of Messages: their pieces, joined as Anthropic wants them back."""

import pytest

from ws_bridge.upstream.dialects.anthropic.blocks import (
    MessageBlock,
    call_id_of,
    json_text,
    mended,
    object_in,
)


def block(start, *deltas):
    made = MessageBlock(start["type"], start)
    for delta in deltas:
        made.append(delta)
    return made


def test_a_text_goes_back_with_its_citations():
    cited = {"type": "char_location", "cited_text": "x"}
    made = block(
        {"type": "text", "text": ""},
        {"type": "citations_delta", "citation": cited},
        {"type": "text_delta", "text": "a"},
        {"type": "text_delta", "text": "b"},
    )
    assert made.whole() == {"type": "text", "text": "ab", "citations": [cited]}


def test_the_input_of_a_call_is_its_pieces_or_what_it_began_with():
    start = {"type": "server_tool_use", "id": "s", "name": "n", "input": {"a": 1}}
    pieces = [{"type": "input_json_delta", "partial_json": one} for one in ('{"b"', ":2}")]
    assert block(start).whole() == start
    assert block(start, *pieces).whole() == {**start, "input": {"b": 2}}
    assert block(start, pieces[0]).whole() == start
    assert block({**start, "input": "no"}).input() == {}


def test_a_compaction_and_what_is_unknown_go_back_too():
    delta = {"type": "compaction_delta", "content": "short"}
    start = {"type": "compaction", "content": None}
    assert block(start, delta).whole() == {"type": "compaction", "content": "short"}
    assert block({"type": "poem", "lines": 2}).whole() == {"type": "poem", "lines": 2}


def test_only_a_signed_thought_is_sealed():
    thinking = {"type": "thinking", "thinking": "", "signature": "", "more": 1}
    said = {"type": "thinking_delta", "thinking": "Hm"}
    signed = {"type": "signature_delta", "signature": "S"}
    assert block(thinking, said).sealed() is None
    assert block(thinking, said, signed).sealed() == {
        "type": "thinking",
        "thinking": "Hm",
        "signature": "S",
    }
    assert block({"type": "redacted_thinking", "data": 1}).sealed() is None
    assert block({"type": "redacted_thinking", "data": "D"}).sealed() is not None


def test_a_delta_that_is_none_is_nothing():
    made = block({"type": "text"}, {"type": "text_delta", "text": 1}, {"type": ["text_delta"]})
    assert (made.pieces, made.has_pieces) == ([], False)


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a"', "[" * 100_000])
def test_what_is_no_object_is_none(text):
    assert object_in(text) is None


def test_half_a_surrogate_pair_is_mended():
    assert object_in('{"a": "\\ud83d"}') == {"a": "\ufffd"}
    assert mended("\ud83d\ude00") == "😀"
    assert json_text({"a": "\ud83d", "b": 2**70}) == '{"a":"\\ud83d","b":1180591620717411303424}'


def test_a_plain_id_stays_and_another_is_hashed_always_alike():
    assert call_id_of("toolu_01-a") == "toolu_01-a"
    assert call_id_of("functions.f:0") == call_id_of("functions.f:0") != call_id_of("functions.f:1")
    assert call_id_of(None) is call_id_of("") is None
