"""A provider that speaks `/v1/responses` over a WebSocket too: real sockets, one memory each.

``with FakeSockets() as fake`` serves both on ``fake.base_url`` (HTTP as ``FakeProviders``). What a
create is answered with is chosen by its model's name, as there: any Responses scenario, ``gateN``
and ``stall`` too. A connection remembers the latest response of each lane and nothing else; what
is asked for beyond that is ``previous_response_not_found``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import subprocess
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from upstreams import agent_loop
from upstreams.responses import ResponsesScript
from upstreams.server import FakeProviders
from ws_bridge.protocol.events import LIFECYCLE

Json = dict[str, Any]
Spelling = Callable[[Json], str]


@dataclass(frozen=True)
class Accident:
    """What happens in place of event number ``after`` + 1 of a response.

    ``how``: "abort" (the line is cut), a close code, a dict (sent as the last frame), or bytes
    (sent as a binary frame).
    """

    after: int
    how: str | int | Json | bytes = "abort"


@dataclass
class Connection:
    """One client's socket, and what is remembered on it."""

    number: int
    request: web.Request
    socket: web.WebSocketResponse
    memory: dict[str | None, tuple[str, list[Json]]] = field(default_factory=dict)
    running: set[str | None] = field(default_factory=set)

    def remembered(self, response_id: str) -> list[Json] | None:
        """The items of a conversation, by its latest response."""
        return dict(self.memory.values()).get(response_id)


class FakeSockets(FakeProviders):
    """A context manager, see the module. All lists grow in the order of events.

    ``handshake_statuses``: of refusals of the next handshakes. ``accidents``: by model, of its next
    creates. ``frames``: (connection, create). ``sent``: provider's response id → its frames.
    ``violations``: what a client must not do.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__()
        self.handshake_statuses: list[int] = []
        self.accidents: dict[str, list[Accident]] = defaultdict(list)
        self.handshakes: list[dict[str, str]] = []
        self.frames: list[tuple[int, Json]] = []
        self.sent: dict[str, list[bytes]] = defaultdict(list)
        self.violations: list[str] = []
        self.spelling: Spelling = json.dumps
        self.connections: dict[int, Connection] = {}
        self._tls = tls
        self._numbers = itertools.count(1)
        self._responses_made = itertools.count(1)

    async def _start(self) -> None:
        if self._tls is None:
            await super()._start()
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._tls)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.base_url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_get("/v1/responses", self._socket)
        return app

    # For tests

    def hang_up(self) -> None:
        """Cut every connection that is open now."""
        for connection in list(self.connections.values()):
            self._loop.call_soon_threadsafe(_abort, connection)

    def forget(self) -> None:
        """Remember nothing of any connection, as a busy provider may."""
        for connection in self.connections.values():
            connection.memory.clear()

    def creates(self) -> list[Json]:
        """The creates of all connections."""
        return [frame for _, frame in self.frames]

    def asked(self, model: str) -> list[Json]:
        """What came for a model over sockets, and over HTTP; Gemini has its name in the path."""
        sent = [create for create in self.creates() if create["model"] == model]
        posted = (entry for entry in self.log if isinstance(entry["body"], dict))
        return sent + [
            entry["body"]
            for entry in posted
            if f"/{model}:" in entry["path"] or entry["body"].get("model") == model
        ]

    def places(self) -> list[tuple[int, str | None]]:
        """On which connection and lane each create came."""
        return [(number, frame.get("stream_id")) for number, frame in self.frames]

    def passed_on(self) -> list[bytes]:
        """The frames of the latest response as drafts have them: without response objects."""
        texts = list(self.sent.values())[-1]
        return [b"" if json.loads(text)["type"] in LIFECYCLE else text for text in texts]

    async def gone(self) -> None:
        """Wait until no connection is open."""
        await self.until(lambda: not self.connections)

    # The socket

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(dict(request.headers))
        if self.handshake_statuses:
            return _refused(self.handshake_statuses.pop(0))
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(request)
        connection = Connection(next(self._numbers), request, socket)
        self.connections[connection.number] = connection
        self._note(open=1)
        answers: set[asyncio.Task[None]] = set()
        try:
            async for message in socket:
                assert message.type is WSMsgType.TEXT
                create = json.loads(message.data)
                self.frames.append((connection.number, create))
                self._note()
                answers.add(asyncio.create_task(self._answer(connection, create)))
        finally:
            for answer in answers:
                answer.cancel()
            await asyncio.gather(*answers, return_exceptions=True)
            del self.connections[connection.number]
            self._note(open=-1, closed_early=bool(connection.running))
        return socket

    async def _answer(self, connection: Connection, create: Json) -> None:
        lane = create.get("stream_id")
        if lane in connection.running or create["type"] != "response.create":
            self.violations.append(json.dumps(create))
        connection.running.add(lane)
        with suppress(ConnectionError):
            await self._send_events(connection, lane, create)
            connection.running.discard(lane)

    async def _send_events(self, connection: Connection, lane: str | None, create: Json) -> None:
        model, previous = create["model"], create.get("previous_response_id")
        history = connection.remembered(previous) if previous else []
        if history is None:
            connection.running.discard(lane)
            await connection.socket.send_str(json.dumps(_not_found(previous, lane)))
            return
        items = [*history, *create["input"]]
        response_id = f"resp_theirs{next(self._responses_made)}"
        accidents = self.accidents[model]
        accident = accidents.pop(0) if accidents else None
        body = {"input": items}
        gated, events = agent_loop.step_events(model, body, "responses") or (
            model,
            ResponsesScript(model, body, response_id).events(),
        )
        for count, event in enumerate(events, start=1):
            if accident and count > accident.after:
                connection.running.discard(lane)
                await _happen(connection, lane, accident)
                return
            await self._hold(connection.request, gated, count)
            if "response" in event:
                event["response"] |= {"id": response_id, "previous_response_id": previous}
                event["response"]["metadata"] = create.get("metadata", {})
                if event["response"]["output"]:
                    items += event["response"]["output"]
                    connection.memory[lane] = response_id, items
            if event["type"] in ("response.completed", "response.incomplete", "response.failed"):
                connection.running.discard(lane)
            text = self.spelling(event | ({"stream_id": lane} if lane else {}))
            self.sent[response_id].append(text.encode())
            await connection.socket.send_str(text)


async def _happen(connection: Connection, lane: str | None, accident: Accident) -> None:
    if accident.how == "abort":
        _abort(connection)
    elif isinstance(accident.how, int):
        await connection.socket.close(code=accident.how)
    elif isinstance(accident.how, bytes):
        await connection.socket.send_bytes(accident.how)
    else:
        await connection.socket.send_json(
            accident.how | ({"stream_id": lane} if lane and "stream_id" not in accident.how else {})
        )


def _abort(connection: Connection) -> None:
    if connection.request.transport is not None:
        connection.request.transport.abort()


def _refused(status: int) -> web.Response:
    error = {"message": f"no socket for you ({status})", "type": "x", "param": None, "code": None}
    return web.json_response({"error": error}, status=status, headers={"retry-after": "3"})


def _not_found(response_id: str, lane: str | None) -> Json:
    message = f"Previous response with id '{response_id}' not found."
    error = {
        "type": "invalid_request_error",
        "code": "previous_response_not_found",
        "message": message,
        "param": "previous_response_id",
    }
    named = {"stream_id": lane} if lane else {}
    return {"type": "error", "status": 400, **named, "error": error}


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own making for 127.0.0.1, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -days 1 -nodes".split()
    made = ["-keyout", str(key), "-out", str(cert)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", *made, *subject]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own words only
    return cert, key
