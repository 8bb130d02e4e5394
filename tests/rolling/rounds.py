"""The runs: three servers restarted in turn, two workers renewed in turn and one of them killed."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
from support.fleet import Bridge, fleet, models_for
from support.hang import HANG_SECONDS
from support.proxies import ReverseProxy
from support.redis_servers import Node, valkey_binary
from upstreams import FakeProviders

from rolling.balancer import Balancer
from rolling.chains import Chain
from rolling.field import Field, chains_at
from rolling.http_chains import PollingChain, SseChain

Figures = dict[str, Any]
STEP_SECONDS = 0.05
KINDS = (Chain, SseChain, PollingChain)  # of clients behind proxies


def config_of(
    fake: FakeProviders, node: Node, *, workers: int = 1, lease_seconds: float = 15
) -> dict[str, Any]:
    """Turns may end in a drain."""
    return {
        "server": {"drain_seconds": 30, "workers": workers},
        "store": {"url": node.url, "lease_seconds": lease_seconds},
        "models": models_for(fake),
    }


async def three_servers(count: int) -> tuple[Figures, list[str]]:
    """Each is asked to end and started again, one after the other."""
    with FakeProviders() as fake, Node(valkey_binary()) as node:
        async with contextlib.AsyncExitStack() as ends:
            bridges = await ends.enter_async_context(fleet(3, config_of(fake, node)))
            ports = [int(bridge.url.rpartition(":")[2]) for bridge in bridges]
            balancer = await ends.enter_async_context(Balancer(ports))
            async with chains_at(f"http://127.0.0.1:{balancer.port}", count, fake) as field:
                await field.all_go_on()
                seconds = [await _restart(bridge, field) for bridge in bridges]
                await field.end()
                faults = await field.audit()
            more = {"drained in": _spoken(seconds), "logged": logged(*bridges)}
    return field.figures() | more, faults


async def two_servers_behind(
    proxies: type[ReverseProxy], store: dict[str, str], environ: dict[str, str], count: int
) -> tuple[Figures, list[str]]:
    """Two servers of two workers behind a proxy: reloaded, both restarted, a worker killed.

    The figures are those from the first turn to the end of the restarts: the rolling restart.
    """
    with FakeProviders() as fake:
        async with contextlib.AsyncExitStack() as ends:
            server = {"drain_seconds": 30, "workers": 2, "lame_duck_seconds": 5}
            config = {"server": server, "store": store, "models": models_for(fake)}
            bridges = await ends.enter_async_context(fleet(2, config, environ))
            ports = [int(bridge.url.rpartition(":")[2]) for bridge in bridges]
            proxy = ends.enter_context(proxies(ports))
            async with chains_at(proxy.url, count, fake, KINDS) as field:
                await field.all_go_on()
                for bridge in bridges:
                    bridge.hang_up()
                    await _until(lambda bridge=bridge: " reloaded " in bridge.log())
                await field.all_go_on()
                reloaded = field.figures()
                seconds = [await _restart(bridge, field) for bridge in bridges]
                restarted = field.figures()
                os.kill(pids(bridges[0])[1], signal.SIGKILL)
                await field.all_go_on()
                await field.end()
                faults = await field.audit()
            faults += [] if field.figures()["ends"].get("failed") else field.made_twice()
            if reloaded["reconnects"]:
                faults.append(f"a reload cut clients off: {reloaded['of them by close code']}")
            if restarted["ends"].keys() != {"completed"}:
                faults.append(f"a restart ended turns as {restarted['ends']}")
            more = {"drained in": _spoken(seconds), "logged": logged(*bridges)}
    return restarted | more, faults


async def _restart(bridge: Bridge, field: Field) -> float:
    """How long it took to end."""
    began = time.monotonic()
    code = await bridge.terminate()
    seconds = time.monotonic() - began
    assert code == 0, bridge.log()
    await bridge.start()
    await bridge.wait_ready()
    await field.all_go_on()
    return seconds


async def two_workers(
    count: int, *, renewed: Sequence[int] = (1, 2), lease_seconds: float = 15
) -> tuple[Figures, list[str]]:
    """Some are renewed by SIGTERM, then the first is killed; all behind one port."""
    with FakeProviders() as fake, Node(valkey_binary()) as node:
        config = config_of(fake, node, workers=2, lease_seconds=lease_seconds)
        async with Bridge(config) as bridge:
            async with chains_at(bridge.url, count, fake) as field:
                await field.all_go_on()
                seconds = [await _renew(bridge, number, field) for number in renewed]
                before = field.figures()
                lost, interrupted = await _kill_one(bridge, field)
                await field.end()
                faults = await field.audit()
            code = await bridge.terminate()
            warnings = logged(bridge)
    if code:
        faults.append(f"it ended with {code}")
    if before["ends"].keys() != {"completed"}:
        faults.append(f"renewing the workers ended turns as {before['ends']}")
    if interrupted != lost:
        faults.append(f"{interrupted} clients were cut off by the end of {lost} sockets")
    more = {"relieved in": _spoken(seconds), "sockets of the killed worker": lost}
    return field.figures() | more | {"logged": warnings}, faults


def logged(*bridges: Bridge) -> dict[str, int]:
    """What the servers warned of, and how often."""
    said = "\n".join(bridge.log() for bridge in bridges)
    return dict(Counter(re.findall(r" (?:WARNING|ERROR) (\S+ \S+)", said)))


def pids(bridge: Bridge) -> dict[int, int]:
    """The latest process of each worker's number."""
    started = re.findall(r"worker_started number=(\d+) pid=(\d+)", bridge.log())
    return {int(number): int(pid) for number, pid in started}


async def _renew(bridge: Bridge, number: int, field: Field) -> float:
    """How long the old one took to end."""
    old = pids(bridge)[number]
    began = time.monotonic()
    os.kill(old, signal.SIGTERM)
    await _until(lambda: f"pid={old} code=0" in bridge.log())
    seconds = time.monotonic() - began
    await field.all_go_on()
    return seconds


async def _kill_one(bridge: Bridge, field: Field) -> tuple[int, int]:
    """How many sockets the killed worker had, and how many clients noticed."""
    pid = pids(bridge)[1]
    before = sum(sum(chain.closes.values()) for chain in field.chains)
    lost = await _sockets_of(bridge, 1)
    os.kill(pid, signal.SIGKILL)
    await _until(lambda: pids(bridge)[1] != pid)
    await field.all_go_on()
    after = sum(sum(chain.closes.values()) for chain in field.chains)
    return lost, after - before


async def _sockets_of(bridge: Bridge, number: int) -> int:
    """What the worker's figures say; the kernel chooses whom we ask."""
    connector = aiohttp.TCPConnector(force_close=True)
    wanted = re.compile(rf'ws_bridge_connections\{{worker="{number}"\}} (\d+)')
    async with aiohttp.ClientSession(connector=connector) as session:
        while True:
            async with session.get(bridge.url + "/metrics") as answer:
                if found := wanted.search(await answer.text()):
                    return int(found[1])


async def _until(is_true: Any) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - looks at a log
            await asyncio.sleep(STEP_SECONDS)


def _spoken(seconds: list[float]) -> str:
    return ", ".join(f"{one:.1f} s" for one in seconds)


def table(name: str, figures: Figures) -> str:
    """The figures, a line each."""
    lines = [f"{key:32}{value}" for key, value in figures.items()]
    return "\n".join([name, *lines]) + "\n"
