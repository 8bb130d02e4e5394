"""Every legal stream, however it is cut."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_play import Play, call, chunk, framed, play

from ws_bridge.protocol.events import Draft

WORDS = st.text(min_size=1, max_size=5)
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, WORDS),
    st.builds(lambda text: {"reasoning_content": text}, WORDS),
    st.builds(lambda text: {"content": [{"type": "text", "text": text}]}, WORDS),
    st.builds(
        lambda number, name: {"tool_calls": [call(number, f"c{number}", name, '{"a": 1}')]},
        st.integers(0, 3),
        st.sampled_from(["f", "say", "crm__list"]),
    ),
    st.just({"executed_tools": [{"index": 0, "type": "search", "output": "x"}]}),
    st.just({"annotations": [{"type": "url_citation", "url": "https://a"}]}),
)


def named(drafts: list[Draft]) -> Any:
    """The drafts without the ids, which are minted."""
    hidden = ("id", "item_id", "call_id")

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: stripped(v) for k, v in value.items() if k not in hidden}
        return [stripped(one) for one in value] if isinstance(value, list) else value

    return [(draft.type, stripped(draft.fields)) for draft in drafts]


@settings(max_examples=60, deadline=None)
@given(st.lists(DELTAS, max_size=8), st.integers(1, 40), st.data())
def test_any_stream_is_read_alike_in_any_pieces(
    deltas: list[Any], pieces: int, data: st.DataObject
) -> None:
    body = framed(*(chunk(**delta) for delta in deltas))
    end = framed(chunk("stop"), done=True)
    whole = play(*(chunk(**delta) for delta in deltas), chunk("stop"))
    body = body.removesuffix(b"data: [DONE]\n\n")
    assert named(Play(body + end, pieces=pieces).drafts) == named(whole.drafts)
    cut = Play(body[: data.draw(st.integers(0, len(body)))], pieces=pieces)
    assert cut.error is not None
    assert not any(draft.type == "response.completed" for draft in cut.drafts)
