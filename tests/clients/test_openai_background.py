"""openai's background responses: poll, follow, resume, cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from clients.servers import Family, Gate
from clients.strict import check_response
from openai import OpenAI
from openai.types.responses import Response
from support.hang import HANG_SECONDS

RUNNING = ("queued", "in_progress")


def poll_while(client: OpenAI, response: Response, *statuses: str) -> Response:
    """The first state with another status; every one on the way is strictly valid."""
    while response.status in statuses:
        response = client.responses.retrieve(response.id)
        check_response(response)
    return response


def test_a_background_response_is_polled_to_its_end(client: OpenAI, gate: Callable[[str], Gate]):
    closed = gate("gate6")
    response = client.responses.create(model=closed.model, input="hi", background=True)
    assert response.background is True
    response = poll_while(client, response, "queued")
    assert response.status == "in_progress"
    closed.release()
    response = poll_while(client, response, *RUNNING)
    assert response.status == "completed"
    assert response.output_text


@pytest.mark.parametrize("window", ["soonest", "2h", "8h"])
def test_a_response_with_a_completion_window_is_there_before_it_ends(client: OpenAI, window: Any):
    options: Any = {"completion_window": window, "continuation_id": "customer-1"}
    response = client.responses.create(
        model="chat-text", input="hi", background=True, background_options=options
    )
    assert poll_while(client, response, *RUNNING).status == "completed"


def test_a_completion_window_that_does_not_exist_is_named(client: OpenAI):
    options: Any = {"completion_window": "3h"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model="chat-text", input="hi", background=True, background_options=options
        )
    assert refused.value.param == "background_options.completion_window"


@pytest.mark.catalogue("C28")
def test_a_background_stream_is_resumed_where_it_broke_off(
    client: OpenAI, gate: Callable[[str], Gate]
):
    """What was read before the break and what is read after it are the whole, once."""
    closed = gate("gate6")
    before = []
    with client.responses.create(
        model=closed.model, input="hi", background=True, stream=True
    ) as stream:
        for event in stream:
            before.append(event)
            if event.type == "response.output_text.delta":
                break
    response_id, cut = before[0].response.id, before[-1].sequence_number
    # It is answered before there is anything to say: the provider waits until it was.
    rest = client.responses.retrieve(
        response_id, stream=True, starting_after=cut, timeout=HANG_SECONDS
    )
    closed.release()
    after = list(rest)
    assert after[-1].type == "response.completed"
    assert before + after == list(client.responses.retrieve(response_id, stream=True))
    assert after[-1].response.to_dict() == client.responses.retrieve(response_id).to_dict()


def test_the_stream_helper_resumes_a_background_response(
    client: OpenAI, gate: Callable[[str], Gate]
):
    closed = gate("gate6")
    with client.responses.stream(model=closed.model, input="hi", background=True) as stream:
        first = next(iter(stream))
    with client.responses.stream(response_id=first.response.id, starting_after=1) as stream:
        closed.release()
        numbers = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert numbers == list(range(2, numbers[-1] + 1))
    assert final.output_text


def test_a_cancelled_response_is_cancelled_for_everyone(client: OpenAI, family: Family):
    """P3: the follower's stream ends as failed, with status cancelled in its object."""
    response = client.responses.create(model=family.model("stall"), input="hi", background=True)
    follower = client.responses.retrieve(response.id, stream=True)
    kinds = []
    for event in follower:
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            break
    with pytest.raises(openai.BadRequestError):
        client.responses.delete(response.id)
    cancelled = client.responses.cancel(response.id)
    check_response(cancelled)
    assert (cancelled.status, cancelled.output, cancelled.error) == ("cancelled", [], None)
    *_, last = follower
    assert (last.type, last.response.status) == ("response.failed", "cancelled")
    assert client.responses.cancel(response.id).to_dict() == cancelled.to_dict()
    assert client.responses.retrieve(response.id).to_dict() == cancelled.to_dict()


def test_what_is_finished_cannot_be_cancelled(client: OpenAI, family: Family):
    done = client.responses.create(model=family.model("text"), input="hi")
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(done.id)


def test_a_failed_background_response_says_so(client: OpenAI, family: Family):
    response = client.responses.create(model=family.model("err429"), input="hi", background=True)
    response = poll_while(client, response, *RUNNING)
    assert (response.status, response.error.code) == ("failed", "rate_limit_exceeded")


def test_a_background_response_continues_a_chain(client: OpenAI, family: Family):
    model = family.model("echo")
    first = client.responses.create(model=model, input="word heron")
    second = client.responses.create(
        model=model, input="next", previous_response_id=first.id, background=True
    )
    *_, last = client.responses.retrieve(second.id, stream=True)
    assert "heron" in last.response.output_text


def test_background_needs_the_store(client: OpenAI, family: Family):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model=family.model("text"), input="hi", background=True, store=False
        )
    assert refused.value.param == "background"
