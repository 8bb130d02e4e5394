"""Messages streams in pieces, and what the bridge's own reader makes of them."""

from dataclasses import dataclass, field

import orjson
from support.event_checker import check_events

from upstreams.frames import block_delta, frame, start, stop
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import CREATED
from ws_bridge.protocol.tools import NO_TOOLS
from ws_bridge.upstream.dialects.anthropic import MessagesReader
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("anthropic of the tests", lambda: [b"key"])
# What the sequencer adds to a response.
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1.0,
    "model": "m",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "metadata": {},
    "instructions": None,
    "temperature": None,
    "top_p": None,
    "error": None,
    "incomplete_details": None,
    "usage": None,
}


@dataclass
class Told:
    """What came of a wire."""

    drafts: list = field(default_factory=list)
    error: UpstreamError | None = None

    @property
    def response(self):
        return self.drafts[-1].fields["response"]

    @property
    def output(self):
        return self.response["output"]

    @property
    def events(self):
        return [
            {
                "type": draft.type,
                "sequence_number": number,
                **draft.fields,
                **(
                    {"response": {**RESPONSE, **draft.fields["response"]}}
                    if "response" in draft.fields
                    else {}
                ),
            }
            for number, draft in enumerate(self.drafts)
        ]


def hello(content=(), usage=None, **more):
    usage = {"input_tokens": 3, "output_tokens": 1} if usage is None else usage
    message = {"id": "m1", "model": "claude-x", "content": list(content), "usage": usage, **more}
    return frame({"type": "message_start", "message": message}, "message_start")


def block(index, begin, *deltas):
    return start(begin, index) + b"".join(block_delta(one, index) for one in deltas) + stop(index)


def text(index, *pieces, cited=()):
    citations = [{"type": "citations_delta", "citation": one} for one in cited]
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return block(index, {"type": "text", "text": ""}, *citations, *deltas)


def thought(index, *pieces, signature="sig"):
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    deltas += [{"type": "signature_delta", "signature": signature}] if signature else []
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)


def call(index, name, *pieces, call_id="toolu_1", kind="tool_use", **more):
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    begin = {"type": kind, "id": call_id, "name": name, "input": {}, **more}
    return block(index, begin, *deltas)


def result(index, kind, content, call_id="srv_1", **more):
    return block(index, {"type": kind, "tool_use_id": call_id, "content": content, **more})


def goodbye(reason="end_turn", usage=None, **delta):
    usage = {"output_tokens": 7} if usage is None else usage
    delta = {"stop_reason": reason, "stop_sequence": None, **delta}
    return (
        frame({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta") + STOPPED
    )


STOPPED = frame({"type": "message_stop"}, "message_stop")


def reader(tools=NO_TOOLS):
    return MessagesReader(ReaderInput(tools, SEALS, "anthropic"))


def read(*frames, tools=NO_TOOLS, size=0):
    """All that is told of a wire, in pieces of ``size`` bytes."""
    return read_on(reader(tools), *frames, size=size)


def read_on(reading, *frames, size=0):
    wire, told = b"".join(frames), Told()
    try:
        for at in range(0, len(wire), size or len(wire) or 1):
            told.drafts += reading.feed(wire[at : at + (size or len(wire))])
        while not reading.is_over and reading.paused is None:
            told.drafts += reading.finish()
    except UpstreamError as error:
        told.error = error
    if told.error is None and told.drafts and told.drafts[0].type == CREATED and reading.is_over:
        assert check_events(told.events) == []
        assert orjson.dumps(told.events)  # it can be sent on
    return told
