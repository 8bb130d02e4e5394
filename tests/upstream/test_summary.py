"""A conversation becomes a short account of it."""

import pytest
from support.scripted_upstream import Scripted, answer, completed, opening

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import FAILED, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import COMPLETE, Request, Target
from ws_bridge.upstream.summary import summarise

USER = {"type": "message", "role": "user", "content": "I am Ada"}


def asked(**options):
    return Request(Target("m", "openai/m"), Chain(None, (USER,)), options)


async def test_the_model_is_asked_after_the_conversation_and_without_tools():
    upstream = Scripted(answer("Ada."))
    summary = await summarise(upstream, asked(tools=[{"type": "x"}], instructions="be brief"))
    assert (summary.text, summary.usage["total_tokens"]) == ("Ada.", 5)
    first, prompt = upstream.requests[0].input()
    assert first == USER
    assert "Summarise" in prompt["content"]
    assert upstream.requests[0].options == {"instructions": "be brief"}


async def test_the_answer_is_read_to_its_end_and_closed_as_complete():
    upstream = Scripted(answer("Ada."))
    await summarise(upstream, asked())
    assert upstream.answers[0].closes == [(COMPLETE, False)]
    assert upstream.open_now == 0


FAILURES = {
    "empty": [*opening(), completed()],
    "cut off": opening(),
    "failed": [*opening(), Draft(FAILED, {"response": {}})],
    "broken": [*opening(), UpstreamError()],
}


@pytest.mark.parametrize("how", FAILURES)
async def test_no_summary_is_an_error_and_leaves_nothing_open(how):
    upstream = Scripted(FAILURES[how])
    with pytest.raises(UpstreamError):
        await summarise(upstream, asked())
    assert upstream.open_now == 0
