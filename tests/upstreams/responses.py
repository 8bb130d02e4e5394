"""The Responses dialect: the events of one stream, chosen by the model's name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from upstreams.errors import CREATED_AT, number_after, pieces

Json = dict[str, Any]
Item = dict[str, Any]

RESPONSE_ID = "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"
MESSAGE_ID = "msg_67ccd2bf17f0819081ff3bb2cf6508e6"
CALL_ID = "fc_67ca09c6bedc8190a7abfec07b1a1332"
REASONING_ID = "rs_6876cf02e0bc8192b74af0fb64b715ff06fa2fcced15a5ac"

RESPONSES_USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 123,
}

_INVALID = "invalid_request_error"

Step = tuple[str, Json]


class ResponsesScript:
    """The events of one Responses stream."""

    def __init__(self, model: str, body: Json | None = None, response_id: str = "") -> None:
        self.model = model
        self._input = (body or {}).get("input", "")
        self._id = response_id or RESPONSE_ID
        self._output: list[Json] = []
        self._numbers = itertools.count()
        self._ended = False

    def events(self) -> Iterator[Json]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))
        yield from self._scenario()(self)
        if not self._ended:
            yield self._event("response.completed", response=self._final("completed"))

    def _scenario(self) -> Callable[[ResponsesScript], Iterator[Json]]:
        for keyword, scenario in RESPONSES_SCENARIOS:
            if self.model.endswith(keyword) if keyword.startswith("-") else keyword in self.model:
                return scenario
        return ResponsesScript.text

    # Building blocks

    def _event(self, event_type: str, **fields: Any) -> Json:
        return {"type": event_type, "sequence_number": next(self._numbers), **fields}

    def _end(self, event_type: str, **fields: Any) -> Json:
        """Build the last event of a stream that does not complete."""
        self._ended = True
        return self._event(event_type, **fields)

    def _response(self, status: str, output: Iterable[Json] = (), **fields: Any) -> Json:
        running = status == "in_progress"
        return {
            "id": self._id,
            "object": "response",
            "created_at": CREATED_AT,
            "status": status,
            "background": False,
            "completed_at": None if running else CREATED_AT + 1,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "max_tool_calls": None,
            "model": self.model + "-2025-04-14",
            "output": list(output),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "prompt_cache_key": None,
            "prompt_cache_retention": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "auto" if running else "default",
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "user": None,
            "metadata": {},
            **fields,
        }

    def _final(self, status: str, **fields: Any) -> Json:
        usage = None if "nousage" in self.model else RESPONSES_USAGE
        return self._response(status, self._output, usage=usage, **fields)

    def _item(self, index: int, item: Json, steps: Iterable[Step], **final: Any) -> Iterator[Json]:
        """Yield added, the steps (event name without "response." and fields), done."""
        yield self._event("response.output_item.added", output_index=index, item=item)
        at = {"item_id": item["id"], "output_index": index}
        for name, fields in steps:
            yield self._event("response." + name, **at, **fields)
        done = {**item, **final}
        self._output.append(done)
        yield self._event("response.output_item.done", output_index=index, item=done)

    def _message(
        self,
        index: int,
        text: str,
        *,
        message_id: str = MESSAGE_ID,
        annotations: Iterable[Json] = (),
        logprobs: bool = False,
        phase: str | None = None,
    ) -> Iterator[Json]:
        item: Json = {
            "id": message_id,
            "type": "message",
            "status": "in_progress",
            "content": [],
            "role": "assistant",
        }
        if phase:
            item["phase"] = phase
        tokens = [_logprob(piece) for piece in pieces(text, 4)] if logprobs else []
        part = _text_part(text, list(annotations), tokens)
        steps = _message_steps(part)
        yield from self._item(index, item, steps, status="completed", content=[part])

    def _function_call(
        self, index: int, arguments: str, item_id: str = CALL_ID, call_id: str = "call_unDEadBEEF1"
    ) -> Iterator[Json]:
        item = {
            "type": "function_call",
            "id": item_id,
            "call_id": call_id,
            "name": "get_weather",
            "arguments": "",
            "status": "in_progress",
        }
        steps: list[Step] = [
            ("function_call_arguments.delta", {"delta": piece, "obfuscation": "aa"})
            for piece in pieces(arguments, 5)
        ]
        done = {"arguments": arguments, "name": "get_weather"}
        steps.append(("function_call_arguments.done", done))
        yield from self._item(index, item, steps, arguments=arguments, status="completed")

    def _reasoning(self, index: int, raw: str | None = None) -> Iterator[Json]:
        item = {
            "id": REASONING_ID,
            "type": "reasoning",
            "summary": [],
            "encrypted_content": "gAAAAenc0",
        }
        part = {"type": "summary_text", "text": "**Think** step"}
        final: Json = {"summary": [part], "encrypted_content": "gAAAAencFINAL"}
        steps = _summary_steps(part)
        if raw:
            raw_part = {"type": "reasoning_text", "text": raw}
            final["content"] = [raw_part]
            steps = itertools.chain(_raw_reasoning_steps(raw_part), steps)
        yield from self._item(index, item, steps, **final)

    def _partial(self, count: int) -> Iterator[Json]:
        yield from list(self._message(0, "partial"))[:count]

    # Scenarios

    def echo(self) -> Iterator[Json]:
        yield from self._message(0, json.dumps(self._input))

    def tool_loop(self) -> Iterator[Json]:
        items = self._input if isinstance(self._input, list) else []
        outputs = [item for item in items if item.get("type") == "function_call_output"]
        if outputs:
            yield from self._message(0, f"The weather: {outputs[-1]['output']}")
        else:
            yield from self._function_call(0, '{"city":"Paris"}')

    def text(self) -> Iterator[Json]:
        yield from self._message(0, "Hello, world! This is a test.")

    def huge_line(self) -> Iterator[Json]:
        yield self._event(
            "response.output_text.delta",
            item_id="m",
            output_index=0,
            content_index=0,
            delta="x" * 5_000_000,
            logprobs=[],
        )

    def big(self) -> Iterator[Json]:
        yield from self._message(0, "word" * number_after("big", self.model))

    def reasoning(self) -> Iterator[Json]:
        yield from self._reasoning(0, raw="raw chain" if "raw" in self.model else None)
        yield from self._message(1, "Answer 42.")

    def tools(self) -> Iterator[Json]:
        first = 0
        if "rtools" in self.model:
            yield from self._reasoning(0)
            first = 1
        yield from self._function_call(first, '{"city":"Paris","unit":"c"}')
        yield from self._function_call(first + 1, '{"city":"Rome"}', "fc_second", "call_2nd")

    def refusal(self) -> Iterator[Json]:
        item = {
            "id": "msg_ref",
            "type": "message",
            "status": "in_progress",
            "content": [],
            "role": "assistant",
        }
        part = {"type": "refusal", "refusal": "I cannot help"}
        steps: list[Step] = [
            ("content_part.added", {"part": {"type": "refusal", "refusal": ""}}),
            ("refusal.delta", {"delta": "I can"}),
            ("refusal.delta", {"delta": "not help"}),
            ("refusal.done", {"refusal": part["refusal"]}),
            ("content_part.done", {"part": part}),
        ]
        steps = [(name, {"content_index": 0, **fields}) for name, fields in steps]
        yield from self._item(0, item, steps, status="completed", content=[part])

    def annotations(self) -> Iterator[Json]:
        search = {
            "id": "ws_1",
            "type": "web_search_call",
            "status": "in_progress",
            "action": {"type": "search", "query": "q", "queries": ["q"]},
        }
        steps: list[Step] = [
            (f"web_search_call.{state}", {}) for state in ("in_progress", "searching", "completed")
        ]
        yield from self._item(0, search, steps, status="completed")
        url = {
            "type": "url_citation",
            "start_index": 0,
            "end_index": 5,
            "url": "https://e.x/a",
            "title": "A",
        }
        file = {"type": "file_citation", "index": 7, "file_id": "file-1", "filename": "a.txt"}
        yield from self._message(1, "hello world", annotations=[url, file])

    def logprobs(self) -> Iterator[Json]:
        yield from self._message(0, "hello lp", logprobs=True)

    def phase(self) -> Iterator[Json]:
        yield from self._message(0, "thinking aloud", phase="commentary")
        yield from self._message(1, "final", message_id="msg_2", phase="final_answer")

    def image(self) -> Iterator[Json]:
        item = {"id": "ig_1", "type": "image_generation_call", "status": "in_progress"}
        look = {
            "background": "opaque",
            "output_format": "png",
            "quality": "high",
            "size": "1024x1024",
        }
        partial = {"partial_image_index": 0, "partial_image_b64": "AAAA", **look}
        steps: list[Step] = [
            ("image_generation_call.in_progress", {}),
            ("image_generation_call.generating", {}),
            ("image_generation_call.partial_image", partial),
            ("image_generation_call.completed", {}),
        ]
        final = {"status": "completed", "result": "AAAABBBB", "revised_prompt": "cat", **look}
        yield from self._item(0, item, steps, **final)

    def custom_tool(self) -> Iterator[Json]:
        item = {
            "id": "ctc_1",
            "type": "custom_tool_call",
            "call_id": "call_c1",
            "name": "code_exec",
            "input": "",
            "status": "in_progress",
        }
        steps: list[Step] = [
            ("custom_tool_call_input.delta", {"delta": "print"}),
            ("custom_tool_call_input.delta", {"delta": "(1)"}),
            ("custom_tool_call_input.done", {"input": "print(1)"}),
        ]
        yield from self._item(0, item, steps, input="print(1)", status="completed")

    def code_interpreter(self) -> Iterator[Json]:
        item = {
            "id": "ci_1",
            "type": "code_interpreter_call",
            "status": "in_progress",
            "code": "",
            "container_id": "cntr_1",
            "outputs": None,
        }
        steps: list[Step] = [
            ("code_interpreter_call.in_progress", {}),
            ("code_interpreter_call_code.delta", {"delta": "1+1"}),
            ("code_interpreter_call_code.done", {"code": "1+1"}),
            ("code_interpreter_call.interpreting", {}),
            ("code_interpreter_call.completed", {}),
        ]
        outputs = [{"type": "logs", "logs": "2"}]
        yield from self._item(0, item, steps, status="completed", code="1+1", outputs=outputs)

    def mcp(self) -> Iterator[Json]:
        item = {
            "id": "mcp_1",
            "type": "mcp_call",
            "arguments": "",
            "name": "f",
            "server_label": "s",
            "approval_request_id": None,
            "error": None,
            "output": None,
            "status": "in_progress",
        }
        steps: list[Step] = [
            ("mcp_call.in_progress", {}),
            ("mcp_call_arguments.delta", {"delta": "{}"}),
            ("mcp_call_arguments.done", {"arguments": "{}"}),
            ("mcp_call.completed", {}),
        ]
        yield from self._item(0, item, steps, arguments="{}", output="ok", status="completed")

    def unknown_event(self) -> Iterator[Json]:
        unknown = {"delta": "zz", "new_field": {"a": None, "b": [1]}}
        yield self._event("response.brand_new_thing.delta", output_index=0, item_id="x", **unknown)
        yield from self._message(0, "ok")

    def error_event(self) -> Iterator[Json]:
        yield from self._partial(3)
        message = "The server had an error"
        yield self._end("error", code="server_error", message=message, param=None)

    def nested_error_event(self) -> Iterator[Json]:
        yield from self._partial(3)
        error = {"type": _INVALID, "code": "invalid_prompt", "message": "nested bad", "param": None}
        yield self._end("error", error=error)

    def failed_early(self) -> Iterator[Json]:
        error = {"code": "rate_limit_exceeded", "message": "slow down"}
        yield self._end("response.failed", response=self._response("failed", error=error))

    def failed_400(self) -> Iterator[Json]:
        yield from self._partial(4)
        error = {"code": "invalid_prompt", "message": "bad prompt"}
        yield self._end("response.failed", response=self._response("failed", error=error))

    def failed(self) -> Iterator[Json]:
        yield from self._partial(4)
        error = {"code": "server_error", "message": "boom upstream"}
        yield self._end("response.failed", response=self._final("failed", error=error))

    def incomplete(self) -> Iterator[Json]:
        yield from self._message(0, "cut off")
        details = {"reason": "content_filter" if "cf" in self.model else "max_output_tokens"}
        response = self._final("incomplete", incomplete_details=details)
        yield self._end("response.incomplete", response=response)

    def queued(self) -> Iterator[Json]:
        yield self._event("response.queued", response=self._response("queued"))
        yield from self._message(0, "q")

    def cancelled(self) -> Iterator[Json]:
        yield from self._partial(4)
        yield self._end("response.cancelled", response=self._response("cancelled"))


# The first match wins; a keyword with a leading "-" must end the model name.
RESPONSES_SCENARIOS: tuple[tuple[str, Callable[[ResponsesScript], Iterator[Json]]], ...] = (
    ("echo", ResponsesScript.echo),
    ("toolloop", ResponsesScript.tool_loop),
    ("hugeline", ResponsesScript.huge_line),
    ("big", ResponsesScript.big),
    ("reasoning", ResponsesScript.reasoning),
    ("tools", ResponsesScript.tools),
    ("refusal", ResponsesScript.refusal),
    ("annot", ResponsesScript.annotations),
    ("logprobs", ResponsesScript.logprobs),
    ("phase", ResponsesScript.phase),
    ("image", ResponsesScript.image),
    ("custom", ResponsesScript.custom_tool),
    ("-ci", ResponsesScript.code_interpreter),
    ("mcp", ResponsesScript.mcp),
    ("unknownev", ResponsesScript.unknown_event),
    ("errevent", ResponsesScript.error_event),
    ("errnested", ResponsesScript.nested_error_event),
    ("failedearly", ResponsesScript.failed_early),
    ("failed400", ResponsesScript.failed_400),
    ("failed", ResponsesScript.failed),
    ("incomplete", ResponsesScript.incomplete),
    ("queued", ResponsesScript.queued),
    ("cancelled", ResponsesScript.cancelled),
)


def _text_part(text: str, annotations: list[Json], logprobs: list[Json]) -> Json:
    return {
        "type": "output_text",
        "annotations": annotations,
        "logprobs": logprobs,
        "text": text,
    }


def _logprob(piece: str) -> Json:
    return {"token": piece, "bytes": list(piece.encode()), "logprob": -0.1, "top_logprobs": []}


def _message_steps(part: Json) -> Iterator[Step]:
    at = {"content_index": 0}
    text, logprobs = part["text"], part["logprobs"]
    yield "content_part.added", {**at, "part": _text_part("", [], [])}
    for index, piece in enumerate(pieces(text, 4)):
        delta = {"delta": piece, "logprobs": logprobs[index : index + 1], "obfuscation": "x8Yd"}
        yield "output_text.delta", {**at, **delta}
    for index, annotation in enumerate(part["annotations"]):
        added = {"annotation_index": index, "annotation": annotation}
        yield "output_text.annotation.added", {**at, **added}
    yield "output_text.done", {**at, "text": text, "logprobs": logprobs}
    yield "content_part.done", {**at, "part": part}


def _summary_steps(part: Json) -> Iterator[Step]:
    at = {"summary_index": 0}
    yield "reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}}
    for piece in pieces(part["text"], 5):
        yield "reasoning_summary_text.delta", {**at, "delta": piece, "obfuscation": "qq"}
    yield "reasoning_summary_text.done", {**at, "text": part["text"]}
    yield "reasoning_summary_part.done", {**at, "part": part}


def _raw_reasoning_steps(part: Json) -> Iterator[Step]:
    at = {"content_index": 0}
    yield "content_part.added", {**at, "part": {"type": "reasoning_text", "text": ""}}
    for piece in pieces(part["text"], 5):
        yield "reasoning_text.delta", {**at, "delta": piece}
    yield "reasoning_text.done", {**at, "text": part["text"]}
    yield "content_part.done", {**at, "part": part}


def final_response(model: str, body: Json, response_id: str = "") -> Json:
    """The response object that the stream would end with."""
    *_, last = ResponsesScript(model, body, response_id).events()
    response: Json = last.get("response") or {}
    return response
