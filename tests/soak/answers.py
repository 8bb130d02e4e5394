"""What a client got as an answer, and whether it is whole. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from faults.trace import Heard, Json, text_of

WORDS = (
    # What the provider says, by its model's name.
    (re.compile(r"native.*big(\d+)"), lambda count: "word" * count),
    (re.compile(r"chat.*big(\d+)"), lambda count: "".join(f"w{i} " for i in range(count))),
    (re.compile(r"anthropic(\d*)"), lambda _: "Hello from Claude!"),
)
DELTA = "response.output_text.delta"


def wanted(model: str) -> str:
    """All the text that a model says; one that refuses says none."""
    for pattern, words in WORDS:
        if found := pattern.search(model):
            return words(int(found[1] or 0))
    return ""


@dataclass(eq=False)
class Answer:
    """One response as its client heard it, event by event."""

    model: str
    heard: Heard = field(default_factory=lambda: Heard("a client"))
    said: list[str] = field(default_factory=list)
    id: str = ""
    refusal: Json | None = None

    def take(self, text: bytes) -> Json:
        """The next event."""
        event = self.heard.hear(text)
        if event["type"] == DELTA:
            self.said.append(event["delta"])
        elif not self.id and "response" in event:
            self.id = event["response"]["id"]
        return event

    @property
    def is_over(self) -> bool:
        return self.heard.has_ended or self.refusal is not None

    @property
    def response(self) -> Json:
        """The response as its terminal event shows it."""
        end = self.heard.end
        return end["response"] if end else {}

    def problems(self, status: str = "completed") -> Iterator[str]:
        """What is not as it must be of an answer that was heard from its first event on."""
        yield from self.heard.problems
        if self.refusal is not None:
            yield f"it was refused: {self.refusal}"
        elif not self.heard.has_ended:
            yield f"it has no end after {self.heard.last}"
        elif (ended := self.response["status"]) != status:
            yield f"it is {ended}, not {status}: {self.response.get('error')}"
        else:
            yield from self._text_problems(status)

    def _text_problems(self, status: str) -> Iterator[str]:
        said, kept, words = "".join(self.said), text_of(self.response), wanted(self.model)
        if status == "completed" and said != words:
            yield f"{len(said)} characters were said of {len(words)}"
        if status == "completed" and kept != said:
            yield "the terminal's text is not the deltas'"
        if not words.startswith(said):
            yield f"it said {said[-40:]!r}"


def whole(response: Json, model: str) -> Iterator[str]:
    """What is wrong with a completed response that somebody else reads."""
    if response.get("status") != "completed":
        yield f"a reader was told {response.get('status')}: {response.get('error')}"
    elif text_of(response) != wanted(model):
        yield f"a reader was told {text_of(response)[-40:]!r}"
