"""More of what is fuzzed: heads, keys, model names, log lines, outputs, what a store gives back."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
from aiohttp import web
from multidict import CIMultiDict
from support.scripted_upstream import Scripted, answer
from transcripts import load, names

from defence.mutations import JUNK, torn, wrong
from defence.providers import write
from ws_bridge.config import ClientKey, Config, Settings
from ws_bridge.errors import BridgeError, ModelNotFound, StoreUnavailable
from ws_bridge.logs import CleanRecord
from ws_bridge.protocol.conversation import Conversation, entries_of_response
from ws_bridge.protocol.events import COMPLETED, CREATED, Draft, Event
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.output.replay import replay
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import OWNED, Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.protocol.steering import required_outputs
from ws_bridge.server.app import Bridge
from ws_bridge.server.auth import Authenticator
from ws_bridge.server.transport.listener import serve_on
from ws_bridge.store.base import Owners, Record
from ws_bridge.store.redis.codec import (
    CODEC,
    compress,
    encode_entries,
    encode_record,
    encode_side_data,
)
from ws_bridge.store.redis.commands import Cursor, decode_page
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.model_table import LONGEST_STAR, build

Json = dict[str, Any]

SECRET = "sk-canary-of-a-client"  # noqa: S105 - the point is that nobody says it
HEADERS = (
    *("Origin", "Host", "Authorization", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key", "Upgrade"),
    *("Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Connection", "Content-Length"),
    *("Content-Type", "Content-Encoding", "Transfer-Encoding", "Expect", "Cookie", "Range"),
    *("If-None-Match", "If-Modified-Since", "If-Range", "Accept", "X-Forwarded-For"),
)
VALUES = (
    *("http://[", "http://[::1", "http://a]b", "http://[zz]", "http://127.0.0.1", "null", "[", ""),
    *("Bearer ", "Bearer \xff\xfe", "Basic x", "upgrade", "websocket", "13", "keep-alive, Upgrade"),
    *("openai-insecure-api-key.\xff", "responses", "100-continue", "gzip", "chunked", "0", "-1"),
    *("9" * 30, "bytes=0-", "bytes=-" + "9" * 400, '"x"', "*", "W/", "application/json"),
    *("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "dGhlIHNhbXBsZSBub25jZQ=="),
)
PATHS = (
    *("/", "/healthz", "/readyz", "/metrics", "/static/chat.js", "/static/", "/v1/models"),
    "/openapi.json",
    *("/v1/responses", "/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/conversations"),
    *("/v1/responses/resp_1/input_items?limit=3&order=asc&after=x", "/v1/responses/input_tokens"),
    *("/v1/responses/resp_1?stream=true&starting_after=3", "/v1/conversations/conv_1/items/x"),
    *("/%ff", "/%00", "/static/%2e%2e/x", "//", "*", "http://[", "/v1/responses?model=%ff"),
)
METHODS = ("GET", "GET", "GET", "POST", "DELETE", "HEAD", "PUT", "OPTIONS", "TRACE", "CONNECT", "X")


def keys(rng: Random) -> None:
    """Headers that decide who somebody is: let in, or refused (docs/protocol.md §1.3)."""
    headers = CIMultiDict((name, _text(rng)) for name in rng.sample(HEADERS, 3))
    host = headers.get("Host", "127.0.0.1")
    request: Any = SimpleNamespace(headers=headers, query={}, host=host)
    known = rng.choice(((), (ClientKey("NAME", "key"),)))
    gate = Authenticator(known, origins=("http://a",), hosts=(), browser_subprotocol=True)
    with contextlib.suppress(BridgeError):
        assert gate.authenticate(request)


def _text(rng: Random) -> str:
    """A header's value as aiohttp reads one: bytes that need not be UTF-8."""
    text = torn(rng.choice(VALUES).encode("utf-8", "surrogateescape"), rng, 2)
    return text.decode("utf-8", "surrogateescape").translate({0: "x", 10: "x", 13: "x"})


def heads(rng: Random) -> None:
    """Whole requests, on a real socket: an answer (docs/protocol.md §4.1), or none; no crash."""
    lines = [f"{rng.choice(METHODS)} {rng.choice(PATHS)} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{rng.choice(HEADERS)}: {_text(rng)}" for _ in range(rng.randint(0, 3))]
    lines.append(f"Authorization: Bearer {SECRET}")
    text = "\r\n".join((*lines, "Connection: close", "", "")).encode("utf-8", "surrogateescape")
    text = torn(text, rng, 2) if rng.random() < 0.7 else text
    if rng.random() < 0.3:
        text += torn(b'{"model":"m","input":"x"}', rng, 1)
    told = _server().ask(text)
    first, _, rest = told.partition(b"\r\n")
    if first:
        status = int(first.split(b" ")[1])
        assert status < 500 or status in (501, 503), told
        assert SECRET.encode() not in told, told
        head, _, body = rest.partition(b"\r\n\r\n")
        if status >= 400 and body:
            assert b"application/json" in head.lower(), told


class _Server:
    """A bridge on a real socket, in a thread of its own, for as long as the process lives."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._is_up = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._is_up.wait(60)

    async def _serve(self) -> None:
        # `resume_reading` on a socket that is gone, and such, is the stock loop's to forget.
        config = Config.model_validate(
            {
                "models": [{"name": "m", "model": "openai/m"}],
                "limits": {"refused_per_minute": 0, "head_seconds": 0.05, "message_seconds": 0.05},
            },
            strict=False,
        )
        bridge = Bridge(Settings(config), upstream=Scripted(answer("x")))
        short = {"keepalive_timeout": 0.05, "lingering_time": 0.05}
        runner = web.AppRunner(bridge.app, access_log=None, handler_cancellation=True, **short)
        await runner.setup()
        await serve_on(runner, [self._listening], config)
        self._is_up.set()
        await asyncio.Event().wait()

    def ask(self, text: bytes) -> bytes:
        """All that it answers to the bytes, and to their end."""
        pieces = []
        client = socket.create_connection(self._listening.getsockname(), timeout=60)
        with client, contextlib.suppress(ConnectionError):
            client.sendall(text)
            while piece := client.recv(65536):
                pieces.append(piece)
                if pieces[0].startswith(b"HTTP/1.1 101 "):  # it stays open
                    break
        return b"".join(pieces)


_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers:
        _servers.append(_Server())
    return _servers[0]


TABLE = build(
    Config.model_validate(
        {
            "models": [
                {"name": "m", "model": "openai/m"},
                {"name": "gem-*", "model": "gemini/*", "fallbacks": ["a-*"]},
                {"name": "a-*-z", "model": "anthropic/x-*"},
                {"name": "a-*", "model": "anthropic/*"},
            ]
        },
        strict=False,
    ),
    {},
)
PIECES = (
    *("m", "gem-", "a-", "-z", "x", "..", ".", "/", "//", "?", "#", "&", "%2e", "\\", " ", "\n"),
    *("*", "@", ":", "+", "-", "_", "é", "\ud800", "\x00", "x" * LONGEST_STAR, "v1/files"),
)


def models(rng: Random) -> None:
    """Names of models: a name at the provider that is no other part of an address, or nobody."""
    name = "".join(rng.choices(PIECES, k=rng.randint(0, 5)))
    with contextlib.suppress(ModelNotFound):
        for target in [target for group in TABLE.candidates(name) for target in group]:
            star = target.model.partition("/")[2]
            assert target.name == "m" or len(star) <= LONGEST_STAR + 2
            assert star.isascii(), star
            assert star.isprintable(), star
            assert not set(star) & set('?#&%\\ "*'), star
            assert not {"", ".", ".."} & set(star.split("/")), star


def lines(rng: Random) -> None:
    """Log lines: one line, and as many fields as there are, whatever stands in them."""
    values = [str(rng.choice(JUNK)) + rng.choice(('"', " b=c", "\n", "\\", "\x85", "\u2028", ""))]
    values += ["plain", rng.choice(PIECES)]
    record = CleanRecord(
        "ws_bridge.x", logging.INFO, "", 1, "said a=%s b=%s c=%s", tuple(values), None
    )
    told = record.getMessage()
    assert told.splitlines() == [told]
    assert told.isprintable(), told
    fields: list[str] = []
    reader = io.StringIO(told.removeprefix("said "))
    text = reader.read()
    while text:
        name, _, text = text.partition("=")
        fields.append(name)
        if text.startswith('"'):
            _, end = json.JSONDecoder().raw_decode(text)
            text = text[end:].lstrip(" ")
        else:
            text = text.partition(" ")[2]
    assert fields == ["a", "b", "c"], told


FINAL: list[Json] = [
    step.fields["response"]
    for name in names()
    for step in load(name)
    if isinstance(step, Draft) and step.type == COMPLETED and "response" in step.fields
]


def outputs(rng: Random) -> None:
    """A provider's response object: the bridge's fields stay its own, its output can be used."""
    response = wrong(rng.choice(FINAL) | {"id": "resp_theirs", "status": "completed"}, rng, 4)
    response = response if isinstance(response, dict) else {"output": response}
    if rng.random() < 0.5:
        response |= {name: rng.choice(JUNK) for name in rng.sample(sorted(OWNED), 3)}
    with contextlib.suppress(TypeError):  # what JSON cannot say, nobody sends
        text = orjson.dumps({"type": COMPLETED, "response": response, "sequence_number": 9})
        response = orjson.loads(text)["response"]
        envelope = Envelope("resp_1", "m", 5, {"metadata": {"a": "b"}}, "resp_0", conversation="c")
        sequencer = Sequencer(envelope, None, lambda: 9.0)
        draft = Draft(COMPLETED, {"response": response}, rng.choice((b"", text)))
        opening = Draft(CREATED, {"response": response | {"status": "in_progress", "output": []}})
        said = sequencer.sequence([opening, draft])
        ours = envelope.snapshot("completed")
        for told in (one.json()["response"] for one in said):
            assert all(
                told.get(name) == ours.get(name)
                for name in OWNED - {"status", "completed_at"}
                if name in told
            ), told
        result = sequencer.result
        assert result is not None
        assert result == said[-1].json()["response"]
        _use(result, response)


def _use(result: Json, response: Json) -> None:
    """All that is made of an output later."""
    output = result["output"]
    assert items_of(output) == output
    turn = Turn(
        "resp_1", ({"type": "message", "role": "user", "content": "x"},), tuple(output), "a"
    )
    chain = Chain(turn, ())
    with contextlib.suppress(BridgeError):
        chain.check_calls()
    for family in FAMILIES.values():
        for maker in ("a", "b"):
            write(family, chain.items_for(maker), {})
    chain.summarizable()
    entries = entries_of_response("resp_1", turn.input, output, "a")
    kept, ids = Conversation("conv_1", "me", 1, {}).with_entries(entries)
    assert len(ids) == len(entries)
    orjson.dumps([entry.listed() for entry in kept.entries])
    orjson.dumps(list(required_outputs(output)))
    for draft in replay(response):
        Event.of(draft, 1, None).json()


KEPT = [
    Event.of(Draft(CREATED, {"response": {"id": "resp_1", "status": "in_progress"}}), 0, None),
    Event.of(Draft("response.output_text.delta", {"item_id": "m", "delta": "x"}), 1, None),
]
LAST = Event.of(Draft(COMPLETED, {"response": {"id": "resp_1", "status": "completed"}}), 2, None)
RECORD = Record("resp_1", "me", ({"type": "message", "role": "user", "content": "x"},), "a")


def stored(rng: Random) -> None:
    """What a store gives back that others have written to: read, or unknown; never a crash."""
    entries = [[b"%d-0" % number, [b"e", text]] for number, text in encode_entries(KEPT)]
    response = wrong(rng.choice(FINAL), rng, 3)
    last = Event.of(Draft(COMPLETED, {"response": response}), 2, None)
    side = encode_side_data({"a": ["x", {"b": 1}]})
    kept = [b"completed", compress(last.text), encode_record(RECORD), side, entries[0][1][1]]
    kept = [torn(one, rng, 2) if rng.random() < 0.3 else one for one in kept]
    status, final, record, side, entries[0][1][1] = kept
    answer_ = [status, 2, 0, 0, entries, final, record, side]
    with _quiet(), contextlib.suppress(StoreUnavailable):
        view = decode_page(Cursor("resp_1", "me", -1), answer_, CODEC, Owners())
        if view is not None:
            orjson.dumps(fold(view.events))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a line for each of a million."""
    log = logging.getLogger("ws_bridge.store.redis.commands")
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False


MORE: dict[str, Callable[[Random], None]] = {
    target.__name__: target for target in (keys, heads, models, lines, outputs, stored)
}
