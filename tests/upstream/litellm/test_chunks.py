"""Chunks: litellm's own chunk classes become ours."""

import pytest
from litellm.types.utils import ModelResponseStream

from ws_bridge.protocol.output.chat import Chunk, ToolDelta
from ws_bridge.upstream.litellm.chunks import chunk_of, usage_of


def chunk(delta, finish_reason=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more.pop("choice", {})}
    return chunk_of(ModelResponseStream(model="m", choices=[choice], **more))


def test_text():
    assert chunk({"content": "hi"}) == Chunk(text="hi", model="m")


def test_reasoning_and_text_in_one_chunk():
    taken = chunk({"content": "X", "reasoning_content": "why"})
    assert (taken.text, taken.reasoning) == ("X", "why")


def test_an_end():
    assert chunk({}, "stop") == Chunk(finish_reason="stop", model="m")


def test_a_calls_fragments():
    call = {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    assert chunk({"tool_calls": [call]}).tool_calls == (ToolDelta(1, "c", "f", "{"),)


def test_signed_thinking():
    block = {"type": "thinking", "thinking": "t", "signature": "s"}
    assert chunk({"thinking_blocks": [block]}).thinking_blocks == (block,)


def test_a_citation_is_flat():
    nested = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0}}
    [annotation] = chunk({"annotations": [nested]}).annotations
    assert annotation == {"type": "url_citation", "url": "u", "title": "t", "start_index": 0}


def test_an_image_is_its_data():
    image = {"type": "image_url", "index": 0, "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert chunk({"images": [image]}).images == ("AAAA",)


def test_an_image_elsewhere_is_not_fetched():
    image = {"type": "image_url", "index": 0, "image_url": {"url": "http://10.0.0.1/x"}}
    assert chunk({"images": [image]}).images == ()


def test_usage():
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_creation_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 6},
    }
    assert usage_of(usage) == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 6},
        "total_tokens": 30,
    }
    assert usage_of(None) is None


def test_a_chunk_without_choices():
    assert chunk_of(ModelResponseStream(model="m", choices=[])) == Chunk(model="m")


@pytest.mark.parametrize(
    ("citation", "annotation"),
    [
        (
            {"type": "char_location", "document_index": 2, "document_title": "D"},
            {"type": "file_citation", "file_id": "document_2", "filename": "D", "index": 2},
        ),
        (
            {"type": "web_search_result_location", "url": "https://e.x", "title": "T"},
            {"type": "url_citation", "url": "https://e.x", "title": "T"},
        ),
    ],
)
def test_an_anthropic_citation_is_an_annotation(citation, annotation):
    delta = {"content": "", "provider_specific_fields": {"citation": citation}}
    assert chunk(delta).annotations == (annotation,)


def test_a_thinking_block_goes_back_as_it_came_without_its_place_in_the_stream():
    block = {"type": "redacted_thinking", "data": "sealed"}
    assert chunk({"thinking_blocks": [{**block, "index": 0}]}).thinking_blocks == (block,)
