"""The streams that are attacked: their provider and their clients, in a process of their own.

It does one job a line, and answers with what it saw. Every piece of an answer carries its number
and the time it was said at; the provider goes on until it is told to end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import uvloop
from aiohttp import web
from support.event_checker import check_events
from support.hang import HANG_SECONDS
from upstreams.frames import (
    END_CHAT,
    END_CLAUDE,
    HELLO_CHAT,
    HELLO_CLAUDE,
    block_delta,
    chat,
    frame,
    start,
    stop,
)
from upstreams.responses import ResponsesScript

Json = dict[str, Any]
Pieces = AsyncIterator[str]

PER_SECOND = 10  # pieces of each stream
BEGUN = 5  # pieces of each have been heard: all flow
STAMP = re.compile(r"\d+:(\d+);")
DELTA = "response.output_text.delta"
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
TEXT = "Hello, world! This is a test."  # what the script of the Responses dialect says


async def spoken_chat(pieces: Pieces) -> AsyncIterator[bytes]:
    yield HELLO_CHAT
    async for piece in pieces:
        yield chat({"content": piece})
    for last in END_CHAT:
        yield last


async def spoken_anthropic(pieces: Pieces) -> AsyncIterator[bytes]:
    yield HELLO_CLAUDE
    yield start({"type": "text", "text": ""})
    async for piece in pieces:
        yield block_delta({"type": "text_delta", "text": piece})
    yield stop()
    for last in END_CLAUDE:
        yield last


async def spoken_native(pieces: Pieces) -> AsyncIterator[bytes]:
    """The script's events, with other deltas, and their text in place of its own."""
    script, numbers, said = list(ResponsesScript("gpt-text").events()), itertools.count(), ""
    places = [place for place, event in enumerate(script) if event["type"] == DELTA]
    delta = script[places[0]]

    def told(event: Json) -> bytes:
        return frame(event | {"sequence_number": next(numbers)}, event["type"])

    for event in script[: places[0]]:
        yield told(event)
    async for piece in pieces:
        said += piece
        yield told(delta | {"delta": piece})
    for event in script[places[-1] + 1 :]:
        yield told(json.loads(json.dumps(event).replace(TEXT, said)))


SPOKEN: dict[str, Callable[[Pieces], AsyncIterator[bytes]]] = {
    "/v1/chat/completions": spoken_chat,
    "/v1/messages": spoken_anthropic,
    "/v1/responses": spoken_native,
}


class Provider:
    """Says pieces at a pace to whoever asks, until ``ended`` is set; ``said`` holds them."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.said: dict[str, list[str]] = {}

    async def listen(self) -> str:
        """Where it is."""
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        said = self.said.setdefault((await request.json())["model"], [])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for each in SPOKEN[request.path](self._pieces(said)):
            await response.write(each)
        await response.write_eof()
        return response

    async def _pieces(self, said: list[str]) -> AsyncIterator[str]:
        begun = time.monotonic()
        for number in itertools.count():
            if self.ended.is_set():
                return
            await asyncio.sleep(max(0, begun + number / PER_SECOND - time.monotonic()))
            piece = f"{number}:{time.monotonic_ns()};"
            said.append(piece)
            yield piece


@dataclass
class Stream:
    """One turn on a socket of its own, as its client hears it."""

    model: str
    events: list[Json] = field(default_factory=list)
    is_flowing: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""  # why it was cut off

    def problems(self, said: list[str]) -> list[str]:
        """What is not as it should be: each event once, the whole text, and its end."""
        if self.reason or not self.events or self.events[-1]["type"] != "response.completed":
            return [self.reason or str(self.events[-1:])[:500]]
        text = "".join(event["delta"] for event in self.events if event["type"] == DELTA)
        return check_events(self.events) + ["another text"] * (text != "".join(said))


class Streams:
    """The jobs of this process."""

    def __init__(self) -> None:
        self._provider = Provider()
        self._streams: list[Stream] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._late: list[int] = []  # ns, of each piece since the last look

    async def do(self, job: Json) -> Json:
        """One job, by its name."""
        jobs = {"serve": self.serve, "open": self.open, "look": self.look, "end": self.end}
        return await jobs[job.pop("do")](**job)

    async def serve(self) -> Json:
        """The provider's address."""
        return {"url": await self._provider.listen()}

    async def open(self, url: str, key: str, models: list[str]) -> Json:
        """A stream of each model; they flow when this is answered, or have ended."""
        self._streams = [Stream(model) for model in models]
        self._tasks = [
            asyncio.create_task(self._listen(url, key, stream)) for stream in self._streams
        ]
        flowing = [asyncio.create_task(stream.is_flowing.wait()) for stream in self._streams]
        async with asyncio.timeout(HANG_SECONDS):
            for task, flows in zip(self._tasks, flowing, strict=True):
                await asyncio.wait([task, flows], return_when=asyncio.FIRST_COMPLETED)
        self._late.clear()
        return {"flowing": sum(stream.is_flowing.is_set() for stream in self._streams)}

    async def look(self) -> Json:
        """How late the pieces were since the last look, in ms."""
        late = sorted(self._late)
        self._late.clear()
        at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        found = {
            name: late[min(len(late) - 1, int(len(late) * part))] / 1e6 if late else 0.0
            for name, part in at.items()
        }
        return found | {"pieces": len(late)}

    async def end(self) -> Json:
        """Let the provider end; what was wrong with each stream, its id and its text."""
        self._provider.ended.set()
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(*self._tasks)
        ids = {stream.model: _id_of(stream) for stream in self._streams}
        said = {stream.model: self._said(stream.model) for stream in self._streams}
        problems = [
            f"{stream.model}: {problem}"
            for stream in self._streams
            for problem in stream.problems(said[stream.model])
        ]
        texts = {ids[model]: "".join(pieces) for model, pieces in said.items()}
        return {"problems": problems, "texts": texts}

    def _said(self, model: str) -> list[str]:
        """By the provider: its names end as ours do."""
        name = model.rpartition("-")[2]
        return next((said for known, said in self._provider.said.items() if name in known), [])

    async def _listen(self, url: str, key: str, stream: Stream) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(url, max_msg_size=0) as socket,
        ):
            create = {"type": "response.create", "model": stream.model, "input": "go"}
            await socket.send_json(create)
            async for message in socket:
                event = orjson.loads(message.data)
                stream.events.append(event)
                self._note(stream, event)
                if event["type"] in TERMINALS:
                    return
            stream.reason = f"closed with {socket.close_code}"

    def _note(self, stream: Stream, event: Json) -> None:
        now = time.monotonic_ns()
        if event["type"] == DELTA:
            self._late += [now - int(said) for said in STAMP.findall(event["delta"])]
        if len(stream.events) > BEGUN + 4:
            stream.is_flowing.set()


def _id_of(stream: Stream) -> str:
    return next((each["response"]["id"] for each in stream.events if "response" in each), "")


async def main() -> None:
    streams = Streams()
    while line := await asyncio.to_thread(sys.stdin.readline):  # all goes on meanwhile
        sys.stdout.write(f"{orjson.dumps(await streams.do(orjson.loads(line))).decode()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
