"""The seam's own parts: how an answer is closed, and what its end says of its target."""

import pytest
from support.scripted_upstream import Scripted, completed

from ws_bridge.protocol.events import COMPLETED, FAILED, INCOMPLETE, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import ABANDONED, COMPLETE, Request, Target, Tried, outcome_of

MODEL = Target("m", "openai/m")


async def opened():
    return await Scripted([completed()]).open(Request(MODEL, Chain(None, ()), {}))


async def test_who_is_told_of_the_close_is_told_once_and_with_the_first_outcome():
    answer, heard = await opened(), []
    answer.on_close(heard.append)
    answer.on_close(heard.append)
    await answer.close(COMPLETE)
    await answer.close()
    assert heard == [COMPLETE, COMPLETE]


async def test_an_answer_that_was_asked_for_directly_was_tried_alone():
    answer = await opened()
    assert answer.tried == (Tried(MODEL),)
    assert (answer.preface, answer.upstream_id) == (None, "")
    await answer.close()


def failed(error):
    return Draft(FAILED, {"response": {"status": "failed", "error": error}})


@pytest.mark.parametrize("kind", [COMPLETED, INCOMPLETE])
def test_an_answer_that_ended_is_complete(kind):
    assert outcome_of(Draft(kind, {"response": {}})) is COMPLETE


@pytest.mark.parametrize(("code", "status"), [("server_error", 502), ("rate_limit_exceeded", 429)])
def test_a_failed_response_may_blame_its_provider(code, status):
    error = outcome_of(failed({"code": code, "message": "words"})).error
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize(
    "end",
    [
        failed({"code": "invalid_prompt"}),
        failed({"code": None}),
        failed("server_error"),
        failed(None),
        Draft(FAILED, {"response": ["server_error"]}),
        Draft(FAILED, {}),
    ],
)
def test_or_says_nothing_of_it(end):
    assert outcome_of(end) is ABANDONED
