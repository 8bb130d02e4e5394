"""What the shared store costs: commands, bytes, memory, and how late followers elsewhere are.

The writer is a process of its own; the store's server is the one that the tests use.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import redis
import uvloop

from tests.bench.driver import percentile
from tests.bench.processes import ROOT, surroundings
from ws_bridge.clock import Clock
from ws_bridge.jobs.backlog import MirrorListener
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.protocol.events import COMPLETED, Draft, Event
from ws_bridge.protocol.response import Envelope
from ws_bridge.store.base import Record
from ws_bridge.store.redis.connect import parse_url
from ws_bridge.store.redis.store import RedisStore
from ws_bridge.stream import Stream

Json = dict[str, Any]

DELTAS = 1000
RATE = 100  # deltas a second of one response
FOLLOWERS = (1, 100, 5000)  # responses that one process follows
TOTAL_RATE = 1000  # deltas a second of all followed responses together
EVENTS_EACH = 3
SETTLE_SECONDS = 5.0
OWNER = "bench"


def new_store(url: str) -> RedisStore:
    return RedisStore(parse_url(url), ttl_seconds=600, lease_seconds=60, now=time.monotonic)


def delta(number: int) -> Event:
    """A delta of a realistic size, with the time in it."""
    fields = {
        "item_id": "msg_68a1f2c0e4b0819fa3d2c1b0a9f8e7d6",
        "output_index": 0,
        "content_index": 0,
        "delta": f" {time.monotonic_ns()}",
        "logprobs": [],
    }
    return Event.of(Draft("response.output_text.delta", fields), number, None)


def terminal(response_id: str, number: int) -> Event:
    response = Envelope(response_id, "m", 0).snapshot("completed")
    return Event.of(Draft(COMPLETED, {"response": response}), number, None)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one response of 1,000 deltas, mirrored at 100 a second."""

    commands: float
    kib_sent: float
    bytes_per_event_at_rest: float


async def cost(url: str, responses: int = 5) -> Cost:
    """Mirror some responses as a bridge would, and ask the server what it had to do."""
    server = redis.Redis.from_url(url)
    server.flushall()
    store = new_store(url)
    await store.open()
    mirror = Mirror(store, MirrorTiming(), Clock())
    flusher = asyncio.create_task(mirror.run())
    before = server.info("stats")
    ids = [f"resp_{index:048d}" for index in range(responses)]
    await asyncio.gather(*(_mirrored(mirror, response_id) for response_id in ids))
    after = server.info("stats")
    flusher.cancel()
    await asyncio.gather(flusher, return_exceptions=True)
    await store.close()
    kept = sum(server.memory_usage(key, samples=0) for key in server.scan_iter("wb1:*:resp_*"))
    spent = {key: after[key] - before[key] for key in ("total_commands_processed",)}
    sent = after["total_net_input_bytes"] - before["total_net_input_bytes"]
    return Cost(
        commands=spent["total_commands_processed"] / responses,
        kib_sent=sent / 1024 / responses,
        bytes_per_event_at_rest=kept / responses / DELTAS,
    )


async def _mirrored(mirror: Mirror, response_id: str) -> None:
    stream = Stream()
    record = Record(response_id, OWNER, (), "bench|")
    listener = MirrorListener(cancelled=lambda: None, taken_over=lambda: None)
    await mirror.create(record, [], stream, listener)
    begin = time.monotonic()
    for number in range(DELTAS):
        await asyncio.sleep(max(0, begin + number / RATE - time.monotonic()))
        stream.append([delta(number)])
        mirror.notify_appended(response_id)
    end = [terminal(response_id, DELTAS)]
    await mirror.append_end(response_id, end)
    stream.append(end)
    stream.close()


async def write(url: str, count: int) -> None:
    """The writer's process: create, say so, wait for a line, then write in turn."""
    store = new_store(url)
    await store.open()
    mirror = Mirror(store, MirrorTiming(), Clock())
    store.set_callbacks(on_cancelled=lambda _: None, on_followed=mirror.mark_followed)
    streams = {f"resp_f{index:047d}": Stream() for index in range(count)}
    listener = MirrorListener(cancelled=lambda: None, taken_over=lambda: None)
    for response_id, stream in streams.items():
        await mirror.create(Record(response_id, OWNER, (), "bench|"), [], stream, listener)
    flusher = asyncio.create_task(mirror.run())
    sys.stdout.write("created\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    begin, sent = time.monotonic(), 0
    for number in range(_events_each(count)):
        for response_id, stream in streams.items():
            await asyncio.sleep(max(0, begin + sent / _rate(count) - time.monotonic()))
            stream.append([delta(number)])
            mirror.notify_appended(response_id)
            sent += 1
    for response_id, stream in streams.items():
        end = [terminal(response_id, _events_each(count))]
        await mirror.append_end(response_id, end)
        stream.append(end)
        stream.close()
    flusher.cancel()
    await asyncio.gather(flusher, return_exceptions=True)
    await store.close()


def _rate(count: int) -> float:
    return min(TOTAL_RATE, count * RATE)


def _events_each(count: int) -> int:
    return max(EVENTS_EACH, round(3 * _rate(count) / count))


async def lateness(url: str, count: int) -> list[float]:
    """Milliseconds from a delta's making to its arrival at who follows it elsewhere."""
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.store", url, str(count)),
        cwd=ROOT,
        env=surroundings(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdin and writer.stdout  # noqa: PT018 - pipes, both
    await writer.stdout.readline()
    store = new_store(url)
    await store.open()
    late: list[float] = []
    ids = [f"resp_f{index:047d}" for index in range(count)]
    followers = [asyncio.create_task(_follow(store, one, late)) for one in ids]
    await asyncio.sleep(SETTLE_SECONDS)  # until all of them have joined
    writer.stdin.write(b"go\n")
    await asyncio.gather(*followers)
    await writer.wait()
    await store.close()
    return late


async def _follow(store: RedisStore, response_id: str, late: list[float]) -> None:
    async for batch in store.read(response_id, OWNER):
        now = time.monotonic_ns()
        deltas = (event.json()["delta"] for event in batch if not event.is_terminal)
        late.extend((now - int(made)) / 1e6 for made in deltas)


def measure(url: str) -> Json:
    """All of it, as numbers."""
    spent = uvloop.run(cost(url))
    told: Json = {
        "commands per response": round(spent.commands, 1),
        "KiB sent per response": round(spent.kib_sent, 1),
        "bytes per event at rest": round(spent.bytes_per_event_at_rest, 1),
    }
    for count in FOLLOWERS:
        redis.Redis.from_url(url).flushall()
        late = uvloop.run(lateness(url, count))
        told[f"follower late by, {count} followed: p50 ms"] = round(percentile(late, 0.5), 2)
        told[f"follower late by, {count} followed: p99 ms"] = round(percentile(late, 0.99), 2)
    return told


if __name__ == "__main__":
    uvloop.run(write(sys.argv[1], int(sys.argv[2])))
