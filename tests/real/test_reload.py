"""A reload loses nothing: 200 streams on two workers, 20 reloads, a key revoked, a worker killed.

Every client runs turn after turn on its socket. What it got is whole, or its socket was closed for
a reason that the test has given: its key was taken away, or its worker killed.
"""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import pytest
from bench.gauges import sockets_to
from support.fleet import Fresh
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.workers import until, workers_of
from upstreams import FakeProviders

from ws_bridge.processes import control

STREAMS, REVOKED = 200, 20
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
OLD_KEY, NEW_KEY = "sk-provider-old", "sk-provider-new"
# What is reloaded, in turn; what is bad is refused, and the number counts the good ones.
STEPS = (
    *("more", "same", "not toml", "less", "no file"),
    *("revoke", "bad value", "more", "provider key", "empty key"),
    *("kill", "less", "not toml", "same", "limits"),
    *("more", "bad value", "level", "same", "less"),
)
BAD = ("not toml", "no file", "bad value", "empty key")

pytestmark = pytest.mark.timeout(3600)


@dataclass
class Client:
    """One socket after the other, one turn after the other, until the end."""

    url: str
    key: str
    number: int
    turns: int = 0
    port: int = 0  # of its socket
    closes: list[int | None] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refused: int = 0  # HTTP status of the last handshake that failed

    async def run(self, ended):
        async with aiohttp.ClientSession() as session:
            while not ended.is_set() and not self.refused:
                try:
                    await self._connect(session, ended)
                except aiohttp.WSServerHandshakeError as refused:
                    self.refused = refused.status
                except aiohttp.ClientConnectionError:
                    self.closes.append(None)

    async def _connect(self, session, ended):
        headers = {"Authorization": f"Bearer {self.key}"}
        async with session.ws_connect(self.url, headers=headers) as ws:
            self.port = ws.get_extra_info("sockname")[1]
            while not ended.is_set():
                if not await self._turn(ws):
                    self.closes.append(None if ws.close_code == 1006 else ws.close_code)
                    return

    async def _turn(self, ws):
        """Whether the turn came to its end on this socket; what is wrong with it is a fault."""
        said = f"turn {self.turns} of {self.number}"
        await ws.send_json({"type": "response.create", "model": "chat-slow", "input": said})
        events = []
        while not events or events[-1]["type"] not in TERMINALS:
            message = await ws.receive(timeout=HANG_SECONDS)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return False
            events.append(message.json())
        self.turns += 1
        if [one.get("sequence_number") for one in events] != list(range(len(events))):
            self.faults.append(f"{said}: not every event: {events[-1]}")
        text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
        if events[-1]["type"] != "response.completed" or not text:
            self.faults.append(f"{said}: {events[-1]}")
        elif events[-1]["response"]["output"][-1]["content"][0]["text"] != text:
            self.faults.append(f"{said}: {text!r} is not what was said")
        return True


class Server:
    """Two workers whose configuration and files of keys are written again and again."""

    def __init__(self, node, fake, folder):
        self.folder = folder
        self.bridge = Fresh()
        self.server = {"workers": 2, "control_socket": str(folder / "control")}
        self.limits = dict.fromkeys(
            ("connections_per_key", "running_per_key", "creates_per_minute"), 0
        )
        self.store = {"url": node.url}
        self.keys = ["steady", "taken"]
        self.entry = {"model": "groq/m-*", "api_base": f"{fake.base_url}/v1", "retries": 0}
        self.entry |= {"api_key_file": str(folder / "provider")}
        self.names = ["chat-*"]
        for name in self.keys:
            (folder / name).write_text(f"sk-{name}-client-key")
        (folder / "provider").write_text(OLD_KEY)
        self.write()

    def write(self, **sections):
        config = {
            "server": self.server,
            "auth": {"keys_files": [str(self.folder / name) for name in self.keys]},
            "store": self.store,
            "limits": self.limits,
            "models": [{"name": name, **self.entry} for name in self.names],
        }
        self.bridge.rewrite(config | sections)

    def change(self, step):
        """Write what is to be reloaded."""
        changes = {
            "more": ("names", [*self.names, f"more{len(self.names)}-*"]),
            "less": ("names", self.names[:1]),
            "limits": ("limits", self.limits | {"followers": 77}),
            "level": ("server", self.server | {"log_level": "warning"}),
            "revoke": ("keys", ["steady"]),
        }
        if step in changes:
            setattr(self, *changes[step])
        elif step == "provider key":
            (self.folder / "provider").write_text(NEW_KEY)
        self.write()
        if step == "not toml":
            self.bridge.config_file.write_text("[server\n")
        elif step == "bad value":
            self.write(server=self.server | {"drain_seconds": -1})
        elif step == "no file":
            self.write(auth={"keys_files": [str(self.folder / "missing")]})
        elif step == "empty key":
            self.write(models=[{"name": "x", "model": "x/y", "api_key_file": os.devnull}])

    async def reload(self):
        return await asyncio.to_thread(control.ask, self.server["control_socket"])


async def test_twenty_reloads_lose_nothing_of_two_hundred_streams(tmp_path):
    with Node(valkey_binary()) as node, FakeProviders() as fake:
        server = Server(node, fake, tmp_path)
        async with server.bridge as bridge:
            await until(lambda: bridge.log().count("INFO ws_bridge ready") == 2)
            ended = asyncio.Event()
            clients = [
                Client(bridge.ws_url, f"sk-{'taken' if n < REVOKED else 'steady'}-client-key", n)
                for n in range(STREAMS)
            ]
            running = [asyncio.create_task(one.run(ended)) for one in clients]
            try:
                await until(lambda: all(one.turns for one in clients))
                killed, before = await reload_all(server, clients)
            finally:
                ended.set()
                await asyncio.gather(*running)
            sys.stdout.write(bridge.log()[-3000:])  # shown with a test that fails
            assert await bridge.terminate() == 0
    assert [fault for one in clients for fault in one.faults] == []
    for one in clients[:REVOKED]:
        assert (one.closes, one.refused) == ([1008], 401)
    for one in clients[REVOKED:]:
        assert (one.closes, one.refused) == ([None] if one.number in killed else [], 0)
    assert killed
    assert_keys(fake, before)


async def reload_all(server, clients):
    """The clients whose worker was killed; each client's turn when the provider's key changed."""
    generation, killed, before = 1, set(), {}
    for step in STEPS:
        if step == "kill":
            pid = workers_of(server.bridge)[1]
            ports = set(sockets_to(pid))
            killed = {one.number for one in clients if one.port in ports}
            os.kill(pid, signal.SIGKILL)
        server.change(step)
        has_reloaded, outcome = await server.reload()
        assert has_reloaded == (step not in BAD), (step, outcome)
        generation += has_reloaded
        assert outcome.startswith(
            f"reloaded generation={generation}" if has_reloaded else "refused"
        )
        sys.stdout.write(f"{step}: {outcome}, {sum(one.turns for one in clients)} turns\n")
        if step == "provider key":
            before = {one.number: one.turns for one in clients}
        if generation % 3 == 0:
            await another_turn(clients[REVOKED:])
    await until(lambda: server.bridge.log().count("INFO ws_bridge ready") == 3)
    await another_turn(clients[REVOKED:])
    return killed, before


async def another_turn(clients):
    """Return when each has ended a turn that began after this was called."""
    known = [(one, one.turns + 1) for one in clients]
    await until(lambda: all(one.turns > turns for one, turns in known))


def assert_keys(fake, before):
    """Turns that began after the provider's key changed were asked for with the new one."""
    keys = Counter()
    for entry in fake.log:
        if entry.get("path", "").endswith("/chat/completions"):
            turn, number = map(int, re.search(r"turn (\d+) of (\d+)", str(entry["body"])).groups())
            key = entry["headers"]["Authorization"].removeprefix("Bearer ")
            keys[turn > before[number], key] += 1
    assert keys[True, NEW_KEY] >= STREAMS - REVOKED
    assert keys[True, OLD_KEY] == 0
    assert keys[False, OLD_KEY] >= STREAMS
