"""Gemini's wire in small pieces, and what becomes of it."""

import json
from dataclasses import dataclass

import pytest
from support.event_checker import check_events

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.protocol.tools import NO_TOOLS, ToolTable
from ws_bridge.upstream.dialects.base import ReaderInput, WriterInput
from ws_bridge.upstream.dialects.gemini import FAMILY
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("gemini", lambda: [b"key"])


@dataclass
class Played:
    """What a wire became."""

    drafts: list
    error: UpstreamError | None = None

    @property
    def response(self):
        return self.drafts[-1].fields["response"]

    @property
    def output(self):
        return self.response["output"]

    @property
    def types(self):
        return [item["type"] for item in self.output]

    @property
    def text(self):
        messages = [item for item in self.output if item["type"] == "message"]
        return "".join(part.get("text", "") for item in messages for part in item["content"])

    @property
    def annotations(self):
        """Each annotation with the words that it stands at."""
        parts = [p for item in self.output if item["type"] == "message" for p in item["content"]]
        return [
            (note, part["text"][note.get("start_index", 0) : note.get("end_index", 0)])
            for part in parts
            for note in part["annotations"]
        ]


def frame(*events):
    """Events as server-sent events, as Google writes them."""
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(event).encode() for event in events)


def run(raw, *, piece=10**9, tools=NO_TOOLS):
    """A reader's drafts of the bytes, and the error at the end."""
    reader = FAMILY.reader(ReaderInput(tools, SEALS, "gemini"))
    drafts = []
    try:
        for at in range(0, len(raw), piece):
            drafts += reader.feed(raw[at : at + piece])
        while not reader.is_over:
            drafts += reader.feed(b"")
            drafts += reader.finish()
    except UpstreamError as failure:
        return Played(drafts, failure)
    return Played(drafts)


def checked(played):
    """The same, after the official types have taken every event."""
    sequencer = Sequencer(Envelope("resp_1", model="m", created_at=0), None, lambda: 0)
    events = [event.json() for event in sequencer.sequence(played.drafts)]
    if played.error is None:
        assert check_events(events) == []
    return played


def piece(*parts, **more):
    """One event with parts of the first candidate."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    return {"candidates": [candidate], "modelVersion": "gemini-x"}


@pytest.fixture
def seals():
    return SEALS


@pytest.fixture
def play():
    """Play parts, one event each, and the end STOP."""

    def _play(*parts, end="STOP", tools=(), **more):
        events = [piece(part) for part in parts]
        events.append(piece({"text": ""}, finishReason=end, **more))
        return checked(run(frame(*events), tools=ToolTable.of(tools)))

    return _play


@pytest.fixture
def play_events():
    """Play whole events."""

    def _play(*events, piece=10**9, tools=()):
        return checked(run(frame(*events), piece=piece, tools=ToolTable.of(tools)))

    return _play


@pytest.fixture
def play_bytes():
    """Play bytes."""
    return lambda raw, size=10**9: checked(run(raw, piece=size))


@pytest.fixture
def written():
    """The body of a request."""

    def _written(*items, model="gemini-3-pro", drop=False, thinks=None, **options):
        create = CreateResponse(input=list(items) or "hi", **options)
        passed = create.passed_on()
        tools = ToolTable.of(passed.get("tools") or ())
        given = WriterInput(
            model,
            "gemini",
            list(create.items()),
            passed,
            tools,
            SEALS,
            supports_reasoning=thinks,
            drop_params=drop,
        )
        return FAMILY.write(given).body

    return _written
