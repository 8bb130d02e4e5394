"""Two bridge servers on one Valkey, before loopback providers: all of them processes or sockets.

They run for all tests of this folder; a test that ended a server finds it started again.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `peers` is imported by name

from peers import CLIENT_KEYS, Peer, config_of
from support.fleet import Bridge
from support.redis_servers import Node, valkey_binary
from upstreams import FakeProviders


@dataclass
class Servers:
    """What runs for all tests."""

    fake: FakeProviders
    node: Node
    bridges: tuple[Bridge, Bridge]


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """In a loop of its own, beside the tests' loops."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


async def _start(bridges: tuple[Bridge, ...]) -> None:
    down = [bridge for bridge in bridges if not bridge._is_alive()]
    await asyncio.gather(*(bridge.start() for bridge in down))
    await asyncio.gather(*(bridge.wait_ready() for bridge in bridges))


@contextlib.contextmanager
def running(constants: Mapping[str, float] | None = None) -> Iterator[Servers]:
    """All of it, until left."""
    with contextlib.ExitStack() as ends:
        fake = ends.enter_context(FakeProviders())
        node = ends.enter_context(Node(valkey_binary(), aof=True))
        config = config_of(fake, node.url)
        bridges = (Bridge(config, CLIENT_KEYS, constants), Bridge(config, CLIENT_KEYS, constants))
        for bridge in bridges:
            ends.callback(bridge.close)
        _run(_start(bridges))
        yield Servers(fake, node, bridges)


@pytest.fixture(scope="session")
def patient_servers() -> Iterator[Servers]:
    """They wait for their store as long as it takes: it is not away where the machine is slow."""
    with running() as servers:
        yield servers


@pytest.fixture(scope="session")
def own_servers() -> Iterator[Servers]:
    """They know after the product's own time that their store is away."""
    with running({}) as servers:
        yield servers


@pytest.fixture
def servers(patient_servers: Servers) -> Servers:
    return patient_servers


@pytest.fixture
def fake(servers: Servers) -> FakeProviders:
    return servers.fake


@pytest.fixture
def node(servers: Servers) -> Node:
    return servers.node


@pytest.fixture
async def pair(servers: Servers) -> AsyncIterator[tuple[Peer, Peer]]:
    """A client of each server; both are ready. What they log is shown with a test that fails."""
    await _start(servers.bridges)
    known = [len(bridge.log()) for bridge in servers.bridges]
    async with Peer(servers.bridges[0]) as first, Peer(servers.bridges[1]) as second:
        yield first, second
    for bridge, start in zip(servers.bridges, known, strict=True):
        sys.stdout.write(f"{bridge.url}\n{bridge.log()[start:]}\n")
