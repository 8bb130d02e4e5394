"""openai's `client.conversations`, and responses that are made in one."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from clients.reading import WEATHER, call_output, turn
from clients.servers import FAMILIES, OTHER_KEY, Family
from clients.strict import check_response
from openai import AsyncOpenAI, OpenAI
from openai.types.conversations import (
    Conversation,
    ConversationDeletedResource,
    ConversationItem,
    ConversationItemList,
)
from openai.types.responses import Response
from pydantic import BaseModel, TypeAdapter

HERON = {"type": "message", "role": "user", "content": "word heron"}
SAID = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "noted", "annotations": []}],
}


def check(model: type[BaseModel], value: BaseModel) -> None:
    """What the SDK built has every field that its type requires."""
    assert type(value) is model
    model.model_validate_json(value.to_json(exclude_unset=True), strict=True)


def items_of(client: OpenAI, conversation_id: str) -> list[Any]:
    """All items, page by page, the oldest first; each strictly valid."""
    items = list(client.conversations.items.list(conversation_id, order="asc", limit=2))
    for item in items:
        TypeAdapter(ConversationItem).validate_json(item.to_json(exclude_unset=True), strict=True)
    return items


def answer(client: OpenAI, **create: Any) -> Response:
    response = client.responses.create(**create)
    check_response(response)
    assert response.status == "completed", response
    return response


def text_of(item: Any) -> str:
    return item.content[0].text


def test_a_conversation_is_created_retrieved_updated_and_deleted(client: OpenAI):
    created = client.conversations.create(items=[HERON, SAID], metadata={"topic": "herons"})
    check(Conversation, created)
    assert created.metadata == {"topic": "herons"}
    assert client.conversations.retrieve(created.id) == created
    updated = client.conversations.update(created.id, metadata={"topic": "ospreys"})
    check(Conversation, updated)
    assert updated.metadata == {"topic": "ospreys"}
    assert client.conversations.retrieve(created.id) == updated
    deleted = client.conversations.delete(created.id)
    check(ConversationDeletedResource, deleted)
    assert (deleted.id, deleted.deleted) == (created.id, True)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(created.id)


def test_one_can_be_created_with_nothing(client: OpenAI):
    created = client.conversations.create()
    check(Conversation, created)
    assert items_of(client, created.id) == []


def test_items_are_added_listed_retrieved_and_deleted(client: OpenAI):
    conversation = client.conversations.create(items=[HERON])
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    added = client.conversations.items.create(
        conversation.id, items=[SAID, call, call_output("call_1", "1")]
    )
    check(ConversationItemList, added)
    assert [item.type for item in added.data] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    assert (added.first_id, added.last_id) == (added.data[0].id, added.data[-1].id)
    listed = items_of(client, conversation.id)
    assert [text_of(item) for item in listed[:2]] == ["word heron", "noted"]
    assert listed[1:] == added.data
    backwards = list(client.conversations.items.list(conversation.id, limit=1))
    assert backwards == listed[::-1]
    for item in listed:
        got = client.conversations.items.retrieve(item.id, conversation_id=conversation.id)
        assert got == item
    left = client.conversations.items.delete(listed[0].id, conversation_id=conversation.id)
    check(Conversation, left)
    assert items_of(client, conversation.id) == listed[1:]
    with pytest.raises(openai.NotFoundError) as gone:
        client.conversations.items.retrieve(listed[0].id, conversation_id=conversation.id)
    assert gone.value.code == "item_not_found"


def test_what_is_wrong_is_told_with_its_name(client: OpenAI):
    with pytest.raises(openai.BadRequestError) as refused:
        client.conversations.create(items=[HERON] * 21)
    assert (refused.value.param, refused.value.type) == ("items", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as refused:
        client.conversations.create(metadata={"a": "x" * 513})
    assert refused.value.param == "metadata"


def test_another_keys_conversation_is_unknown(client: OpenAI):
    conversation = client.conversations.create(items=[HERON])
    other = client.with_options(api_key=OTHER_KEY)
    calls = (
        lambda: other.conversations.retrieve(conversation.id),
        lambda: other.conversations.delete(conversation.id),
        lambda: other.conversations.items.list(conversation.id),
        lambda: other.responses.create(
            model=FAMILIES[0].model("text"), input="hi", conversation=conversation.id
        ),
    )
    for call in calls:
        with pytest.raises(openai.NotFoundError) as unknown:
            call()
        assert unknown.value.code == "conversation_not_found"
    assert len(items_of(client, conversation.id)) == 1


@pytest.mark.parametrize("named", [str, lambda conversation_id: {"id": conversation_id}])
def test_responses_go_on_in_a_conversation(client: OpenAI, family: Family, named: Any):
    conversation = client.conversations.create(items=[HERON])
    options = {"model": family.model("echo"), "conversation": named(conversation.id)}
    first = answer(client, input="word osprey", **options)
    assert first.conversation is not None
    assert first.conversation.id == conversation.id
    second = answer(client, input="next", **options)
    assert all(word in second.output_text for word in ("heron", "osprey"))
    items = items_of(client, conversation.id)
    assert [item.role for item in items] == ["user", "user", "assistant", "user", "assistant"]
    assert items[2].id == first.output[0].id
    assert text_of(items[4]) == second.output_text


def test_every_transport_speaks_in_the_same_conversation(client: OpenAI, family: Family):
    """Over the socket, as a stream, in the background, and by a plain POST."""
    conversation = client.conversations.create()
    options = {"model": family.model("echo"), "conversation": conversation.id}
    with client.responses.connect() as connection:
        spoken = turn(connection, input="word heron", **options)
    assert spoken.conversation is not None
    with client.responses.stream(input="word osprey", **options) as stream:
        stream.until_done()
    waiting = client.responses.create(input="word egret", background=True, **options)
    while waiting.status in ("queued", "in_progress"):
        waiting = client.responses.retrieve(waiting.id)
    assert waiting.conversation is not None
    last = answer(client, input="next", **options)
    assert all(word in last.output_text for word in ("heron", "osprey", "egret"))
    assert len(items_of(client, conversation.id)) == 8


def test_models_of_all_families_speak_in_one_conversation(client: OpenAI):
    conversation = client.conversations.create()
    for scenario in ("reasoning-thinking", "echo"):
        for number, family in enumerate(FAMILIES):
            last = answer(
                client,
                model=family.model(scenario),
                input=f"word w{number}w",
                conversation=conversation.id,
            )
    assert all(f"w{number}w" in last.output_text for number in range(len(FAMILIES)))
    kinds = [item.type for item in items_of(client, conversation.id)]
    assert kinds.count("message") == 12
    assert "reasoning" in kinds


def test_a_tool_loop_runs_in_a_conversation(client: OpenAI, family: Family):
    conversation = client.conversations.create()
    options = {"model": family.model("toolloop"), "conversation": conversation.id}
    asked = answer(client, input="weather in Paris?", tools=[WEATHER], **options)
    call = next(item for item in asked.output if item.type == "function_call")
    output = call_output(call.call_id, "raining herons")
    after = answer(client, input=[output], tools=[WEATHER], **options)
    assert "raining herons" in after.output_text
    items_of(client, conversation.id)


def test_a_conversation_and_a_previous_response_exclude_each_other(client: OpenAI, family: Family):
    conversation = client.conversations.create()
    first = answer(client, model=family.model("text"), input="hi", conversation=conversation.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model=family.model("text"),
            input="hi",
            conversation=conversation.id,
            previous_response_id=first.id,
        )
    assert refused.value.param == "conversation"


async def test_the_async_client_does_the_same(aclient: AsyncOpenAI, family: Family):
    conversation = await aclient.conversations.create(items=[HERON])
    response = await aclient.responses.create(
        model=family.model("echo"), input="next", conversation=conversation.id
    )
    assert "heron" in response.output_text
    texts = [text_of(item) async for item in aclient.conversations.items.list(conversation.id)]
    assert texts == [response.output_text, "next", "word heron"]
    await aclient.conversations.delete(conversation.id)
