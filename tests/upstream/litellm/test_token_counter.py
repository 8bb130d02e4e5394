"""Counting: of every family, whatever can be sent, and without a provider."""

import pytest
from upstreams.asking import FAMILIES, HELLO, request, target

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.history import PROVIDER_TURN
from ws_bridge.upstream.litellm.token_counter import LitellmTokenCounter


@pytest.mark.parametrize("family", FAMILIES)
async def test_more_input_is_more_tokens_and_no_provider_is_asked(fake, family):
    asked = target(fake, family, "text")
    long = {**HELLO, "content": "many more words " * 50}
    little = await LitellmTokenCounter().count_tokens(request(asked))
    much = await LitellmTokenCounter().count_tokens(request(asked, long, instructions="Be brief."))
    assert 0 < little < 20
    assert much > 100
    assert fake.log == []


async def test_whatever_can_be_sent_can_be_counted(fake):
    png = "data:image/png;base64,iVBORw0KGgo="
    parts = [
        {"type": "input_text", "text": "x"},
        {"type": "input_image", "image_url": png},
        {"type": "input_image", "image_url": "http://10.0.0.1/never-fetched.png"},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,eA=="},
    ]
    items = [
        {"type": "message", "role": "user", "content": parts},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]},
        {"type": "custom_tool_call", "call_id": "c1", "name": "f", "input": "y"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "z"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c2", "output": parts[:2]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "n"}]},
    ]
    tools = [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}},
        {"type": "custom", "name": "g"},
        {"type": "web_search"},
    ]
    asked = target(fake, "native", "text")
    assert await LitellmTokenCounter().count_tokens(request(asked, *items, tools=tools)) > 0


async def test_side_data_is_not_counted_beside_the_items_that_it_stands_for(fake):
    asked = target(fake, "anthropic", "text")
    answer = {"type": "message", "role": "assistant", "content": "hello there"}
    made = {"type": PROVIDER_TURN, "side_data": {"a": "word " * 500}, "items": [answer]}
    count = LitellmTokenCounter().count_tokens
    assert await count(request(asked, made)) == await count(request(asked, answer))


async def test_what_cannot_be_counted_is_an_error_of_the_seam(fake):
    odd = {"type": "message", "role": "user", "content": 5}
    with pytest.raises(UpstreamError):
        await LitellmTokenCounter().count_tokens(request(target(fake, "native", "text"), odd))
