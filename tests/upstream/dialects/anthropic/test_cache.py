"""Breakpoints of the prompt cache: where they stand, and where none stand."""

from ws_bridge.upstream.dialects.anthropic.cache import LEAST, MARK, with_cache_marks

LONG = {"type": "text", "text": "x" * LEAST}


def marks(body):
    """Where the marks are: (field or message, block)."""
    places = [
        (name, at)
        for name in ("tools", "system")
        for at, one in enumerate(body.get(name, ()))
        if "cache_control" in one
    ]
    return places + [
        (number, at)
        for number, message in enumerate(body["messages"])
        for at, one in enumerate(message["content"])
        if "cache_control" in one
    ]


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


SAID = {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def test_a_long_history_has_four_marks():
    body = {
        "tools": [TOOL, {**TOOL, "name": "g"}],
        "system": [LONG, LONG],
        "messages": [user(LONG), SAID, user(LONG), SAID, user(LONG, LONG)],
    }
    marked = with_cache_marks(body)
    assert marks(marked) == [("tools", 1), ("system", 1), (2, 0), (4, 1)]
    assert marked["tools"][1]["cache_control"] == MARK
    assert marks(body) == []  # it is not changed


def test_a_short_prompt_or_one_without_a_next_turn_has_none():
    for body in (
        {"messages": [user({"type": "text", "text": "a"}), SAID, user(SAID["content"][0])]},
        {"system": [LONG], "messages": [user(LONG)]},
    ):
        assert with_cache_marks(body) is body


def test_a_deferred_tool_and_an_unknown_block_are_never_marked():
    body = {
        "tools": [TOOL, {**TOOL, "name": "g", "defer_loading": True}],
        "messages": [user(LONG), SAID, user({"type": "thinking"})],
    }
    assert marks(with_cache_marks(body)) == [("tools", 0), (0, 0)]
