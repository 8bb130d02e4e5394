"""What goes wrong reaches openai's users as the exception that they would get from OpenAI."""

from __future__ import annotations

import openai
import pytest
from clients.servers import OTHER_KEY, Bridge, Family
from openai import OpenAI

REFUSALS = {
    "err400ctx": (openai.BadRequestError, "context_length_exceeded"),
    "err404": (openai.NotFoundError, "model_not_found"),
    "err429": (openai.RateLimitError, "rate_limit_exceeded"),
    "err500": (openai.InternalServerError, "server_error"),
    "err503": (openai.InternalServerError, "server_error"),
}
LEAKS = ("litellm", "Traceback", "127.0.0.1", "provider-key", "sk-", "/v1")


@pytest.mark.parametrize("stream", [False, True], ids=["post", "sse"])
@pytest.mark.parametrize("scenario", REFUSALS)
def test_a_provider_refuses(client: OpenAI, family: Family, scenario: str, stream: bool):
    raised, code = REFUSALS[scenario]
    with pytest.raises(raised) as refused:
        client.responses.create(model=family.model(scenario), input="hi", stream=stream)
    assert refused.value.code == code
    assert not [leak for leak in LEAKS if leak in str(refused.value)]
    if raised is openai.RateLimitError:
        assert refused.value.response.headers["retry-after"]


def test_a_bad_provider_key_is_not_the_clients_fault(client: OpenAI, family: Family):
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model=family.model("err401"), input="hi")
    assert not [leak for leak in LEAKS if leak in str(refused.value)]


def test_a_break_after_the_start_fails_the_stream_and_is_kept(client: OpenAI, family: Family):
    events = list(client.responses.create(model=family.model("drop"), input="hi", stream=True))
    assert events[-1].type == "response.failed"
    assert not [leak for leak in LEAKS if leak in events[-1].to_json()]
    kept = client.responses.retrieve(events[-1].response.id)
    assert (kept.status, kept.error.code) == ("failed", "server_error")


@pytest.mark.parametrize("stream", [False, True], ids=["post", "sse"])
def test_an_unknown_parent(client: OpenAI, family: Family, stream: bool):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model=family.model("text"),
            input="hi",
            previous_response_id="resp_unknown",
            stream=stream,
        )
    error = refused.value
    assert (error.code, error.param) == ("previous_response_not_found", "previous_response_id")


def test_an_unknown_model(client: OpenAI):
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model="nobody-has-this", input="hi")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_an_unknown_response(client: OpenAI):
    for call in (
        client.responses.retrieve,
        client.responses.cancel,
        client.responses.delete,
        client.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError):
            call("resp_unknown")


def test_a_wrong_key(bridge: Bridge):
    with (
        OpenAI(api_key="wrong", base_url=bridge.url) as wrong,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        wrong.models.list()
    assert refused.value.code == "invalid_api_key"


def test_another_key_sees_nothing(client: OpenAI, bridge: Bridge, family: Family):
    mine = client.responses.create(model=family.model("text"), input="hi")
    with OpenAI(api_key=OTHER_KEY, base_url=bridge.url, max_retries=0) as other:
        for call in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
            with pytest.raises(openai.NotFoundError):
                call(mine.id)
        with pytest.raises(openai.BadRequestError) as refused:
            other.responses.create(
                model=family.model("text"), input="hi", previous_response_id=mine.id
            )
    assert refused.value.code == "previous_response_not_found"
    assert client.responses.retrieve(mine.id).id == mine.id


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", "warm"), ("metadata", {"a": 1}), ("input", 7), ("store", "yes")],
)
def test_a_wrong_type_is_named(client: OpenAI, field: str, value: object):
    create = {"model": "native-text", "input": "hi", field: value}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**create)
    assert refused.value.param == field
