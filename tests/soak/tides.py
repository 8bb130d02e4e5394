"""Tide after tide: clients come, all go, and what the servers hold then is read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import redis.asyncio
from faults.rounds import CRIES
from support.fleet import Bridge, models_for
from support.redis_servers import Node, Process, valkey_binary
from upstreams import FakeProviders

from soak import collecting
from soak.asking import Wrong
from soak.judge import (
    BLOCKS,
    CPU,
    FDS,
    IN_USE,
    KEYS,
    RSS,
    STORED,
    TASKS,
    TO_PROVIDERS,
    TO_STORE,
    Place,
    Sample,
)
from soak.visits import KINDS, Visitor
from tests.bench import gauges
from ws_bridge.store.redis.health import SHARED_KEY
from ws_bridge.store.redis.keys import lease_indexes

TIDE_SECONDS = 30.0  # a tide and its ebb, where the machine is fast enough
FLOOD_SECONDS = 20.0  # visits begin in this time; the last of them take a while
VISITS = 300  # of a tide
TTL_SECONDS = 60  # of what is stored: keys must level off within the warm-up
SAMPLE_SECONDS = 2.0
VISIT_SECONDS = 60.0
EBB_SECONDS = 20.0  # from the last client's end to a server at rest, at most
DRY_SECONDS = 20.0  # above what a key lives, until the store must be empty
STILL_SECONDS = 0.5  # after which what was closed is closed on both sides
AT_REST = ("connections", "lanes", "responses_running", "store_lag_events")
LEDGER = re.compile(rb"wb1:(?:ledger$|\{p\d+\}:u[sdb]?:)")
ANSWERS, AGAIN = "answers checked", "asked again, the store being late"
WARNING = re.compile(r" WARNING \S+ (\w+)")
GAUGE = re.compile(r"^ws_bridge_(\w+) (\S+)$", re.MULTILINE)
SAID = re.compile(rf"^{collecting.SAYS}(\S+)$", re.MULTILINE)


class Collecting(Bridge):
    """A bridge that collects its garbage when it is asked to."""

    program = collecting.PROGRAM
    process = Process

    async def collect(self) -> float:
        """MiB that malloc has given away, when there is no garbage."""
        known = len(self.log())
        os.kill(self.pid, collecting.ASKS)
        async with asyncio.timeout(EBB_SECONDS):
            while not (said := SAID.search(self.log(), known)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        return float(said[1])


@dataclass(frozen=True)
class Field:
    """What runs."""

    bridges: Sequence[Collecting]
    node: Node
    fake: FakeProviders
    ttl_seconds: float
    began: float = field(default_factory=time.monotonic)


@dataclass
class Seen:
    """All that a run has seen."""

    samples: list[Sample] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)  # of the servers' logs


@contextlib.asynccontextmanager
async def field_of(servers: int, ttl_seconds: float = TTL_SECONDS) -> AsyncIterator[Field]:
    """Bridges on one store, and the providers."""
    with Node(valkey_binary()) as node, FakeProviders() as fake:
        config = {
            "server": {"drain_seconds": 5, "log_level": "warning"},
            "store": {"url": node.url, "ttl_seconds": ttl_seconds},
            "limits": {"unread_seconds": 2},
            "models": models_for(fake),
        }
        async with contextlib.AsyncExitStack() as ends:
            bridges = [Collecting(config) for _ in range(servers)]
            await asyncio.gather(*(ends.enter_async_context(bridge) for bridge in bridges))
            await asyncio.gather(*(bridge.wait_ready() for bridge in bridges))
            yield Field(bridges, node, fake, ttl_seconds)


async def soak(on: Field, seen: Seen, seed: int, seconds: float, visits: int = VISITS) -> None:
    """Tides until the time is over; the samples and what was wrong are in ``seen``."""
    end = time.monotonic() + seconds
    sampling = asyncio.create_task(_sample_on(on, seen))
    try:
        for number in range(10_000):
            if number and time.monotonic() >= end:
                break
            begun = time.monotonic()
            await tide(on, seen, f"{seed}.{number}", visits)
            left = min(end, begun + TIDE_SECONDS) - time.monotonic()
            await asyncio.sleep(max(0, left))  # the same load in every minute
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    await _dry(on, seen)
    await _stop(on, seen)


async def tide(on: Field, seen: Seen, name: str, visits: int) -> None:
    """One flood and one ebb; the same kinds of visits in each, when they come is the die's."""
    dice = random.Random(name)  # noqa: S311 - a die that can be thrown again
    counts = {kind: max(1, share * visits // 100) for kind, share in KINDS.items()}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    urls = [bridge.url for bridge in on.bridges]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        visitors = [Visitor(urls, session, random.Random(dice.random())) for _ in kinds]  # noqa: S311
        flood = FLOOD_SECONDS * min(1, visits / VISITS)
        # Each kind comes evenly: chance meetings of the dear ones would read as growth of memory.
        waits = [
            flood * (turn + dice.random()) / count
            for count in counts.values()
            for turn in range(count)
        ]
        together = zip(kinds, visitors, waits, strict=True)
        await asyncio.gather(*(_visit(seen, name, *each) for each in together))
    on.fake.log.clear()  # the provider's own memory is no matter of the bridge's
    await _ebb(on, seen, name)


async def _visit(
    seen: Seen,
    name: str,
    kind: Callable[[Visitor], Awaitable[None]],
    visitor: Visitor,
    wait: float,
) -> None:
    await asyncio.sleep(wait)
    try:
        async with asyncio.timeout(VISIT_SECONDS):
            await kind(visitor)
    except (Wrong, TimeoutError, aiohttp.ClientError, OSError) as wrong:
        seen.problems.append(f"tide {name}, {kind.__name__}: {wrong!r}")
    seen.counts[kind.__name__] += 1
    seen.counts[ANSWERS] += visitor.answers
    seen.counts[AGAIN] += visitor.again


async def _ebb(on: Field, seen: Seen, name: str) -> None:
    """Wait for the servers to come to rest, and read what they hold then."""
    deadline = time.monotonic() + EBB_SECONDS
    async with (
        aiohttp.ClientSession() as session,
        redis.asyncio.Redis.from_url(on.node.url) as store,
    ):
        while left := await _unrest(on, session, store):
            if time.monotonic() > deadline:
                seen.problems.append(f"tide {name}: no rest after {EBB_SECONDS:g} s: {left}")
                break
            await asyncio.sleep(0.1)
    await asyncio.sleep(STILL_SECONDS)
    seen.samples.append(await sample(on, is_ebb=True))


async def _unrest(
    on: Field, session: aiohttp.ClientSession, store: redis.asyncio.Redis
) -> list[str]:
    """What still runs, and what providers still say."""
    left = []
    for number, bridge in enumerate(on.bridges):
        shown = await _gauges(session, bridge)
        left += [f"server {number} {key} {shown[key]:g}" for key in AT_REST if shown.get(key)]
    pipe = store.pipeline()
    for index in lease_indexes():
        pipe.zcard(index)
    left += [f"{leases} leases"] if (leases := sum(await pipe.execute())) else []
    return left + ([f"{streams} streams"] if (streams := on.fake.live["open"]) else [])


async def _dry(on: Field, seen: Seen) -> None:
    """Nobody comes any more: all that was stored must expire."""
    deadline = time.monotonic() + on.ttl_seconds + DRY_SECONDS
    async with redis.asyncio.Redis.from_url(on.node.url) as store:
        while left := await _kept(store):
            if time.monotonic() > deadline:
                seen.problems.append(f"{len(left)} keys are for ever, such as {left[:5]}")
                break
            await asyncio.sleep(0.5)


async def _kept(store: redis.asyncio.Redis) -> list[bytes]:
    """What is in the store, but for the stones of deleted responses, which stay for an hour.

    The one key that all servers share, and the ledger, stay for months: the ledger has so many keys
    for a day, however much is booked.
    """
    return [
        key
        async for key in store.scan_iter(count=1000)
        if key != SHARED_KEY.encode()
        and (b":m:" not in key or await store.hget(key, "st") != b"deleted")
        and (not LEDGER.match(key) or await store.pttl(key) < 0)
    ]


async def _sample_on(on: Field, seen: Seen) -> None:
    while True:
        seen.samples.append(await sample(on, is_ebb=False))
        await asyncio.sleep(SAMPLE_SECONDS)


async def sample(on: Field, *, is_ebb: bool) -> Sample:
    """Read everything now. Connections of its own, closed before the kernel is asked."""
    values: dict[Place, float] = await _collected(on) if is_ebb else {}
    async with (
        aiohttp.ClientSession() as session,
        redis.asyncio.Redis.from_url(on.node.url) as store,
    ):
        for number, bridge in enumerate(on.bridges):
            shown = await _gauges(session, bridge)
            values[TASKS, f"server {number}"] = shown["tasks"]
            values[BLOCKS, f"server {number}"] = shown["blocks"]
            values["connections", f"server {number}"] = shown["connections"]
        values[KEYS, "store"] = await store.dbsize()
        values[STORED, "store"] = (await store.info("memory"))["used_memory"] / 2**20
    for number, bridge in enumerate(on.bridges):
        who = f"server {number}"
        values[RSS, who] = gauges.rss_mib(bridge.pid)
        peers = gauges.sockets_to(bridge.pid)
        values[TO_STORE, who] = peers[on.node.port]
        values[TO_PROVIDERS, who] = peers[urlsplit(on.fake.base_url).port or 0]
        pooled = values[TO_STORE, who] + values[TO_PROVIDERS, who]
        values[FDS, who] = gauges.descriptors(bridge.pid) - pooled
        values[CPU, who] = gauges.cpu_ns(bridge.pid) / 1e9  # so far; a rate in the report
    return Sample(time.monotonic() - on.began, is_ebb, values)


async def _collected(on: Field) -> dict[Place, float]:
    """Let all garbage be collected, twice: what is found may have to come to an end first."""
    for bridge in on.bridges:
        await bridge.collect()
    await asyncio.sleep(STILL_SECONDS)
    return {
        (IN_USE, f"server {number}"): await bridge.collect()
        for number, bridge in enumerate(on.bridges)
    }


async def _gauges(session: aiohttp.ClientSession, bridge: Bridge) -> dict[str, float]:
    async with session.get(bridge.url + "/metrics", headers={"Connection": "close"}) as got:
        return {name: float(value) for name, value in GAUGE.findall(await got.text())}


async def _stop(on: Field, seen: Seen) -> None:
    """End the servers in order, and read what they logged."""
    for number, bridge in enumerate(on.bridges):
        if (code := await bridge.terminate()) != 0:
            seen.problems.append(f"server {number} ended with {code}")
        seen.warnings.update(WARNING.findall(bridge.log()))
        cries = Counter(CRIES.findall(bridge.log()))
        seen.problems += [f"server {number} logged {n} x {cry}" for cry, n in cries.most_common(20)]
