"""openai over HTTP: POST, SSE, and everything about a response that is kept."""

from __future__ import annotations

import openai
import pytest
from clients.reading import WEATHER, call_output, turn
from clients.servers import FAMILIES, Family
from clients.strict import check_response
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import CompactedResponse, Response, ResponseItem
from pydantic import TypeAdapter


def answer(client: OpenAI, **create) -> Response:
    """A plain POST: the completed response, strictly valid."""
    response = client.responses.create(**create)
    check_response(response)
    assert response.status == "completed", response
    return response


def test_a_post_answers(client: OpenAI, family: Family):
    response = answer(client, model=family.model("text"), input="hi", metadata={"a": "b"})
    assert response.output_text
    assert response.metadata == {"a": "b"}
    assert response.usage.total_tokens > 0


def test_a_post_runs_a_tool_loop(client: OpenAI, family: Family):
    options = {"model": family.model("toolloop"), "tools": [WEATHER]}
    asked = answer(client, input="weather in Paris?", **options)
    call = next(item for item in asked.output if item.type == "function_call")
    output = call_output(call.call_id, "raining herons")
    after = answer(client, input=[output], previous_response_id=asked.id, **options)
    assert "raining herons" in after.output_text


def test_what_is_stored_can_be_read_until_it_is_deleted(client: OpenAI, family: Family):
    posted = answer(client, model=family.model("text"), input="hi")
    kept = client.responses.retrieve(posted.id, include=["message.output_text.logprobs"])
    check_response(kept)
    assert kept.to_dict() == posted.to_dict()
    client.responses.delete(posted.id)
    for gone in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            gone(posted.id)


def test_what_is_not_stored_is_nowhere(client: OpenAI, family: Family):
    posted = answer(client, model=family.model("text"), input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(posted.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model=family.model("text"), input="next", previous_response_id=posted.id
        )
    assert refused.value.code == "previous_response_not_found"


def test_a_chain_goes_over_http_and_the_socket(client: OpenAI, family: Family):
    model = family.model("echo")
    first = answer(client, model=model, input="word heron")
    with client.responses.connect() as connection:
        second = turn(connection, model=model, input="word osprey", previous_response_id=first.id)
    third = answer(client, model=model, input="next", previous_response_id=second.id)
    assert all(word in third.output_text for word in ("heron", "osprey"))


def test_a_stream_ends_with_the_response_that_get_reads(client: OpenAI, family: Family):
    events = list(client.responses.create(model=family.model("text"), input="hi", stream=True))
    assert events[-1].type == "response.completed"
    final = events[-1].response
    assert client.responses.retrieve(final.id).to_dict() == final.to_dict()


@pytest.mark.parametrize("scenario", ["text", "tools", "reasoning-thinking"])
def test_the_stream_helper_accumulates_what_completes(
    client: OpenAI, family: Family, scenario: str
):
    """The helper refuses changed identities, doubled indexes and parts without a place."""
    options = {"model": family.model(scenario), "input": "hi"}
    if scenario == "tools":
        options["tools"] = [WEATHER]
    with client.responses.stream(**options) as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
        final = stream.get_final_response()
    assert final.output_text == text
    assert final.output


async def test_the_async_stream_helper_accumulates_too(aclient: AsyncOpenAI, family: Family):
    async with aclient.responses.stream(model=family.model("text"), input="hi") as stream:
        final = await stream.get_final_response()
    assert final.output_text


def test_a_stored_stream_is_replayed_whole_and_from_any_number(client: OpenAI, family: Family):
    live = list(client.responses.create(model=family.model("text"), input="hi", stream=True))
    response_id = live[-1].response.id
    with client.responses.stream(response_id=response_id) as stream:
        assert [event.sequence_number for event in stream] == [
            event.sequence_number for event in live
        ]
        assert stream.get_final_response().output_text == live[-1].response.output_text
    for cut in range(len(live)):
        after = client.responses.retrieve(
            response_id, stream=True, starting_after=live[cut].sequence_number
        )
        assert list(after) == live[cut + 1 :]


def test_a_socket_turn_is_replayed_over_http(client: OpenAI, family: Family):
    with client.responses.connect() as connection:
        connection.response.create(model=family.model("text"), input="hi")
        live = []
        while not live or live[-1].type != "response.completed":
            live.append(connection.recv())
    after = client.responses.retrieve(
        live[0].response.id, stream=True, starting_after=live[3].sequence_number
    )
    assert [event.to_dict() for event in after] == [event.to_dict() for event in live[4:]]


def test_input_items_are_those_of_the_whole_chain(client: OpenAI, family: Family):
    model = family.model("text")
    first = answer(client, model=model, input="one")
    second = answer(client, model=model, input="two", previous_response_id=first.id)
    forwards = list(client.responses.input_items.list(second.id, order="asc", limit=1))
    backwards = list(client.responses.input_items.list(second.id, limit=2))
    assert [item.content[0].text for item in forwards] == ["one", first.output_text, "two"]
    assert forwards == backwards[::-1]
    assert len({item.id for item in forwards}) == 3
    for item in forwards:
        TypeAdapter(ResponseItem).validate_json(item.to_json(), strict=True)


def test_models_are_listed(client: OpenAI):
    names = {model.id for model in client.models.list()}
    assert names >= {family.name for family in FAMILIES}


def test_a_model_of_that_list_answers(client: OpenAI, family: Family):
    assert answer(client, model=family.name, input="hi").output_text


def test_input_tokens_are_counted(client: OpenAI, family: Family):
    few = client.responses.input_tokens.count(model=family.model("text"), input="hi")
    many = client.responses.input_tokens.count(model=family.model("text"), input="heron " * 100)
    assert few.object == "response.input_tokens"
    assert 0 < few.input_tokens < many.input_tokens


def test_a_compacted_window_starts_a_new_chain(client: OpenAI, family: Family):
    """Its output is accepted whole as input, and the model is told what was compacted."""
    model = family.model("echo")
    window = client.responses.compact(
        model=model,
        input=[
            {"role": "user", "content": "word heron"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "noted", "annotations": []}],
            },
        ],
    )
    TypeAdapter(CompactedResponse).validate_json(window.to_json(), strict=True)
    assert window.object == "response.compaction"
    assert [item for item in window.output if item.type == "compaction"]
    items = [item.to_dict() for item in window.output]
    with client.responses.connect() as connection:
        after = turn(
            connection,
            model=model,
            store=False,
            input=[*items, {"role": "user", "content": "next"}],
        )
    assert "heron" in after.output_text


def test_a_stored_chain_is_compacted_by_its_last_id(client: OpenAI, family: Family):
    model = family.model("echo")
    first = answer(client, model=model, input="word heron")
    window = client.responses.compact(model=model, previous_response_id=first.id)
    after = answer(
        client, model=model, input=[item.to_dict() for item in window.output], store=False
    )
    assert "heron" in after.output_text
