"""The loopback server of all dialects: scenario by model name, gates, counters and a request log.

Its own thread, because litellm makes blocking calls on the event loop (Ollama's ``/api/show``),
which a server in the same loop could never answer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self

from aiohttp import web
from support.hang import HANG_SECONDS

from upstreams import agent_loop
from upstreams.anthropic import anthropic_events
from upstreams.chat import chat_completion, chat_events
from upstreams.errors import ERRORS, error_of, error_response
from upstreams.others import gemini_events, ollama_events
from upstreams.responses import ResponsesScript, final_response

Json = dict[str, Any]

GATE = re.compile(r"gate(\d*)")
BEGUN_CHUNK = b'400\r\ndata: {"ty'
BAD_LINES = (
    b'data: {"type": "response.output_text.delta", "delta": "tr\n\n',
    b": comment line keepalive\n\nevent: ping\n\nid: 7\nretry: 10\n\n",
    b"garbage without colon\n\n",
    b"data: null\n\ndata: 17\n\ndata: []\n\n",
)
POLLS_UNTIL_DONE = 3  # GETs of a background response that still find it running


class Cut(Exception):
    """The scenario ends the connection here, or the client did."""


class FakeProviders:
    """A context manager; ``base_url`` is known inside. Port 0 is any.

    ``log`` holds every request (method, path, headers, body), ``live`` the streams that are open,
    finished, or closed early by the client. All awaiting methods raise ``TimeoutError`` if
    it never comes.
    """

    def __init__(self, port: int = 0) -> None:
        self.base_url = ""
        self.log: list[Json] = []
        self.live = {"open": 0, "closed_early": 0, "finished": 0}
        self._port = port
        self._changed = threading.Condition()
        self._seen: Counter[str] = Counter()
        self._gates: dict[tuple[str, int], asyncio.Event] = {}
        self._waiting: set[str] = set()
        self._background: dict[str, Json] = {}
        self._ids = itertools.count(1)
        self._runner = web.AppRunner(self.app(), shutdown_timeout=0.1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_thread(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._in_thread(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_thread(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**28)
        for prefix in ("/v1", ""):
            app.router.add_post(prefix + "/responses", self._responses)
            app.router.add_get(prefix + "/responses/{id}", self._poll)
            app.router.add_post(prefix + "/responses/{id}/cancel", self._cancel)
            app.router.add_post(prefix + "/chat/completions", self._chat)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/api/chat", self._ollama)
        app.router.add_post("/{prefix:.*}models/{model}:streamGenerateContent", self._gemini)
        app.router.add_route("*", "/{tail:.*}", self._no_route)
        return app

    # For tests

    def reset(self) -> None:
        """Forget requests, counts and gates."""
        self.log.clear()
        self._seen.clear()
        self._gates.clear()
        self._waiting.clear()
        self._background.clear()
        self.live.update(open=0, closed_early=0, finished=0)

    def requests(self, model: str) -> list[Json]:
        """The bodies sent for a model, in order."""
        bodies = (entry["body"] for entry in self.log)
        return [body for body in bodies if isinstance(body, dict) and body.get("model") == model]

    def release(self, model: str, number: int = 1) -> None:
        """Open a gate of a ``gate`` model, now and for later requests."""
        self._loop.call_soon_threadsafe(lambda: self._gate(model, number).set())

    async def reached(self, model: str) -> None:
        """Wait until a stream stands before its gate, its stall, or hangs."""
        await self.until(lambda: model in self._waiting)

    async def wait_closed(self, closed_early: int = 0) -> None:
        """Wait until no stream is open, and so many were closed by the client."""
        await self.until(
            lambda: self.live["open"] == 0 and self.live["closed_early"] >= closed_early
        )

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait, in any event loop, until something is true of this server."""
        if not await asyncio.to_thread(self._wait, true):
            raise TimeoutError(f"live: {self.live}, waiting: {self._waiting}")

    def _wait(self, true: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(true, timeout=HANG_SECONDS)

    def _note(self, **by: int) -> None:
        with self._changed:
            for name, count in by.items():
                self.live[name] += count
            self._changed.notify_all()

    def _gate(self, model: str, number: int = 1) -> asyncio.Event:
        return self._gates.setdefault((model, number), asyncio.Event())

    # Routes

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request)
        model = body["model"]
        if refused := await self._refuse(request, model):
            return refused
        if body.get("background") and not body.get("stream"):
            if "heldcreate" in model:
                await self._gate(model).wait()
            return self._start_background(body)
        if not body.get("stream"):
            if "htmlok" in model:
                return web.Response(text="<html>", content_type="text/html")
            headers = {"x-request-id": "req_fake_1"}
            return web.json_response(final_response(model, body), headers=headers)
        if "jsonstream" in model:
            return web.json_response(final_response("text", body))
        model, events = agent_loop.step_events(model, body, "responses") or (
            model,
            ResponsesScript(model, body).events(),
        )
        return await self._stream(request, model, events, done="openai" not in model)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request)
        model = body["model"]
        if refused := await self._refuse(request, model):
            return refused
        if not body.get("stream"):
            return web.json_response(chat_completion(model))
        model, events = agent_loop.step_events(model, body, "chat") or (
            model,
            chat_events(model, body),
        )
        return await self._stream(request, model, events, named=False)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request)
        model = body["model"]
        if refused := await self._refuse(request, model):
            return refused
        model, events = agent_loop.step_events(model, body, "anthropic") or (
            model,
            anthropic_events(model, body),
        )
        return await self._stream(request, model, events, done=False)

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request)
        model = request.match_info["model"]
        if refused := await self._refuse(request, model):
            return refused
        model, events = agent_loop.step_events(model, body, "gemini") or (
            model,
            gemini_events(model),
        )
        return await self._stream(request, model, events, named=False, done=False)

    async def _ollama(self, request: web.Request) -> web.StreamResponse:
        model = (await self._record(request))["model"]
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        for line in ollama_events(model):
            await response.write(json.dumps(line).encode() + b"\n")
        await response.write_eof()
        return response

    async def _no_route(self, request: web.Request) -> web.Response:
        await self._record(request)
        return web.json_response({"error": {"message": "no route " + request.path}}, status=404)

    async def _record(self, request: web.Request) -> Any:
        try:
            body = await request.json()
        except ValueError:
            body = (await request.read()).decode()
        entry = {"method": request.method, "path": str(request.rel_url), "body": body}
        assert request.transport is not None
        _, port, *_ = request.transport.get_extra_info("peername")
        self.log.append({**entry, "headers": dict(request.headers), "port": port})
        self._note()
        return body

    # Background responses

    def _start_background(self, body: Json) -> web.Response:
        response_id = f"resp_background{next(self._ids)}"
        final = final_response(body["model"], body, response_id) | {"background": True}
        self._background[response_id] = {"final": final, "polls": 0, "cancelled": False}
        return web.json_response(_unfinished(final, "queued"))

    async def _poll(self, request: web.Request) -> web.Response:
        await self._record(request)
        kept = self._background.get(request.match_info["id"])
        if kept is None:
            return error_of(*ERRORS["err404"])
        kept["polls"] += 1
        if "pollflaky" in kept["final"]["model"] and kept["polls"] == 2:
            return error_of(*ERRORS["err500"])
        return web.json_response(self._state(kept))

    def _state(self, kept: Json) -> Json:
        """Queued once, then the output item by item, then all of it; a gate holds it back."""
        final, model = kept["final"], kept["final"]["model"].removesuffix("-2025-04-14")
        if kept["cancelled"]:
            return _unfinished(final, "cancelled")
        if "gate" in model and not self._gate(model).is_set():
            self._mark_waiting(model)
            return _unfinished(final, "in_progress")
        if kept["polls"] < POLLS_UNTIL_DONE:
            shown = final["output"][: kept["polls"] - 1]
            return _unfinished(final, "in_progress") | {"output": shown}
        return dict(final)

    async def _cancel(self, request: web.Request) -> web.Response:
        await self._record(request)
        kept = self._background.get(request.match_info["id"])
        if kept is None:
            return error_of(*ERRORS["err404"])
        kept["cancelled"] = True
        return web.json_response(self._state(kept))

    # Refusing

    async def _refuse(self, request: web.Request, model: str) -> web.Response | None:
        """An error instead of a stream, or nothing at all (``hang``)."""
        if refused := error_response(model):
            return refused
        if "flaky" in model and "pollflaky" not in model:
            self._seen[model] += 1
            if self._seen[model] <= int(model.split("flaky")[1][0]):
                return error_of(*ERRORS["err500"])
        if "hang" in model:
            self._note(open=1)
            self._mark_waiting(model)
            await _until_closed(request)
            self._note(open=-1, closed_early=1)
            return web.Response()
        return None

    def _mark_waiting(self, model: str) -> None:
        self._waiting.add(model)
        self._note()

    # Streaming

    async def _stream(
        self,
        request: web.Request,
        model: str,
        events: Iterable[Json],
        named: bool = True,
        done: bool = True,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=_stream_headers(model))
        await response.prepare(request)
        self._note(open=1)
        outcome = "finished"
        try:
            for count, event in enumerate(events, start=1):
                await self._disturb(request, response, model, count)
                await response.write(_sse(event, named))
            await response.write(b"data: [DONE]\n\n" if done else b"")
        except Cut:
            return response
        except (ConnectionError, asyncio.CancelledError):
            outcome = "closed_early"
            self.log.append({"closed": model, "body": None, "path": ""})
            return response
        finally:
            self._note(**{"open": -1, outcome: 1})
        await response.write_eof()
        return response

    async def _disturb(
        self, request: web.Request, response: web.StreamResponse, model: str, count: int
    ) -> None:
        """Do what the model name asks for before event number ``count``."""
        if count == 6 or "pre1drop" in model or "zerobytes" in model:
            await _cut(request, response, model)
        if "badline" in model and count == 5:
            for line in BAD_LINES:
                await response.write(line)
        if "nontype" in model and count == 5:
            await response.write(b'data: {"no_type": 1}\n\n')
        if "slow" in model:
            await asyncio.sleep(0.05)
        if "keepalive" in model and count == 5:
            self._mark_waiting(model)
            await _comments(request, response)
        await self._hold(request, model, count)

    async def _hold(self, request: web.Request, model: str, count: int) -> None:
        if "stall" in model and count == 6:
            self._mark_waiting(model)
            await _until_closed(request)
            raise ConnectionResetError
        for number, gate in enumerate(GATE.finditer(model), 1):
            if count == int(gate[1] or 4):
                self._mark_waiting(model)
                await _until_closed(request, self._gate(model, number))


async def _cut(request: web.Request, response: web.StreamResponse, model: str) -> None:
    """End the stream as the model name asks for."""
    if ("reset" in model or "pre1drop" in model) and request.transport:
        request.transport.abort()
    elif "drop" in model and request.transport:
        request.transport.write(BEGUN_CHUNK)
        request.transport.close()
    elif "cleaneof" in model or "zerobytes" in model:
        await response.write_eof()
    else:
        return
    raise Cut


async def _comments(request: web.Request, response: web.StreamResponse) -> None:
    """Nothing but comments, until the client closes."""
    while not _is_closed(request):
        await response.write(b": keepalive\n\n")
        await asyncio.sleep(0.05)
    raise ConnectionResetError


async def _until_closed(request: web.Request, gate: asyncio.Event | None = None) -> None:
    """Wait for the peer to close, or for the gate to open; an hour at most."""
    deadline = time.monotonic() + 3600
    while time.monotonic() < deadline:
        if gate is not None and gate.is_set():
            return
        if _is_closed(request):
            if gate is not None:
                raise ConnectionResetError
            return
        await asyncio.sleep(0.02)


def _is_closed(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _unfinished(final: Json, status: str) -> Json:
    return final | {"status": status, "output": [], "usage": None, "completed_at": None}


def _stream_headers(model: str) -> dict[str, str]:
    headers = {
        "content-type": "text/event-stream",
        "x-request-id": "req_fake_1",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-requests": "9",
    }
    if "hugeheaders" in model:
        headers["x-h"] = "y" * 3000
    return headers


def _sse(event: Json, named: bool) -> bytes:
    name = f"event: {event['type']}\n" if named and "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()
