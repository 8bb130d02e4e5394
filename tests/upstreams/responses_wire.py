"""Streams of a Responses provider: legal ones of any shape, and what is done to them."""

from __future__ import annotations

import json
from random import Random
from typing import Any

Json = dict[str, Any]

WORDS = ("Hello", ", ", "world", " ", "", "é🙂", '"quoted"', "\n", "{", "}")
ANNOTATION = {
    "type": "url_citation",
    "url": "https://h.example/",
    "title": "t",
    "start_index": 0,
    "end_index": 1,
}


def text_of(random: Random) -> list[str]:
    return [random.choice(WORDS) for _ in range(random.randint(1, 5))]


class WireStream:
    """The events of one answer, built item by item."""

    def __init__(self, random: Random) -> None:
        self.events: list[Json] = []
        self.output: list[Json] = []
        self._random = random
        self._response = {"id": "resp_up", "object": "response", "model": "m", "output": []}
        for kind in ("created", "in_progress"):
            self.add(f"response.{kind}", response=self._response | {"status": "in_progress"})

    def add(self, kind: str, **fields: Any) -> None:
        self.events.append({"type": kind, "sequence_number": len(self.events), **fields})

    def finish(self, status: str = "completed", **more: Any) -> list[Json]:
        response = self._response | {"status": status, "output": self.output} | more
        self.add(f"response.{status}", response=response)
        return self.events

    def message(self) -> None:
        at, item = self._start("msg", type="message", role="assistant", content=[])
        parts = [self._part(at, number) for number in range(self._random.randint(1, 2))]
        self._finish(at, item | {"content": parts})

    def reasoning(self) -> None:
        at, item = self._start("rs", type="reasoning", summary=[])
        summary = [self._summary(at, number) for number in range(self._random.randint(0, 2))]
        self._finish(at, item | {"summary": summary, "encrypted_content": "sealed"})

    def call(self) -> None:
        fields = {"type": "function_call", "name": "f", "arguments": ""}
        number = len(self.output)
        at, item = self._start("fc", call_id=f"call_{number}", **fields)
        arguments = json.dumps({"a": "".join(text_of(self._random))})
        stem = "response.function_call_arguments"
        for piece in (arguments[:3], arguments[3:]):
            self.add(f"{stem}.delta", **at, delta=piece)
        self.add(f"{stem}.done", **at, arguments=arguments, name="f")
        self._finish(at, item | {"arguments": arguments})

    def search(self) -> None:
        action = {"type": "search", "query": "q"}
        at, item = self._start("ws", type="web_search_call", action=action)
        for state in ("in_progress", "searching", "completed"):
            self.add(f"response.web_search_call.{state}", **at)
        self._finish(at, item)

    def _start(self, prefix: str, **fields: Any) -> tuple[Json, Json]:
        index = len(self.output)
        item = {"id": f"{prefix}_{index}", "status": "in_progress", **fields}
        self.add("response.output_item.added", output_index=index, item=item)
        return {"item_id": item["id"], "output_index": index}, item

    def _finish(self, at: Json, item: Json) -> None:
        done = item | {"status": "completed"}
        self.output.append(done)
        self.add("response.output_item.done", output_index=at["output_index"], item=done)

    def _part(self, at: Json, number: int) -> Json:
        at = at | {"content_index": number}
        if self._random.random() < 0.2:
            return self._text(at, "content_part", "refusal", {"type": "refusal"}, "refusal", {})
        blank = {"type": "output_text", "annotations": [], "logprobs": []}
        notes = [ANNOTATION] if self._random.random() < 0.3 else []
        return self._text(at, "content_part", "output_text", blank, "text", {"logprobs": []}, notes)

    def _summary(self, at: Json, number: int) -> Json:
        at = at | {"summary_index": number}
        stems = ("reasoning_summary_part", "reasoning_summary_text")
        return self._text(at, *stems, {"type": "summary_text"}, "text", {})

    def _text(  # noqa: PLR0917 - a table's row
        self, at: Json, part: str, stem: str, blank: Json, name: str, more: Json, notes: Any = ()
    ) -> Json:
        pieces = text_of(self._random)
        self.add(f"response.{part}.added", **at, part=blank | {name: ""})
        for piece in pieces:
            self.add(f"response.{stem}.delta", **at, delta=piece, **more)
        for place, note in enumerate(notes):
            kind = "response.output_text.annotation.added"
            self.add(kind, **at, annotation_index=place, annotation=note)
        text = "".join(pieces)
        self.add(f"response.{stem}.done", **at, **{name: text}, **more)
        done = blank | {name: text} | ({"annotations": list(notes)} if notes else {})
        self.add(f"response.{part}.done", **at, part=done)
        return done


def legal_stream(seed: int) -> list[Json]:
    """The events of a legal stream of one to four items."""
    random = Random(seed)  # noqa: S311
    stream = WireStream(random)
    kinds = (stream.message, stream.reasoning, stream.call, stream.search)
    for _ in range(random.randint(1, 4)):
        random.choice(kinds)()
    return stream.finish()


def frame_of(event: Json, *, named: bool = True) -> bytes:
    """One event as a provider sends it."""
    name = f"event: {event['type']}\n" if named else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()
