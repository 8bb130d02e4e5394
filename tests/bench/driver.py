"""The clients: a process that runs one job a line and answers with what it saw.

A job connects all its streams, says ``ready``, waits for a line, then starts them at once; so the
CPU of a window holds no accepts. While it runs, a frame is only kept with its time; it is read, and
the answers are proved whole, when all is over.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import uvloop

from tests.bench.loads import STARTER_DELTAS, STARTER_RATE, STARTS_AFTER_SECONDS
from tests.bench.turns import DIALECTS
from tests.bench.wire import Frame, cut, is_last, prompt, stamps

Json = dict[str, Any]
Answer = tuple[int, list[Frame]]  # when it was asked for (ns), and all its frames
Ask = Callable[[], Awaitable[Answer]]
LIMIT_SECONDS = 120  # above the pace, until a window counts as stuck


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def ask_socket(socket: aiohttp.ClientWebSocketResponse, create: str) -> Answer:
    """One answer over a WebSocket."""
    asked = time.monotonic_ns()
    await socket.send_str(create)
    frames: list[Frame] = []
    while True:
        data = await socket.receive_str()
        frames.append((time.monotonic_ns(), data))
        if is_last(data):
            return asked, frames


async def ask_upstream(session: aiohttp.ClientSession, url: str, body: bytes) -> Answer:
    """One answer straight from the upstream."""
    frames: list[Frame] = []
    rest = b""
    asked = time.monotonic_ns()
    async with session.post(url, data=body) as answer:
        async for data in answer.content.iter_any():
            now = time.monotonic_ns()
            events, rest = cut(rest + data)
            frames.extend((now, event) for event in events)
    return asked, frames


async def connect(session: aiohttp.ClientSession, job: Json, stack: AsyncExitStack) -> Ask:
    """One stream's way to ask, connected where that is possible beforehand."""
    asked = prompt(job["deltas"], job["rate"])
    if job["subject"] == "direct":
        path, _ = DIALECTS[job["dialect"]]
        said = {"input": asked, "messages": [{"role": "user", "content": asked}]}
        body = orjson.dumps({"model": "bench", "stream": True} | said)
        return lambda: ask_upstream(session, job["url"] + path, body)
    url = f"{job['url']}/v1/responses"
    headers = {"Authorization": f"Bearer {job['key']}"} if job["key"] else {}
    opening = session.ws_connect(url, headers=headers, max_msg_size=0)
    socket = await stack.enter_async_context(opening)
    create = {"type": "response.create", "model": job["dialect"], "input": asked}
    text = orjson.dumps(create | job["options"]).decode()
    return lambda: ask_socket(socket, text)


async def repeat(ask: Ask, times: int) -> list[Answer]:
    return [await ask() for _ in range(times)]


async def run(job: Json) -> Json:
    """Run one job between ``ready`` and the line that lets it go."""
    limit = LIMIT_SECONDS + (job["deltas"] / job["rate"] if job["rate"] else 0)
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        asks = [await connect(session, job, stack) for _ in range(job["streams"])]
        short = job | {"deltas": STARTER_DELTAS, "rate": STARTER_RATE}
        starters = [await connect(session, short, stack) for _ in range(job["starters"])]
        say({"ready": True})
        sys.stdin.readline()
        begin = time.monotonic()
        async with asyncio.timeout(limit):
            running = asyncio.gather(*(repeat(ask, job["repeats"]) for ask in asks))
            started = await start_together(starters)
            streams = await running
        seconds = time.monotonic() - begin
        say({"done": True})
    answers = [answer for answers in streams for answer in answers]
    told = seen(answers, job["deltas"], seconds, is_foreign=job["is_foreign"])
    return told | (beside(answers, job["deltas"], started) if started else {})


async def start_together(starters: list[Ask]) -> list[Answer]:
    """Ask for all of them at once, when the others have been running for a while."""
    if starters:
        await asyncio.sleep(STARTS_AFTER_SECONDS)
    return await asyncio.gather(*(ask() for ask in starters))


def beside(answers: list[Answer], deltas: int, started: list[Answer]) -> Json:
    """What running streams noticed of many others' start, and how long that start took.

    It is from the moment when they asked to the last one's first event.
    """
    for _, frames in started:
        stamps(frames, STARTER_DELTAS)
    begin, end = min(asked for asked, _ in started), max(frames[0][0] for _, frames in started)
    late = [
        milliseconds(at, sent)
        for _, frames in answers
        for at, sent in stamps(frames, deltas)
        if begin <= sent <= end
    ]
    told = {"beside_p50_ms": percentile(late, 0.50), "beside_p99_ms": percentile(late, 0.99)}
    return told | {"beside_worst_ms": max(late), "all_begun_ms": milliseconds(end, begin)}


def seen(answers: list[Answer], deltas: int, seconds: float, *, is_foreign: bool = False) -> Json:
    """What the clients saw; raises if an answer was not whole."""
    marks = [stamps(frames, deltas, is_foreign=is_foreign) for _, frames in answers]
    every = [milliseconds(at, sent) for answer in marks for at, sent in answer]
    steady = steady_state(marks) or every
    return {
        "seconds": seconds,
        "deltas": len(every),
        "frames": sum(len(frames) for _, frames in answers),
        "p50_ms": percentile(steady, 0.50),
        "p99_ms": percentile(steady, 0.99),
        "p99_with_starts_ms": percentile(every, 0.99),
        "first_event_ms": [milliseconds(frames[0][0], asked) for asked, frames in answers],
        "first_delta_ms": [
            milliseconds(mark[0][0], asked) for (asked, _), mark in zip(answers, marks, strict=True)
        ],
    }


def steady_state(marks: list[list[tuple[int, int]]]) -> list[float]:
    """Latencies while every stream was running: after the last start, before the first end."""
    begin = max(answer[0][0] for answer in marks)
    end = min(answer[-1][1] for answer in marks)
    return [milliseconds(at, sent) for mark in marks for at, sent in mark if begin <= sent <= end]


def milliseconds(later: int, earlier: int) -> float:
    return (later - earlier) / 1e6


def say(message: Json) -> None:
    sys.stdout.write(f"{orjson.dumps(message).decode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    gc.disable()  # its pauses would read as the subject's latency; it runs between the jobs
    for line in iter(sys.stdin.readline, ""):
        say(uvloop.run(run(orjson.loads(line))))
        gc.collect()
