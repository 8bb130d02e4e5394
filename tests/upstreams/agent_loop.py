"""Three turns of tools and an answer, told in every dialect: what an agent goes through.

The model's name has that of its story (`stories`). Each step thinks and signs its thought; the
first one of some also runs a tool of the provider's own (none in chat). Which step comes next is
seen by the tool outputs in the request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from upstreams.responses import ResponsesScript
from upstreams.stories import Call, Step, story_of

Json = dict[str, Any]


def _number(steps: tuple[Step, ...], outputs: int) -> int:
    """The step that comes after so many outputs of tools."""
    for number, step in enumerate(steps):
        if outputs == 0:
            return number
        outputs -= len(step.calls)
    raise ValueError("outputs that no step asked for")


def step_events(model: str, body: Json, family: str) -> tuple[str, Iterator[Json]] | None:
    """The next step: what gates call it, and its events. None if it is no loop."""
    steps = story_of(model)
    if not steps:
        return None
    count, tell = FAMILIES[family]
    number = _number(steps, count(body))
    return step_name(model, number), tell(model, number, steps[number])


def step_name(model: str, number: int) -> str:
    """What a step of a model is called: its gates are its own."""
    return f"{model}-step{number}"


# Anthropic


def _anthropic_outputs(body: Json) -> int:
    contents = [message["content"] for message in body["messages"]]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return sum(block["type"] == "tool_result" for block in blocks)


def anthropic_blocks(number: int, step: Step) -> list[Json]:
    """The blocks as they go back."""
    signature = f"signature-{number}"
    blocks: list[Json] = [{"type": "thinking", "thinking": step.thought, "signature": signature}]
    if step.is_searched:
        search = {"name": "web_search", "input": {"query": "weather"}}
        page = {"url": "https://w.example/", "title": "Weather", "encrypted_content": "sealed"}
        found = [{"type": "web_search_result", **page, "page_age": None}]
        blocks += [
            {"type": "server_tool_use", "id": "srvtoolu_1", **search},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
        ]
    if step.text:
        blocks.append({"type": "text", "text": step.text})
    for place, call in enumerate(step.calls):
        tool = {"id": f"toolu_{number}_{place}", "name": call.flat, "input": call.arguments}
        blocks.append({"type": "tool_use", **tool})
    return blocks


def _anthropic_deltas(block: Json) -> tuple[Json, list[Json]]:
    """A block as it starts, and what completes it."""
    match block["type"]:
        case "thinking":
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [thought, signed]
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "tool_use" | "server_tool_use":
            written = json.dumps(block["input"])
            pieces = [{"type": "input_json_delta", "partial_json": written}]
            return {**block, "input": {}}, pieces
    return block, []


def _anthropic_events(model: str, number: int, step: Step) -> Iterator[Json]:
    usage = {"input_tokens": 25, "output_tokens": 1}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model}
    end = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield {"type": "message_start", "message": message | end}
    for index, block in enumerate(anthropic_blocks(number, step)):
        start, deltas = _anthropic_deltas(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": "tool_use" if step.calls else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 15}}
    yield {"type": "message_stop"}


# Gemini


def _gemini_outputs(body: Json) -> int:
    parts = [part for content in body["contents"] for part in content["parts"]]
    return sum("functionResponse" in part for part in parts)


def gemini_signature(name: str) -> str:
    """A signature in its form: Base64."""
    return base64.b64encode(f"signature-{name}".encode()).decode()


def gemini_parts(number: int, step: Step) -> list[Json]:
    """The parts as they come: the first call is signed, or the last text."""
    parts: list[Json] = [{"text": step.thought, "thought": True}]
    if step.is_searched:
        code = {"language": "PYTHON", "code": "print(6 * 7)", "id": "code1"}
        result = {"outcome": "OUTCOME_OK", "output": "42\n", "id": "code1"}
        parts.append({"executableCode": code, "thoughtSignature": gemini_signature("code")})
        parts.append({"codeExecutionResult": result})
    if step.text:
        parts.append({"text": step.text})
    parts += [{"functionCall": {"name": one.flat, "args": one.arguments}} for one in step.calls]
    signed = len(parts) - max(len(step.calls), 1)
    parts[signed] = parts[signed] | {"thoughtSignature": gemini_signature(str(number))}
    return parts


def _gemini_chunks(model: str, number: int, step: Step) -> Iterator[Json]:
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 9}
    end = {"usageMetadata": usage, "modelVersion": model, "responseId": f"gem-{number}"}
    for part in gemini_parts(number, step):
        content = {"parts": [part], "role": "model"}
        yield {"candidates": [{"content": content, "index": 0}], **end}
    content = {"parts": [{"text": ""}], "role": "model"}
    yield {"candidates": [{"content": content, "index": 0, "finishReason": "STOP"}], **end}


# Chat


def _chat_outputs(body: Json) -> int:
    return sum(message["role"] == "tool" for message in body["messages"])


def _chat_chunks(model: str, number: int, step: Step) -> Iterator[Json]:
    def chunk(delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": 1741476542,
        }
        return {**head, "model": model, "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    yield chunk({"reasoning": step.thought})
    if step.text:
        yield chunk({"content": step.text})
    for index, call in enumerate(step.calls):
        made = {"index": index, "id": f"call_{number}_{index}", "type": "function"}
        function = {"name": call.flat, "arguments": ""}
        yield chunk({"tool_calls": [made | {"function": function}]})
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": call.written}}]})
    yield chunk({}, "tool_calls" if step.calls else "stop")
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    yield chunk({}) | {"choices": [], "usage": usage}


# Responses


def _responses_outputs(body: Json) -> int:
    types = (str(item.get("type")) for item in body["input"])
    return sum(kind.endswith(("call_output", "search_output")) for kind in types)


class StepScript(ResponsesScript):
    """One step as a Responses stream."""

    def __init__(self, model: str, number: int, step: Step) -> None:
        super().__init__(model, response_id=f"resp_up{number}")
        self._number, self._step = number, step

    def _scenario(self) -> Callable[[ResponsesScript], Iterator[Json]]:
        return lambda _: self._items()

    def _items(self) -> Iterator[Json]:
        for index, item in enumerate(responses_items(self._number, self._step)):
            if item["type"] == "message":
                text = item["content"][0]["text"]
                yield from self._message(index, text, message_id=item["id"])
            else:
                begun, steps, final = _growing(item)
                yield from self._item(index, begun, steps, **final)


def _growing(item: Json) -> tuple[Json, list[tuple[str, Json]], Json]:
    """An item as it is added, the events that complete it, and what they add."""
    match item["type"]:
        case "reasoning":
            (part,) = item["summary"]
            steps = [
                ("reasoning_summary_part.added", {"part": {**part, "text": ""}}),
                ("reasoning_summary_text.delta", {"delta": part["text"]}),
                ("reasoning_summary_text.done", {"text": part["text"]}),
                ("reasoning_summary_part.done", {"part": part}),
            ]
            steps = [(name, {"summary_index": 0, **fields}) for name, fields in steps]
            return {**item, "summary": []}, steps, {"summary": item["summary"]}
        case "function_call":
            arguments = {"arguments": item["arguments"]}
            done = {**arguments, "name": item["name"]}
            steps = [
                ("function_call_arguments.delta", {"delta": item["arguments"]}),
                ("function_call_arguments.done", done),
            ]
            begun = {**item, "arguments": "", "status": "in_progress"}
            return begun, steps, {**arguments, "status": "completed"}
        case "custom_tool_call":
            written = {"input": item["input"]}
            steps = [
                ("custom_tool_call_input.delta", {"delta": item["input"]}),
                ("custom_tool_call_input.done", written),
            ]
            begun = {**item, "input": "", "status": "in_progress"}
            return begun, steps, {**written, "status": "completed"}
        case "tool_search_call":
            begun = {**item, "status": "in_progress"}
            return begun, [], {"status": "completed"}
    states = ("in_progress", "searching", "completed")
    steps = [(f"web_search_call.{state}", {}) for state in states]
    return {**item, "status": "in_progress"}, steps, {"status": "completed"}


def responses_items(number: int, step: Step) -> list[Json]:
    """The items of a step's output."""
    summary = [{"type": "summary_text", "text": step.thought}]
    sealed = {"summary": summary, "encrypted_content": f"sealed-{number}"}
    items: list[Json] = [{"type": "reasoning", "id": f"rs_up{number}", **sealed}]
    if step.is_searched:
        action = {"type": "search", "query": "weather", "queries": ["weather"]}
        done = {"status": "completed", "action": action}
        items.append({"type": "web_search_call", "id": "ws_up1", **done})
    if step.text:
        part = {"type": "output_text", "text": step.text, "annotations": [], "logprobs": []}
        said = {"role": "assistant", "status": "completed", "content": [part]}
        items.append({"type": "message", "id": f"msg_up{number}", **said})
    items += [_call_item(f"{number}_{place}", call) for place, call in enumerate(step.calls)]
    return items


def _call_item(number: str, call: Call) -> Json:
    common = {"call_id": f"call_{number}", "status": "completed"}
    space = {"namespace": call.namespace} if call.namespace else {}
    match call.kind:
        case "custom":
            written = {"name": call.name, "input": call.arguments["content"], **space}
            return {"type": "custom_tool_call", "id": f"ctc_up{number}", **common, **written}
        case "tool_search":
            asked = {"execution": "client", "arguments": call.arguments}
            return {"type": "tool_search_call", "id": f"tsc_up{number}", **common, **asked}
    made = {"name": call.name, "arguments": call.written}
    return {"type": "function_call", "id": f"fc_up{number}", **common, **made, **space}


def _responses_events(model: str, number: int, step: Step) -> Iterator[Json]:
    return StepScript(model, number, step).events()


FAMILIES: dict[str, tuple[Callable[[Json], int], Callable[[str, int, Step], Iterator[Json]]]] = {
    "anthropic": (_anthropic_outputs, _anthropic_events),
    "gemini": (_gemini_outputs, _gemini_chunks),
    "chat": (_chat_outputs, _chat_chunks),
    "responses": (_responses_outputs, _responses_events),
}
