"""What the bench's clients ask and read, and what a whole answer is. Pure.

Each delta's text is ``<number>@<nanoseconds> ``, the stamp taken on the machine's monotonic clock
just before the bytes are written. So whoever receives the text, as one frame a delta or as several
deltas in one frame, knows what came, in which order, and how long it was under way.

Rule: how much to say, and how fast, travels in the prompt, which every bridge passes on.
"""

from __future__ import annotations

import re
from typing import Any

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


DELTA_HEAD = '{"type":"response.output_text.delta"'
_TERMINAL = {
    *("response.completed", "response.failed", "response.incomplete", "error", "message_stop"),
}
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


def stamps(frames: list[Frame], deltas: int, *, is_foreign: bool = False) -> list[tuple[int, int]]:
    """(received, written) in ns for each delta of a whole answer; a wrong one is an AssertionError.

    Whole is: every delta once and in order, the lifecycle of the Responses contract around them,
    numbers from 0 without a gap, and a terminal that repeats the text; in other dialects, their
    own end. Of a ``is_foreign`` bridge only the deltas and the terminal are asked for.
    """
    assert frames, "nothing was answered"
    if frames[-1][1] in ("[DONE]", b"[DONE]"):
        frames = frames[:-1]
    parsed = [(received, orjson.loads(data)) for received, data in frames]
    texts = _foreign_texts(parsed) if is_foreign else _texts(parsed)
    found = [(at, match) for at, text in texts for match in STAMP.finditer(text)]
    assert [int(match[1]) for _, match in found] == list(range(deltas)), "deltas lost or reordered"
    return [(at, int(match[2])) for at, match in found]


def _texts(parsed: list[tuple[int, Json]]) -> list[tuple[int, str]]:
    last = parsed[-1][1]
    if "choices" in last:
        assert any(c["finish_reason"] == "stop" for _, chunk in parsed for c in chunk["choices"])
        return [(received, _content(chunk)) for received, chunk in parsed]
    if last["type"] == "message_stop":
        return [(at, event["delta"].get("text", "")) for at, event in parsed if "delta" in event]
    return _event_texts(parsed)


def _foreign_texts(parsed: list[tuple[int, Json]]) -> list[tuple[int, str]]:
    assert parsed[-1][1]["type"] == "response.completed", f"ended with {parsed[-1][1]}"
    is_delta = "response.output_text.delta"
    return [(at, event["delta"]) for at, event in parsed if event["type"] == is_delta]


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
