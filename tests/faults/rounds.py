"""One round: clients and faults side by side, then quiet, then the check."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import redis.asyncio
from support.fleet import Bridge, models_for
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import Proxy
from upstreams import FakeProviders

from faults.clients import Clients
from faults.nemesis import STORE, Nemesis, Stage
from faults.trace import Trace
from faults.verdict import (
    Finals,
    Surroundings,
    concerns,
    is_ahead,
    is_contradicted,
    is_taken,
    judge,
)

LEASE_SECONDS = 2
END_WAITS = 4  # an end, for a store that is away
GRACE_SECONDS = (
    45  # and a lease: so long after the last fault all must have ended, on a busy machine
)
SERVERS = 2
TOGETHER = 60  # responses at a time
CALM_SECONDS = 60  # for a read after the round
MODELS = (
    *(f"native-slow-big{count}" for count in (20, 40, 80)),
    *(f"chat-slow-big{count}" for count in (20, 40, 80)),
    "anthropic-slow-text",
)
DEGRADED = re.compile(r"store_degraded id=(\w+)")
UNCONFIRMED = re.compile(r"end_unconfirmed id=(\w+)")
NEWS = re.compile(r" (store_(?!degraded)\w+|hints_\w+|mirror_\w+|stood_still|ready|stopped)")
# What the documents say may be: sockets that were told of a takeover, in the place of the log's
# end; those that were ahead of the log; ends that were told without the store; and those of them
# that the store has otherwise.
EXCEPTIONS = ("taken", "ahead", "unconfirmed", "contradicted")
CRIES = re.compile(r"^.* ERROR .*$|^Traceback.*$|^\w*Error: .*$", re.MULTILINE)


@dataclass(frozen=True)
class Field:
    """Where rounds are played."""

    bridges: Sequence[Bridge]
    node: Node
    fake: FakeProviders
    lines: Sequence[Proxy]  # from each server to the store

    @property
    def urls(self) -> list[str]:
        """Of the servers."""
        return [bridge.url for bridge in self.bridges]


@dataclass
class Result:
    """What became of a round."""

    seed: int
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def field_of(**store: Any) -> AsyncIterator[Field]:
    """Two bridges, each with a line to one store that keeps what it has on disk; the providers."""
    async with contextlib.AsyncExitStack() as ends:
        node = ends.enter_context(Node(valkey_binary(), aof=True))
        fake = ends.enter_context(FakeProviders())
        lines = [await ends.enter_async_context(Proxy(node.port)) for _ in range(SERVERS)]
        bridges = []
        for line in lines:
            kept = {"url": f"redis://127.0.0.1:{line.port}", "lease_seconds": LEASE_SECONDS}
            config = {
                "server": {"drain_seconds": 1},
                "store": kept | {"end_waits_seconds": END_WAITS, **store},
                "models": models_for(fake),
            }
            bridges.append(await ends.enter_async_context(Bridge(config)))
        for bridge in bridges:
            await bridge.wait_ready()
        yield Field(bridges, node, fake, lines)


async def play(on: Field, seed: int, responses: int) -> Result:
    """One round. Every fault is healed when it returns, and nothing runs any more."""
    on.fake.log.clear()
    logged = [len(bridge.log()) for bridge in on.bridges]
    dice = random.Random(seed)  # noqa: S311 - a die that can be thrown again
    stage = Stage(on.bridges, on.node, on.lines, LEASE_SECONDS, END_WAITS)
    nemesis = Nemesis(stage, random.Random(dice.random()))  # noqa: S311
    result, began = Result(seed), time.monotonic()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        clients = Clients(on.urls, MODELS, session, f"s{seed}")
        await _clash(clients, nemesis, dice, responses)
        left = await _calm(on, clients)
        result.violations += [f"seed {seed}: {problem}" for problem in left]
        for trace in clients.traces:
            async with asyncio.timeout(CALM_SECONDS):
                await _check(on, clients, trace, nemesis, result)
    for number, (bridge, known) in enumerate(zip(on.bridges, logged, strict=True)):
        cries = CRIES.findall(bridge.log()[known:])
        result.violations += [f"seed {seed}: server {number} logged {cry}" for cry in cries]
    result.counts.update(fault.kind for fault in nemesis.done)
    result.counts["faults"] = len(nemesis.done)
    result.seconds = time.monotonic() - began
    return result


async def _clash(clients: Clients, nemesis: Nemesis, dice: random.Random, responses: int) -> None:
    """All responses, under faults; the faults end with the last client."""
    free = asyncio.Semaphore(TOGETHER)

    async def ask(number: int, die: random.Random) -> None:
        async with free:
            await clients.ask(number, die)

    faults = asyncio.create_task(nemesis.run())
    dies = [random.Random(dice.random()) for _ in range(responses)]  # noqa: S311 - as above
    try:
        await asyncio.gather(*(ask(number, die) for number, die in enumerate(dies)))
    finally:
        nemesis.stop()
        await faults


async def _calm(on: Field, clients: Clients) -> list[str]:
    """Wait until nothing runs any more, no longer than promised; what still does."""
    deadline = time.monotonic() + LEASE_SECONDS + GRACE_SECONDS
    async with redis.asyncio.Redis.from_url(on.node.url) as client:
        while left := await _left(on, client):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
    # Readers hear of an end at once, or with the next look at what they follow (5 s).
    await clients.companions_end(max(deadline - time.monotonic(), 6))
    return left


async def _left(on: Field, client: redis.asyncio.Redis) -> list[str]:
    """Responses without an end, leases, and streams of providers that are open."""
    left = [
        f"{key.decode()} is in progress"
        async for key in client.scan_iter("wb1:*:m:*", count=1000)
        if await client.hget(key, "st") == b"in_progress"
    ]
    async for key in client.scan_iter("wb1:*:l", count=1000):
        left += [f"{id_.decode()} has a lease" for id_ in await client.zrange(key, 0, -1)]
    if on.fake.live["open"]:
        left.append(f"{on.fake.live['open']} streams of providers are open")
    return left


async def _check(
    on: Field, clients: Clients, trace: Trace, nemesis: Nemesis, result: Result
) -> None:
    finals = await _finals(clients, trace) if trace.id else Finals((), ())
    asked = list(_bodies(on.fake, trace.tag))
    around = Surroundings(
        nemesis.done,
        is_degraded=_is_said(on, DEGRADED, trace),
        is_unconfirmed=_is_said(on, UNCONFIRMED, trace),
        asked=len(asked),
        heard=asked[-1] if asked else "",
    )
    found = list(judge(trace, finals, around))
    was_lost = trace.parent and _is_said(on, UNCONFIRMED, trace.parent)
    if trace.refusal and "previous" in str(trace.refusal) and trace.parent and not was_lost:
        found += await _refused_in_vain(clients, trace, nemesis)
    for observer in trace.followers:
        if not observer.has_ended and finals.answers and finals.answers[0][0] == 200:
            found.append(f"{observer.who} never heard the end")
    where = f"seed {result.seed} {trace.tag} {trace.kind} {trace.id or '(no id)'}"
    result.violations += [f"{where}: {problem}" for problem in found]
    if found:
        result.violations += _evidence(on, trace, nemesis)
    _count(trace, finals, around, result.counts)


def _is_said(on: Field, word: re.Pattern[str], trace: Trace) -> bool:
    """Whether a server's log says it of the response."""
    return bool(trace.id) and any(trace.id in word.findall(each.log()) for each in on.bridges)


async def _refused_in_vain(clients: Clients, trace: Trace, nemesis: Nemesis) -> list[str]:
    """A parent that can be gone on from, and was not."""
    assert trace.parent is not None
    status, body = await clients.get(0, trace.parent.id)
    is_fine = status == 200 and orjson.loads(body)["status"] == "completed"
    was_away = any(concerns(nemesis.done, one, STORE) for one in (trace, trace.parent))
    return [f"{trace.refusal} though its parent is there"] if is_fine and not was_away else []


async def _finals(clients: Clients, trace: Trace) -> Finals:
    answers, replays = [], []
    for server in range(SERVERS):
        answers.append(await clients.get(server, trace.id))
        replay = b""
        if answers[-1][0] == 200 and orjson.loads(answers[-1][1])["status"] != "in_progress":
            _, replay = await clients.get(server, f"{trace.id}?stream=true")
        replays.append(re.findall(rb"^data: (\{.*)$", replay, re.MULTILINE))
    return Finals(answers, replays)


def _bodies(fake: FakeProviders, tag: str) -> Iterator[str]:
    """What providers were sent for one response: its tag is the last of those that they heard."""
    for entry in list(fake.log):
        text = orjson.dumps(entry["body"]).decode() if entry["body"] else ""
        tags = re.findall(r"tag (s\d+\.\d+\.)", text)
        if tags and tags[-1] == tag:
            yield text


def _evidence(on: Field, trace: Trace, nemesis: Nemesis) -> Iterator[str]:
    """What else may tell how it came: faults by their times, and the servers' logs."""
    yield (
        f"    {trace.model} on {trace.server} from {_log_time(trace.began)[11:]}, "
        f"cancel {trace.cancel!r}, ended {_log_time(trace.ended)[11:] if trace.ended else 'unseen'}"
    )
    for fault in nemesis.done:
        began, ended = fault.began - trace.began, fault.ended - trace.began
        yield f"    {fault.kind} of {fault.target} from {began:.1f} to {ended:.1f} s"
    for number, bridge in enumerate(on.bridges):
        for line in bridge.log().splitlines():
            is_near = _log_time(trace.began - 1) <= line[:23] <= _log_time(trace.began + 15)
            if (trace.id and trace.id in line) or (is_near and NEWS.search(line)):
                yield f"    server {number}: {line}"


def _log_time(monotonic: float) -> str:
    """A moment as the servers' logs write it."""
    seconds = time.time() - time.monotonic() + monotonic
    return (
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f",{seconds % 1 * 1000:03.0f}"
    )


def _count(trace: Trace, finals: Finals, around: Surroundings, counts: Counter[str]) -> None:
    counts["responses"] += 1
    counts["refused"] += trace.refusal is not None
    counts["broken"] += trace.is_cut
    counts["left"] += trace.has_left
    counts["chained"] += trace.parent is not None
    counts["degraded"] += around.is_degraded
    counts["taken"] += is_taken(trace)
    counts["unconfirmed"] += around.is_unconfirmed
    counts["contradicted"] += is_contradicted(trace, finals)
    counts["asked twice"] += around.asked > 1
    counts["followers"] += len(trace.followers)
    counts["polls"] += len(trace.polls)
    if finals.answers and finals.answers[0][0] == 200 and finals.replays[0]:
        counts[orjson.loads(finals.answers[0][1])["status"]] += 1
        counts["ahead"] += is_ahead(trace, orjson.loads(finals.replays[0][-1]))
        counts["gaps"] += any(b'"gap":{' in text for text in finals.replays[0])
    elif trace.id:
        counts["lost"] += 1


def table(results: Sequence[Result]) -> str:
    """A row a round."""
    names = (
        *("responses", "completed", "failed", "cancelled", "refused", "broken", "left", "chained"),
        *("degraded", "lost", "gaps", "asked twice", "followers", "polls", "faults"),
        *("kill", "freeze", "pause", "store kill", "store freeze", "hints kill", "scripts flush"),
        *("reset", "cut", "half open", "long cut"),
        *EXCEPTIONS,
    )
    rows = [["seed", *(str(one.seed) for one in results)]]
    rows.append(["seconds", *(f"{one.seconds:.0f}" for one in results)])
    rows += [[name, *(str(one.counts[name]) for one in results)] for name in names]
    rows.append(["violations", *(str(len(one.violations)) for one in results)])
    width = max(len(row[0]) for row in rows)
    return "\n".join(
        row[0].ljust(width) + "".join(cell.rjust(7) for cell in row[1:]) for row in rows
    )
