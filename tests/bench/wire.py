"""What the bench's upstream says, and what a whole answer is. Pure.

Each delta's text is ``<number>@<nanoseconds> ``, the stamp taken on the machine's monotonic clock
just before the bytes are written. So whoever receives the text, as one frame a delta or as several
deltas in one frame, knows what came, in which order, and how long it was under way.

Rule 1: shapes and sizes are a real provider's: about 230 bytes a delta with its ``event:`` line.
Rule 2: how much to say, and how fast, travels in the prompt, which every bridge passes on.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, Protocol

import orjson

Json = dict[str, Any]
Frame = tuple[int, bytes | str]  # when it was received (ns), and its JSON

STAMP = re.compile(r"(\d+)@(\d+) ")
_ORDER = re.compile(rb"bench: (\d+) deltas at (\d+) per second")


def prompt(deltas: int, rate: int) -> str:
    """Ask the bench's upstream for ``deltas`` at ``rate`` a second; 0 is as fast as it can."""
    return f"bench: {deltas} deltas at {rate} per second"


def ordered(body: bytes) -> tuple[int, int]:
    """Deltas and rate that a request's body asks for."""
    match = _ORDER.search(body)
    assert match, "the prompt did not reach the upstream"
    return int(match[1]), int(match[2])


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


DIALECTS: dict[str, tuple[str, type[NativeTurn | ChatTurn]]] = {
    "native": ("/v1/responses", NativeTurn),
    "chat": ("/v1/chat/completions", ChatTurn),
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


# What the client's side reads ----------------------------------------------------------------

DELTA_HEAD = '{"type":"response.output_text.delta"'
_TERMINAL = {"response.completed", "response.failed", "response.incomplete", "error"}
_LIFECYCLE = (  # all but the deltas, which stand between the fourth and the fifth
    "response.created response.in_progress response.output_item.added response.content_part.added"
    " response.output_text.done response.content_part.done response.output_item.done"
    " response.completed"
).split()


def is_last(data: str) -> bool:
    """Nothing of this answer comes after this frame. Cheap for a delta."""
    if data.startswith(DELTA_HEAD):
        return False
    return data == "[DONE]" or orjson.loads(data).get("type") in _TERMINAL


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Split read bytes into the JSON of their whole events, and what waits for the next read."""
    *events, rest = data.split(b"\n\n")
    return [event[event.index(b"data: ") + 6 :] for event in events], rest


def stamps(frames: list[Frame], deltas: int) -> list[tuple[int, int]]:
    """(received, written) in ns for each delta of a whole answer; a wrong one is an AssertionError.

    Whole is: every delta once and in order, the lifecycle of the Responses contract around them,
    numbers from 0 without a gap, and a terminal that repeats the text (or ``[DONE]`` after "stop").
    """
    assert frames, "nothing was answered"
    if frames[-1][1] in ("[DONE]", b"[DONE]"):
        parsed = [(received, orjson.loads(data)) for received, data in frames[:-1]]
        assert any(c["finish_reason"] == "stop" for _, chunk in parsed for c in chunk["choices"])
        texts = [(received, _content(chunk)) for received, chunk in parsed]
    else:
        texts = _event_texts([(received, orjson.loads(data)) for received, data in frames])
    found = [(at, match) for at, text in texts for match in STAMP.finditer(text)]
    assert [int(match[1]) for _, match in found] == list(range(deltas)), "deltas lost or reordered"
    return [(at, int(match[2])) for at, match in found]


def _content(chunk: Json) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def _event_texts(events: list[tuple[int, Json]]) -> list[tuple[int, str]]:
    kinds = [event.get("type") for _, event in events]
    assert kinds[-1] == "response.completed", f"ended with {events[-1][1]}"
    inside = len(kinds) - len(_LIFECYCLE)
    expected = [*_LIFECYCLE[:4], *["response.output_text.delta"] * inside, *_LIFECYCLE[4:]]
    assert kinds == expected, "the lifecycle is not the contract's"
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    texts = [(at, event["delta"]) for at, event in events[4:-4]]
    said = events[-1][1]["response"]["output"][0]["content"][0]["text"]
    assert said == "".join(text for _, text in texts), "the terminal's text is not the deltas'"
    return texts
