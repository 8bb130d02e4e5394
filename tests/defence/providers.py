"""What is fuzzed at the seam to providers: what dialects write, and what they read."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
from transcripts import load, names
from upstreams.anthropic import anthropic_events
from upstreams.chat import chat_events
from upstreams.others import gemini_events

from defence.frames import FRAMES
from defence.mutations import spelled, torn, wrong
from ws_bridge.errors import BridgeError, UpstreamError
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.request import parse_create
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import Family, ReaderInput, WriterInput
from ws_bridge.upstream.dialects.families import FAMILIES

Json = dict[str, Any]

MINTED = re.compile(r"\b[a-z]+_[0-9a-f]{8}-?[0-9a-f-]{24,}")
ASKED: Json = {"messages": [], "stream_options": {"include_usage": True}}
SCENARIOS = "text tools thinking reasoning refusal annot miderr images logprobs".split()
COHERE: list[Json] = [
    {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
    {
        "type": "content-start",
        "index": 0,
        "delta": {"message": {"content": {"type": "text", "text": ""}}},
    },
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
    {"type": "content-end", "index": 0},
    {
        "type": "message-end",
        "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 1}}},
    },
]
STREAMS: dict[str, list[list[Json]]] = {
    "responses": [
        [{"type": one.type, **one.fields} for one in steps]
        for name in names()
        if (steps := [step for step in load(name) if isinstance(step, Draft)])
    ],
    "openai_chat": [[*chat_events(name, ASKED)] for name in SCENARIOS],
    "anthropic": [[*anthropic_events(name, ASKED)] for name in SCENARIOS],
    "gemini": [[*gemini_events(name)] for name in ("text", "tool", "think tool", "safety")],
    "cohere": [COHERE],
}


def writers(rng: Random) -> None:
    """A create, as each dialect says it: written or refused, and never a crash."""
    body = wrong(rng.choice(FRAMES), rng, 4)
    if not isinstance(body, dict):
        return
    try:
        request = parse_create(body, "m")
    except BridgeError:
        return
    options = request.passed_on()
    for family in FAMILIES.values():
        write(family, Chain(None, request.items()).items_for("a"), options)


def write(family: Family, items: list[Json], options: Json) -> None:
    """Raises what is no refusal. The body can be said in JSON."""
    try:
        tools = ToolTable.of(options.get("tools") or ())
        given = WriterInput("m", "p", items, copy.deepcopy(options), tools)
        orjson.dumps(family.write(given).body)
    except BridgeError as refused:
        if refused.status >= 500:
            raise
    except TypeError as failure:  # no surrogate is sent: `http.upstream` says so in a 400
        if "surrogates not allowed" not in str(failure):
            raise


def readers(rng: Random) -> None:
    """A provider's stream, good or bad, however it is cut: the same drafts and the same end."""
    name = rng.choice([*STREAMS])
    script: list[Any] = list(rng.choice(STREAMS[name]))[:40]
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(script))
        script[at : at + rng.randint(0, 2)] = [wrong(rng.choice(script), rng, 3)]
        script = script or [{}]
    ends = rng.choice((b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\n: comment\n\n"))
    text = b"".join(
        b"event: %b\ndata: %b%b" % (_type(one), spelled(one, rng).replace(b"\n", b" "), ends)
        for one in script
    )
    text = torn(text, rng, 2) if rng.random() < 0.5 else text
    cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 9)))
    pieces = [text[at:to] for at, to in itertools.pairwise((0, *cuts, len(text))) if at < to]
    assert _read(name, pieces) == _read(name, [text])


def _type(event: Any) -> bytes:
    kind = event.get("type") if isinstance(event, dict) else None
    return kind.encode("ascii", "ignore") if isinstance(kind, str) and kind.isalnum() else b"x"


def _read(name: str, pieces: list[bytes]) -> tuple[str, str]:
    """All that is told, ids numbered, and how it ended."""
    reader = FAMILIES[name].reader(ReaderInput())
    drafts: list[Draft] = []
    end = ""
    try:
        for piece in pieces:
            drafts += reader.feed(piece)
        for _ in range(9):
            if reader.is_over:
                break
            if getattr(reader, "paused", None) is not None:
                end = "paused"
                break
            drafts += reader.finish()
        else:
            raise AssertionError("it has no end")
    except UpstreamError as failure:
        end = f"{failure.status} {failure.code} {failure.message}"
    assert [draft.type in TERMINAL for draft in drafts[:-1]] == [False] * (len(drafts) - 1)
    assert reader.is_over == (bool(drafts) and drafts[-1].type in TERMINAL)
    ids: dict[str, str] = {}
    told = repr([(draft.type, draft.fields) for draft in drafts])
    return MINTED.sub(lambda found: ids.setdefault(found[0], str(len(ids))), told), end


PROVIDERS: dict[str, Callable[[Random], None]] = {
    target.__name__: target for target in (writers, readers)
}
