"""Frames of chat and Anthropic streams, as providers write them."""

import json

CHAT = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def frame(data, name=None, end=b"\n\n"):
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {data if isinstance(data, str) else json.dumps(data)}".encode() + end


def chat(delta, finish_reason=None, choice=None, **more):
    first = {"index": 0, "delta": delta, "finish_reason": finish_reason, **(choice or {})}
    return frame({**CHAT, "choices": [first], **more})


def call(index, arguments, call_id=None, name=None):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    start = {"id": call_id, "type": "function"} if call_id else {}
    return {"tool_calls": [{"index": index, **start, "function": function}]}


def start(block, index=0):
    event = {"type": "content_block_start", "index": index, "content_block": block}
    return frame(event, "content_block_start")


def block_delta(delta, index=0):
    event = {"type": "content_block_delta", "index": index, "delta": delta}
    return frame(event, "content_block_delta")


def stop(index=0):
    return frame({"type": "content_block_stop", "index": index}, "content_block_stop")


HELLO_CHAT = chat({"role": "assistant", "content": ""})
END_CHAT = (chat({}, "stop"), b"data: [DONE]\n\n")
USAGE = {"input_tokens": 3, "output_tokens": 1}
HELLO_CLAUDE = frame(
    {"type": "message_start", "message": {"id": "m1", "model": "c", "usage": USAGE}}
)
END_CLAUDE = (
    frame({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE}),
    frame({"type": "message_stop"}, "message_stop"),
)
