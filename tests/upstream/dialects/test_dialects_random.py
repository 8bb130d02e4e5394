"""Dialects: streams that nobody has seen yet come out equal, too (see `upstreams/twice.py`)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upstreams.frames import (
    END_CHAT,
    HELLO_CHAT,
    chat,
)
from upstreams.twice import Provider, Wire, both

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=6)
MAYBE = st.none() | TEXTS
CALLS = st.fixed_dictionaries(
    {
        "index": st.integers(0, 2),
        "function": st.fixed_dictionaries(
            {"arguments": TEXTS}, optional={"name": st.sampled_from([None, "", "f", "g"])}
        ),
    },
    optional={
        "id": st.sampled_from([None, "", "a", "b"]),
        "type": st.sampled_from([None, "function"]),
    },
)
PLAIN_DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from([None, "assistant"]),
        "content": MAYBE,
        "reasoning_content": MAYBE,
        "tool_calls": st.none() | st.lists(CALLS, max_size=2),
    },
)
ODD_DELTAS = st.fixed_dictionaries(
    {"content": MAYBE},
    optional={
        "reasoning": MAYBE,
        "reasoning_content": MAYBE,
        "refusal": MAYBE,
        "function_call": st.just({"name": "f", "arguments": "{}"}),
        "annotations": st.just([{"type": "url_citation", "url_citation": {"url": "u"}}]),
        "tool_calls": st.just([{"index": 0, "custom": {"input": "x"}}]),
        "unknown": st.sampled_from([None, "x"]),
    },
)
ODD_CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 1),
        "logprobs": st.just({"content": [{"token": "a", "logprob": -1.0, "top_logprobs": []}]}),
        "finish_reason": st.sampled_from([None, "stop", "length"]),
        "unknown": st.sampled_from([None, 1]),
    },
)
ODD_CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "usage": st.just({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        "service_tier": st.sampled_from([None, "flex"]),
        "choices": st.just([]),
        "error": st.just({"message": "no", "code": 500}),
        "unknown": st.sampled_from([None, {}]),
    },
)
ODD_FRAMES = st.sampled_from(
    [
        b": comment\n\n",
        b"\n\n",
        b"event: ping\n\n",
        b'data: {"cut": "of\n\n',
        b"data: null\n\n",
        b"data: [DONE]\n\n",
        b"id: 7\nretry: 10\n\n",
        HELLO_CHAT.replace(b"data: ", b"event: other\ndata: "),
        HELLO_CHAT.replace(b"data: ", b"data:"),
        HELLO_CHAT.replace(b"\n\n", b"\r\n\r\n"),
    ]
)
PLAIN_CHATS = PLAIN_DELTAS.map(chat)
ODD_CHATS = st.builds(
    lambda delta, choice, more: chat(delta, choice=choice, **more),
    ODD_DELTAS,
    ODD_CHOICES,
    ODD_CHUNKS,
)
CHATS = st.builds(
    lambda first, odd, rest, end: Wire([HELLO_CHAT, *first, *odd, *rest, *end]),
    st.lists(PLAIN_CHATS, max_size=8),
    st.lists(ODD_FRAMES | ODD_CHATS, max_size=2),
    st.lists(PLAIN_CHATS, max_size=5),
    st.sampled_from([(), END_CHAT]),
)

RANDOM = settings(
    deadline=None,  # a loaded machine is no defect
    derandomize=True,  # the same streams each time: what others find is for whoever looks for it
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def provider(fake):
    made = Provider(fake)
    yield made
    await made.close()


@pytest.mark.parametrize("model", ["groq/m", "openai/chat_completions/m"])
@RANDOM
@given(wire=CHATS)
async def test_whatever_a_chat_provider_sends_comes_out_equal(provider, model, wire):
    await both(provider, model, wire)
