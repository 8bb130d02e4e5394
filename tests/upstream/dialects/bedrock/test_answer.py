"""A whole answer has the events of a stream."""

from ws_bridge.upstream.dialects.bedrock.answer import events_of


def events(*content):
    answer = {"stopReason": "end_turn"}
    found = list(events_of({"content": list(content)}, answer))
    assert found[-2:] == [("messageStop", answer), ("metadata", answer)]
    return [(name.removeprefix("contentBlock"), data) for name, data in found[:-2]]


def test_a_call_begins_with_its_name_and_has_its_input():
    use = {"toolUseId": "1", "name": "f", "input": {"a": 1}}

    assert events({"toolUse": use}) == [
        ("Start", {"contentBlockIndex": 0, "start": {"toolUse": use}}),
        ("Delta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": {"a": 1}}}}),
        ("Stop", {"contentBlockIndex": 0}),
    ]


def test_text_thoughts_citations_and_results_are_deltas():
    blocks = [
        {"text": "a"},
        {"reasoningContent": {"reasoningText": {"text": "b", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "QQ=="}},
        {"citationsContent": {"content": [{"text": "c"}], "citations": [{"title": "t"}, 3]}},
        {"toolResult": {"toolUseId": "1", "content": [{"text": "d"}]}},
    ]

    assert [data["delta"] for name, data in events(*blocks) if name == "Delta"] == [
        {"text": "a"},
        {"reasoningContent": {"text": "b", "signature": "s"}},
        {"reasoningContent": {"redactedContent": "QQ=="}},
        {"text": "c"},
        {"citation": {"title": "t"}},
        {"toolResult": [{"text": "d"}]},
    ]


def test_what_is_no_block_has_no_events():
    assert events(3, None) == []
    assert [name for name, _ in events({"citationsContent": {"content": 3}})] == ["Stop"]
    assert [name for name, _ in events_of({"content": "a"}, {})] == ["messageStop", "metadata"]
