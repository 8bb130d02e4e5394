"""The Chat Completions dialect: the chunks of one stream, chosen by the model's name."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from typing import Any

from upstreams.errors import CREATED_AT, number_after

Json = dict[str, Any]

CHAT_USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 6},
}


def chat_events(model: str, body: Json) -> Iterator[Json]:
    """Yield the chunks of one chat stream."""
    yield _chunk(model, {"role": "assistant", "content": ""})
    if _is_flood(model):
        yield from _chat_flood(model)
        return
    yield from _chat_reasoning(model)
    if "textools" in model:
        yield from _chat_text(model, "I will ", "call.")
    finish_reason = yield from _chat_scenario(model, body)
    if finish_reason is None:
        return
    yield _chunk(model, {}, finish_reason)
    if (body.get("stream_options") or {}).get("include_usage") and "nousage" not in model:
        yield _chat_usage(model)


def _chunk(model: str, delta: Json, finish_reason: str | None = None, **choice: Any) -> Json:
    return {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": CREATED_AT,
        "model": model,
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": 0,
                "delta": delta,
                "logprobs": None,
                "finish_reason": finish_reason,
                **choice,
            }
        ],
    }


def _chat_usage(model: str) -> Json:
    return {**_chunk(model, {}), "choices": [], "usage": CHAT_USAGE}


def _chat_text(model: str, *texts: str) -> Iterator[Json]:
    for text in texts:
        yield _chunk(model, {"content": text})


def _is_flood(model: str) -> bool:
    return any(keyword in model for keyword in ("hugeline", "rep", "big"))


def _chat_flood(model: str) -> Iterator[Json]:
    if "hugeline" in model:
        yield from _chat_text(model, "x" * 5_000_000)
    elif "rep" in model:
        yield from _chat_text(model, *["    "] * number_after("rep", model))
    else:
        yield from _chat_text(model, *(f"w{i} " for i in range(number_after("big", model))))
    yield _chunk(model, {}, "stop")
    if "hugeline" not in model and "rep" not in model:
        yield _chat_usage(model)


def _chat_reasoning(model: str) -> Iterator[Json]:
    if "reasoning" not in model and "rtools" not in model:
        return
    key = "reasoning" if "rfield" in model else "reasoning_content"
    for text in ("Let me ", "think", "..."):
        yield _chunk(model, {key: text})
    if "interleave" in model:
        yield _chunk(model, {"content": "Part1. "})
        yield _chunk(model, {"reasoning_content": "more "})
        yield _chunk(model, {"reasoning_content": "thought"})
    if "both" in model:
        yield _chunk(model, {"reasoning_content": "tail", "content": "X"})


# A chat scenario yields chunks and returns the finish reason (None: end without one).
ChatScenario = Generator[Json, None, str | None]


def _chat_scenario(model: str, body: Json) -> ChatScenario:
    if "echo" in model:
        yield from _chat_text(model, json.dumps(body["messages"]))
        return "stop"
    if "toolloop" in model:
        return (yield from _chat_tool_loop(model, body["messages"]))
    if "chosentool" in model:
        name = body["tool_choice"]["function"]["name"]
        yield _call_chunk(model, 0, '{"content": "x"}', "call_chosen", name)
        return "tool_calls"
    for keyword, scenario in CHAT_SCENARIOS:
        if keyword in model and not (keyword == "empty" and "emptychoices" in model):
            return (yield from scenario(model))
    yield from _chat_text(model, "Hello", ", ", "wor", "ld!")
    return "stop"


def _call_chunk(
    model: str,
    index: int,
    arguments: str,
    call_id: str | None = None,
    name: str | None = None,
) -> Json:
    call: Json = {"index": index, "function": {"arguments": arguments}}
    if call_id:
        call["id"] = call_id
    if name:
        call["type"] = "function"
        call["function"]["name"] = name
    return _chunk(model, {"tool_calls": [call]})


def _chat_tool_loop(model: str, messages: list[Json]) -> ChatScenario:
    results = [message for message in messages if message["role"] == "tool"]
    if results:
        yield from _chat_text(model, f"The weather: {results[-1]['content']}")
        return "stop"
    return (yield from _chat_tool_in_one_chunk(model))


def _chat_tools(model: str) -> ChatScenario:
    yield _call_chunk(model, 0, "", "call_abc", "get_weather")
    for fragment in ('{"city":', ' "Par', 'is"}'):
        yield _call_chunk(model, 0, fragment)
    yield _call_chunk(model, 1, "", "call_def", "get_time")
    for fragment in ('{"tz":', '"CET"}'):
        yield _call_chunk(model, 1, fragment)
    return "tool_calls"


def _chat_tool_without_id(model: str) -> ChatScenario:
    yield _call_chunk(model, 0, '{"city":"P"}', name="get_weather")
    return "tool_calls"


def _chat_tool_in_one_chunk(model: str) -> ChatScenario:
    yield _call_chunk(model, 0, '{"city":"Paris","days":3}', "call_one", "get_weather")
    return "tool_calls"


def _chat_tool_without_arguments(model: str) -> ChatScenario:
    yield _call_chunk(model, 0, "", "call_na", "ping")
    return "tool_calls"


def _chat_refusal(model: str) -> ChatScenario:
    yield _chunk(model, {"refusal": "I can"})
    yield _chunk(model, {"refusal": "not"})
    return "stop"


def _chat_empty(_model: str) -> ChatScenario:
    yield from ()
    return "stop"


def _chat_length(model: str) -> ChatScenario:
    yield _chunk(model, {"content": "cut"})
    return "length"


def _chat_content_filter(model: str) -> ChatScenario:
    yield _chunk(model, {"content": "bad"})
    return "content_filter"


def _chat_logprobs(model: str) -> ChatScenario:
    for text in ("Hel", "lo"):
        token = {"token": text, "bytes": [1], "logprob": -0.5, "top_logprobs": []}
        logprobs = {"content": [token], "refusal": None}
        yield _chunk(model, {"content": text}, logprobs=logprobs)
    return "stop"


def _chat_annotations(model: str) -> ChatScenario:
    yield _chunk(model, {"content": "Hello "})
    first = _chat_citation(0, 4, "https://e.x", "T")
    yield _chunk(model, {"content": "cite", "annotations": [first]})
    yield _chunk(model, {"content": "."})
    yield _chunk(model, {"annotations": [_chat_citation(5, 6, "https://e.x/2", "T2")]})
    return "stop"


def _chat_citation(start: int, end: int, url: str, title: str) -> Json:
    place = {"start_index": start, "end_index": end, "url": url, "title": title}
    return {"type": "url_citation", "url_citation": place}


def _chat_images(model: str) -> ChatScenario:
    yield _chunk(model, {"content": "Here"})
    image = {
        "type": "image_url",
        "index": 0,
        "image_url": {"url": "data:image/png;base64,AAAA"},
    }
    yield _chunk(model, {"images": [image]})
    return "stop"


def _chat_error_in_stream(model: str) -> ChatScenario:
    yield from _chat_text(model, "par", "tial")
    yield {"error": {"message": "engine crashed", "type": "server_error", "code": 500}}
    return None


def _chat_no_finish_reason(model: str) -> ChatScenario:
    yield _chunk(model, {"content": "no finish reason"})
    return None


def _chat_short(model: str) -> ChatScenario:
    yield _chunk(model, {"content": "Y"})
    return "stop"


def _chat_empty_choices(model: str) -> ChatScenario:
    yield {**_chunk(model, {}), "choices": []}
    yield _chunk(model, {"content": "after empty choices"})
    return "stop"


CHAT_SCENARIOS: tuple[tuple[str, Callable[[str], ChatScenario]], ...] = (
    ("tools", _chat_tools),
    ("noidtool", _chat_tool_without_id),
    ("oneshottool", _chat_tool_in_one_chunk),
    ("noargtool", _chat_tool_without_arguments),
    ("refusal", _chat_refusal),
    ("empty", _chat_empty),
    ("length", _chat_length),
    ("cfilter", _chat_content_filter),
    ("logprobs", _chat_logprobs),
    ("annot", _chat_annotations),
    ("images", _chat_images),
    ("midmsgerr", _chat_error_in_stream),
    ("nofinish", _chat_no_finish_reason),
    ("interleaveonly", _chat_short),
    ("both", _chat_short),
    ("emptychoices", _chat_empty_choices),
)


def chat_completion(model: str) -> Json:
    """The whole answer, for a request without ``stream``."""
    message = {"role": "assistant", "content": "Hello, world!"}
    return {
        "id": "chatcmpl-123",
        "object": "chat.completion",
        "created": CREATED_AT,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": CHAT_USAGE,
    }
