"""What the bench's upstream says: one answer in each dialect, as bytes of its stream. Pure.

Rule: shapes and sizes are a real provider's: about 230 bytes a delta with its ``event:`` line.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Protocol

import orjson

Json = dict[str, Any]


class Turn(Protocol):
    """One answer in one dialect, as the bytes of its event stream."""

    def opening(self) -> bytes:
        """Everything before the first delta."""
        ...

    def delta(self, number: int, text: str) -> bytes:
        """One delta."""
        ...

    def closing(self, text: str, deltas: int) -> bytes:
        """Everything after the last delta, its terminal included."""
        ...


class NativeTurn:
    """A Responses stream."""

    def __init__(self) -> None:
        self._made = int(time.time())
        self._response = f"resp_{secrets.token_hex(25)}"
        self._item = f"msg_{secrets.token_hex(25)}"
        self._place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        self._delta = (
            b"event: response.output_text.delta\n"
            b'data: {"type":"response.output_text.delta","sequence_number":%%d,"item_id":"%b",'
            b'"output_index":0,"content_index":0,"delta":"%%b","logprobs":[]}\n\n'
        ) % self._item.encode()

    def opening(self) -> bytes:
        running = {"response": self._snapshot("in_progress", [], None)}
        return b"".join(
            (
                _sse(0, "response.created", running),
                _sse(1, "response.in_progress", running),
                _sse(
                    2,
                    "response.output_item.added",
                    {"output_index": 0, "item": self._message("in_progress", [])},
                ),
                _sse(3, "response.content_part.added", self._place | {"part": _part("")}),
            )
        )

    def delta(self, number: int, text: str) -> bytes:
        return self._delta % (4 + number, text.encode())

    def closing(self, text: str, deltas: int) -> bytes:
        item = self._message("completed", [_part(text)])
        response = self._snapshot("completed", [item], deltas)
        said = self._place | {"text": text, "logprobs": []}
        number = 4 + deltas
        return b"".join(
            (
                _sse(number, "response.output_text.done", said),
                _sse(number + 1, "response.content_part.done", self._place | {"part": _part(text)}),
                _sse(number + 2, "response.output_item.done", {"output_index": 0, "item": item}),
                _sse(number + 3, "response.completed", {"response": response}),
            )
        )

    def _message(self, status: str, content: list[Json]) -> Json:
        item = {"id": self._item, "type": "message", "status": status, "role": "assistant"}
        return item | {"content": content}

    def _snapshot(self, status: str, output: list[Json], deltas: int | None) -> Json:
        head = {"id": self._response, "created_at": self._made, "status": status, "output": output}
        return _SETTINGS | head | {"usage": None if deltas is None else _usage(deltas)}


class ChatTurn:
    """A chat completions stream."""

    def __init__(self) -> None:
        completion = f"chatcmpl-{secrets.token_hex(14)}".encode()
        head = (
            b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":"bench-chat",'
            b'"system_fingerprint":"fp_5f20662549","choices":'
        ) % (completion, time.time())
        choice = b'[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n'
        self._first = head + choice % (b'{"role":"assistant","content":""}', b"null")
        self._delta = head + choice % (b'{"content":"%b"}', b"null")
        self._last = head + choice % (b"{}", b'"stop"')
        self._usage = head + b'[],"usage":%b}\n\n'

    def opening(self) -> bytes:
        return self._first

    def delta(self, number: int, text: str) -> bytes:  # noqa: ARG002  # a chunk has no number
        return self._delta % text.encode()

    def closing(self, text: str, deltas: int) -> bytes:  # noqa: ARG002  # it repeats no text
        usage = {"prompt_tokens": 9, "completion_tokens": deltas, "total_tokens": 9 + deltas}
        return self._last + self._usage % orjson.dumps(usage) + b"data: [DONE]\n\n"


class MessagesTurn:
    """An Anthropic Messages stream."""

    def __init__(self) -> None:
        self._delta = (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"%b"}}\n\n'
        )

    def opening(self) -> bytes:
        message = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant"}
        message |= {"model": "bench-claude", "content": [], "stop_reason": None}
        message |= {"stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return b"".join(
            (
                _message("message_start", {"message": message}),
                _message("content_block_start", block),
                _message("ping", {}),
            )
        )

    def delta(self, number: int, text: str) -> bytes:  # noqa: ARG002  # a block's delta has none
        return self._delta % text.encode()

    def closing(self, text: str, deltas: int) -> bytes:  # noqa: ARG002  # it repeats no text
        end = {"delta": {"stop_reason": "end_turn", "stop_sequence": None}}
        return b"".join(
            (
                _message("content_block_stop", {"index": 0}),
                _message("message_delta", end | {"usage": {"output_tokens": deltas}}),
                _message("message_stop", {}),
            )
        )


DIALECTS: dict[str, tuple[str, type[NativeTurn | ChatTurn | MessagesTurn]]] = {
    "native": ("/v1/responses", NativeTurn),
    "chat": ("/v1/chat/completions", ChatTurn),
    "anthropic": ("/v1/messages", MessagesTurn),
}

_SETTINGS: Json = orjson.loads("""{
  "id": "", "object": "response", "created_at": 0, "status": "", "background": false,
  "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null,
  "max_tool_calls": null, "model": "bench-native", "output": [], "parallel_tool_calls": true,
  "previous_response_id": null, "prompt_cache_key": null, "safety_identifier": null,
  "reasoning": {"effort": null, "summary": null}, "service_tier": "default", "store": false,
  "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
  "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": null, "user": null,
  "metadata": {}
}""")


def _sse(number: int, kind: str, fields: Json) -> bytes:
    data = orjson.dumps({"type": kind, "sequence_number": number} | fields)
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _message(kind: str, fields: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind} | fields))


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(deltas: int) -> Json:
    return {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": deltas,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 9 + deltas,
    }
