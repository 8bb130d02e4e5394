"""Thoughts and what is sealed of them."""

from __future__ import annotations

from ws_bridge.upstream.dialects.openai_chat.thoughts import ThoughtSeal, part_text


def text(said: str, **more: object) -> dict[str, object]:
    return {"type": "reasoning.text", "text": said, "index": 0, **more}


def test_a_plain_thought_is_sealed_with_the_name_of_its_field() -> None:
    seal = ThoughtSeal("reasoning_content")
    for name in ("reasoning_content", "reasoning"):
        assert seal.take({name: "a", "content": ""}) == "a"
        assert seal.values() == {"field": name}
        assert not seal.is_open
        assert seal.values() == {}


def test_a_thought_that_comes_twice_in_a_delta_is_read_once() -> None:
    seal = ThoughtSeal("reasoning")
    assert seal.take({"reasoning": "a", "reasoning_details": [text("a", format=None)]}) == "a"
    assert seal.values() == {"field": "reasoning"}, "the details say no more than the text"


def test_fragments_of_a_signed_detail_are_joined() -> None:
    seal = ThoughtSeal("reasoning")
    assert seal.take({"reasoning_details": [text("a", format="f")]}) == "a"
    assert seal.take({"reasoning_details": [text("b", signature="")]}) == "b"
    signed = {"type": "reasoning.text", "signature": "s", "index": 0}
    assert seal.take({"reasoning": None, "reasoning_details": [signed]}) == ""
    assert seal.values() == {
        "field": "reasoning",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "ab", "index": 0, "format": "f", "signature": "s"}
        ],
    }


def test_encrypted_details_stay_each_by_itself() -> None:
    seal = ThoughtSeal("reasoning")
    details = [{"type": "reasoning.encrypted", "data": name, "index": 0} for name in "ab"]
    summary = {"type": "reasoning.summary", "summary": "so", "index": 1}
    assert seal.take({"reasoning_details": [*details, summary, "nonsense"]}) == "so"
    assert seal.values() == {"field": "reasoning", "reasoning_details": [*details, summary]}


def test_what_a_call_carries_is_kept() -> None:
    seal = ThoughtSeal("reasoning")
    seal.add_extra("call_1", {"google": {"thought_signature": "s"}})
    assert seal.is_open
    assert seal.values() == {"extra_content": {"call_1": {"google": {"thought_signature": "s"}}}}


def test_parts_are_text_or_lists_of_texts() -> None:
    assert part_text({"thinking": [{"type": "text", "text": "a"}, {"text": "b"}, 1]}) == "ab"
    assert part_text({"thinking": "a"}) == "a"
    assert part_text({"type": "reference", "reference_ids": [1]}) == ""
