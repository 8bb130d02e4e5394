"""One round: streams of one key, all waves by another, and what is true afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from support.fleet import FAMILIES, Bridge, models_for
from support.redis_servers import Node, valkey_binary

from attack.provider import Hostile
from attack.waves import Attacker, Counts
from tests.bench.processes import Worker

Json = dict[str, Any]

STREAMS = 50
ATTACKERS, OTHERS = "key-of-the-attacker", "key-of-another"
LEASE_SECONDS = 20  # no server is starved for so long, and what 10,000 seals once cost is longer
LOOK_SECONDS = 0.1
GAUGE = re.compile(r"^ws_bridge_(\w+) (\S+)$", re.MULTILINE)
WARNING = re.compile(r" WARNING \S+ (\w+)")
CRIES = re.compile(r"^.*(?: ERROR |Traceback).*$", re.MULTILINE)
PEAK, NOW = "VmHWM", "VmRSS"

# In MiB; the defaults are many times as much, for machines of operators.
LIMITS = {
    "cached_mib_per_connection": 32,
    "cached_mib_per_key": 64,
    "cached_mib": 96,
    "response_mib": 8,
    "responses_mib_per_key": 24,
    "responses_mib": 48,
    "asked_mib_per_key": 192,
    "asked_mib": 256,
    "receiving_mib": 64,
    "followers": 100,
}
BACKLOG_MIB = 32
MESSAGE_MIB = 24  # the largest message: the attacker's
# What `/metrics` counts, and the limit of its sum.
COUNTED = {
    "cached_bytes": LIMITS["cached_mib"] * 2**20,
    # One alone may take more: five times the largest message, beside an eighth of the limit.
    "asked_bytes": max(LIMITS["asked_mib"], LIMITS["asked_mib"] // 8 + 5 * MESSAGE_MIB) * 2**20,
    "said_bytes": LIMITS["responses_mib"] * 2**20,
    "followers": LIMITS["followers"],
}


@dataclass
class Result:
    """What a round has seen."""

    problems: list[str] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)  # of both logs
    counts: Counts = field(default_factory=Counter)
    most: dict[str, float] = field(default_factory=dict)  # of each gauge, on the attacked server
    quiet: Json = field(default_factory=dict)  # how late pieces were, without the attack
    attacked: Json = field(default_factory=dict)
    seconds: float = 0.0  # of the attack
    before_mib: float = 0.0  # resident memory of the attacked server, the streams running
    peak_mib: float = 0.0
    sum_mib: float = 0.0  # that its limits allow beyond that, as it says itself
    let_say_mib: float = 0.0  # by the one answer without an end that was let say most


@contextlib.asynccontextmanager
async def streams() -> AsyncIterator[Worker]:
    """The process of the streams."""
    worker = await asyncio.to_thread(Worker, "tests.attack.streams")
    try:
        yield worker
    finally:
        await asyncio.to_thread(worker.stop)


async def play(quiet_seconds: float = 0.0) -> Result:
    """One round; the streams run so long before the attack comes."""
    result = Result()
    async with contextlib.AsyncExitStack() as ends:
        node = ends.enter_context(Node(valkey_binary()))
        hostile = await ends.enter_async_context(Hostile())
        worker = await ends.enter_async_context(streams())
        config = _config(node, hostile, (await _ask(worker, do="serve"))["url"])
        environ = {"ATTACKERS": ATTACKERS, "OTHERS": OTHERS}
        bridges = [Bridge(config, environ), Bridge(config, environ)]  # the other may take over
        for bridge in bridges:
            ends.callback(bridge.close)
            await bridge.start()
            await bridge.wait_ready()
        await _attack(result, bridges[0], worker, hostile, quiet_seconds)
        told = await _ask(worker, do="end")
        result.problems += told["problems"]
        for bridge in bridges:
            result.problems += [text async for text in _unlike(bridge, told["texts"])]
            result.problems += await _ended(bridge)
            result.warnings.update(WARNING.findall(bridge.log()))
    return result


async def _attack(
    result: Result, bridge: Bridge, worker: Worker, hostile: Hostile, quiet_seconds: float
) -> None:
    """Let the streams flow, and then all waves come; nothing is left of them afterwards."""
    families = [*FAMILIES]
    models = [f"{families[n % len(families)]}-stream{n:02}" for n in range(STREAMS)]
    told = await _ask(worker, do="open", url=bridge.ws_url, key=OTHERS, models=models)
    result.problems += [f"{told['flowing']} flow"] * (told["flowing"] != STREAMS)
    await asyncio.sleep(quiet_seconds)
    result.quiet = await _ask(worker, do="look")
    async with _reader() as session:
        await _count(session, bridge)  # tables of tokens are loaded at the first count
        result.sum_mib = (await _gauges(session, bridge))["held_bytes_limit"] / 2**20
    _forget_peak(bridge.pid)
    result.before_mib = _resident_mib(bridge.pid, NOW)
    begun = time.monotonic()
    attacker = Attacker(bridge.url, ATTACKERS, hostile)
    looking = asyncio.create_task(_look_on(bridge, result.most))
    try:
        await attacker.strike()
        result.seconds = time.monotonic() - begun
        result.attacked = await _ask(worker, do="look")
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    result.counts = attacker.counts
    result.peak_mib = _resident_mib(bridge.pid, PEAK)
    more = result.peak_mib - result.before_mib
    if more > result.sum_mib:
        result.problems.append(f"{more:.0f} MiB more than before, of {result.sum_mib:.0f}")
    result.problems += [
        f"{name}: {result.most[name]:,.0f} of {most:,}"
        for name, most in COUNTED.items()
        if result.most[name] > most
    ]
    result.let_say_mib = max(each.sent for each in hostile.endless) / 2**20


def _config(node: Node, hostile: Hostile, provider: str) -> Json:
    bad = models_for(hostile)  # type: ignore[arg-type]  # an address is all it takes
    for entry in bad:
        entry["name"] = f"bad-{entry['name']}"
    return {
        "server": {"drain_seconds": 5, "max_message_mib": MESSAGE_MIB},
        "auth": {"keys_env": ["ATTACKERS", "OTHERS"]},
        "store": {"url": node.url, "lease_seconds": LEASE_SECONDS, "backlog_mib": BACKLOG_MIB},
        "limits": {**LIMITS, "unread_seconds": 5},
        "models": [*bad, *models_for(SimpleNamespace(base_url=provider))],
    }


async def _ask(worker: Worker, **job: Any) -> Json:
    return await asyncio.to_thread(worker.ask, **job)


async def _look_on(bridge: Bridge, most: dict[str, float]) -> None:
    """Note the most of each gauge, again and again."""
    async with _reader() as session:
        while True:
            for name, value in (await _gauges(session, bridge)).items():
                most[name] = max(most.get(name, 0.0), value)
            await asyncio.sleep(LOOK_SECONDS)


def _reader() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {OTHERS}"})


async def _count(session: aiohttp.ClientSession, bridge: Bridge) -> None:
    asked = {"model": "bad-chat-plain", "input": "hi"}
    async with session.post(bridge.url + "/v1/responses/input_tokens", json=asked) as got:
        got.raise_for_status()


async def _gauges(session: aiohttp.ClientSession, bridge: Bridge) -> dict[str, float]:
    async with session.get(bridge.url + "/metrics") as got:
        return {name: float(value) for name, value in GAUGE.findall(await got.text())}


async def _unlike(bridge: Bridge, texts: dict[str, str]) -> AsyncIterator[str]:
    """Streams that this server tells otherwise than they were heard, and those taken over."""
    async with _reader() as session:
        for response_id, text in texts.items():
            async with session.get(f"{bridge.url}/v1/responses/{response_id}") as got:
                told = await got.json()
            kept = [each["content"][0]["text"] for each in told.get("output", ())]
            if told.get("status") != "completed" or kept != [text]:
                yield f"{response_id} is kept as {str(told)[:200]}"
        gauges = await _gauges(session, bridge)
        if gauges["takeovers"]:
            yield f"{gauges['takeovers']:g} were taken over"


async def _ended(bridge: Bridge) -> list[str]:
    """End it in order; what was wrong with it, and its cries."""
    code = await bridge.terminate()
    return [f"a server ended with {code}"] * (code != 0) + CRIES.findall(bridge.log())


def _resident_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1024


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
