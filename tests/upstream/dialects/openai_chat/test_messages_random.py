"""Whatever a client sends, the messages keep the rules of their provider."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_bridge.errors import InvalidRequest
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.openai_chat import FAMILY
from ws_bridge.upstream.dialects.openai_chat.variants import variant_of

PROVIDERS = ("openai", "mistral", "perplexity", "moonshot", "deepseek")
IDS = st.sampled_from(["a", "b", "callx_YTpi", "c" * 64])
TEXTS = st.sampled_from(["", "x", "y"])
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,QQ=="}
ITEMS = st.one_of(
    st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["user", "assistant", "system", "developer"]),
        TEXTS,
    ),
    st.builds(lambda text: {"type": "reasoning", "summary": [{"text": text}]}, TEXTS),
    st.builds(
        lambda call_id: {"type": "function_call", "call_id": call_id, "name": "f"},
        IDS,
    ),
    st.builds(
        lambda call_id, output: {
            "type": "function_call_output",
            "call_id": call_id,
            "output": output,
        },
        IDS,
        st.one_of(TEXTS, st.just([IMAGE])),
    ),
    st.just({"role": "user", "content": [IMAGE]}),
)


def runs(messages: list[Any]) -> list[tuple[list[str], list[str]]]:
    """The ids of each message's calls, and of the results right after it."""
    found: list[tuple[list[str], list[str]]] = []
    for message in messages:
        if message["role"] == "tool":
            found[-1][1].append(message["tool_call_id"])
        else:
            found.append(([call["id"] for call in message.get("tool_calls", ())], []))
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=60, deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=9))
def test_messages_keep_the_rules(provider: str, items: list[Any]) -> None:
    variant = variant_of(provider)
    try:
        messages = FAMILY.write(WriterInput("m", provider, items, {})).body["messages"]
    except InvalidRequest:  # nothing is said at all
        return
    for asked, answered in runs(messages):
        assert asked == answered
        assert all(variant.call_ids.fullmatch(call_id) for call_id in asked)
    roles = [message["role"] for message in messages]
    pairs = list(pairwise(roles))
    if not variant.takes_user_after_tool:
        assert ("tool", "user") not in pairs
    if variant.alternates:
        assert not {("user", "user"), ("assistant", "assistant"), ("user", "system")} & set(pairs)
    if not variant.takes_empty_turns:
        assert all(m["content"] or m.get("tool_calls") for m in messages if m["role"] != "tool")
    assert "developer" not in roles or variant.takes_developer
