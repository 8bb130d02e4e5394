"""Merging: pieces of text that came together become one chunk, and nothing else changes."""

import json

from hypothesis import given
from hypothesis import strategies as st
from upstreams.asking import ask, request, target

from ws_bridge.upstream.dialects.merging import merged
from ws_bridge.upstream.litellm import direct


def frame(content, choice=(), delta=(), **chunk):
    said = {"delta": {"content": content, **dict(delta)}, "index": 0, **dict(choice)}
    return f"data: {json.dumps({'id': 'c1', **chunk, 'choices': [said]})}\n\n".encode()


def contents(frames):
    chunks = [json.loads(one.removeprefix(b"data: ")) for one in frames]
    return [chunk["choices"][0]["delta"].get("content") for chunk in chunks]


def test_text_that_came_together_is_one_chunk():
    frames = [frame("Hel", model="m", finish_reason=None), frame("lo", model="m"), frame("!")]
    assert contents(merged(frames)) == ["Hello", "!"]


def test_what_came_alone_stays_as_it_is():
    alone = [b'data:  {"choices": [{"delta": {"content": "x"}}]}\n\n']
    assert merged(alone) == alone


MORE = {
    "finish": frame("b", choice={"finish_reason": "stop"}),
    "logprobs": frame("b", choice={"logprobs": {"content": []}}),
    "reasoning": frame("b", delta={"reasoning_content": "hm"}),
    "tool": frame(None, delta={"tool_calls": [{"index": 0}]}),
    "usage": frame("b", usage={"total_tokens": 3}),
    "other choice": frame("b", choice={"index": 1}),
    "other answer": frame("b", id="c2"),
    "role": frame("b", delta={"role": "assistant"}),
    "two choices": b'data: {"id": "c1", "choices": [{"delta": {"content": "b"}}, {}]}\n\n',
    "no choices": b'data: {"id": "c1", "choices": []}\n\n',
    "no delta": b'data: {"id": "c1", "choices": [{"index": 0}]}\n\n',
    "no JSON": b"data: {nonsense}\n\n",
    "comment": b": keep-alive\n\n",
    "end": b"data: [DONE]\n\n",
    "error": b'data: {"error": {"message": "no"}}\n\n',
}


def test_whatever_says_more_than_text_is_left_alone():
    for other in MORE.values():
        frames = [frame("a"), other, frame("c")]
        assert merged(frames) == frames


ALIKE = ("other choice", "other answer", "role")  # two of these beside each other are one, too
NEVER = [other for name, other in MORE.items() if name not in ALIKE]


@given(st.lists(st.one_of(st.text(max_size=5).map(frame), st.sampled_from(NEVER))))
def test_nothing_is_lost_or_moved(frames):
    got = merged(frames)
    assert len(got) <= len(frames)
    others = set(NEVER)
    assert [one for one in got if one in others] == [one for one in frames if one in others]
    assert _runs(got, others) == _runs(frames, others)


def _runs(frames, others):
    """The text between the other frames, joined."""
    runs = [""]
    for one in frames:
        if one in others:
            runs.append("")
        else:
            runs[-1] += contents([one])[0]
    return runs


async def test_a_provider_without_a_reader_says_the_same_in_fewer_pieces(fake, monkeypatch):
    asked = request(target(fake, "sdk", "big1000"))
    fast = await ask(asked)
    monkeypatch.setattr(direct, "reader_of", lambda _provider: None)
    merging = await ask(asked)
    monkeypatch.setattr(direct, "merged", list)
    slow = await ask(asked)
    assert fast.error is merging.error is slow.error is None
    assert fast.text == merging.text == slow.text
    assert fast.response["usage"] == merging.response["usage"] == slow.response["usage"]
    assert len(merging.drafts) < len(slow.drafts)
