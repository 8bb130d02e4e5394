"""Debian's Prometheus over two workers, one of which is killed: its totals are what clients saw.

The worker is killed while responses run on both, none of them at its end: such a response has no
end for anybody, and is no end in the totals.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import time
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest
from support.fleet import Fresh, models_for
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import ReservedPort
from upstreams import FakeProviders

SECONDS = 60.0  # of load and scrapes
INTERVAL = 1.0  # of scrapes
KEYS = {"TEAM_A": "key-a", "TEAM_B": "key-b"}
PAGE_KEY = "the page's own key"
MODELS = ("native-text", "chat-text", "anthropic-text")
TRANSPORTS = ("websocket", "http", "sse")
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
GATED = "native-gate8-killed"
TOKENS = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "cached": ("input_tokens_details", "cached_tokens"),
    "reasoning": ("output_tokens_details", "reasoning_tokens"),
}
COUNTERS = (
    *(f"ws_bridge_{name}_total" for name in ("responses", "tokens", "events", "http_requests")),
    *("ws_bridge_sockets_total", "gen_ai_client_operation_duration_seconds_bucket"),
)
BY = "model,provider,key,transport,outcome"
PROVIDERS = {"native": "openai", "chat": "groq", "anthropic": "anthropic"}

pytestmark = pytest.mark.timeout(1800)


class Prometheus:
    """A Prometheus that scrapes one page, every second."""

    def __init__(self, folder, target):
        self._reserved = ReservedPort()
        self.url = f"http://127.0.0.1:{self._reserved.number}"
        key = folder / "key"
        key.write_text(PAGE_KEY)
        config = folder / "prometheus.yml"
        config.write_text(f"""
            global: {{scrape_interval: {INTERVAL:g}s}}
            scrape_configs:
              - job_name: ws-bridge
                static_configs: [{{targets: ["{target}"]}}]
                authorization: {{credentials_file: {key}}}
        """)
        subprocess.run(["promtool", "check", "config", str(config)], check=True)  # noqa: S603, S607
        self._process = subprocess.Popen(  # noqa: S603
            [  # noqa: S607
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._reserved.number}",
            ],
            stderr=subprocess.DEVNULL,
        )

    def close(self):
        self._process.terminate()
        self._process.wait(HANG_SECONDS)
        self._reserved.release()

    async def query(self, session, text):
        """The series of an expression, by their labels."""
        async with session.get(self.url + "/api/v1/query", params={"query": text}) as got:
            result = (await got.json())["data"]["result"]
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in result}


class Clients:
    """They ask, and count what they see."""

    def __init__(self, bridge):
        self.bridge = bridge
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        self.responses = Counter()
        self.tokens = Counter()

    async def turn(self, number):
        """One response, its connection its own: the kernel chooses the worker."""
        model = MODELS[number % len(MODELS)]
        transport = TRANSPORTS[number // len(MODELS) % len(TRANSPORTS)]
        key = list(KEYS)[number % len(KEYS)]
        head = {"Authorization": f"Bearer {KEYS[key]}"}
        create = {"model": model, "input": f"turn {number}"}
        if transport == "websocket":
            async with self.session.ws_connect(self.bridge.ws_url, headers=head) as ws:
                await ws.send_json({"type": "response.create", **create})
                while (event := await ws.receive_json(timeout=HANG_SECONDS))["type"] not in ENDS:
                    pass
            response = event["response"]
        else:
            create["stream"] = transport == "sse"
            url = self.bridge.url + "/v1/responses"
            async with self.session.post(url, json=create, headers=head) as got:
                text = await got.text()
                assert got.status == 200, text
            events = [line for line in text.splitlines() if line.startswith("data: {")]
            last = json.loads(events[-1].removeprefix("data: ")) if events else {}
            response = last.get("response") or json.loads(text)
        self.count(response, model, transport, key)

    def count(self, response, model, transport, key):
        """A response has ended."""
        family = model.partition("-")[0]
        labels = {"model": f"{family}-*", "provider": PROVIDERS[family], "key": key}
        labels |= {"transport": transport, "outcome": response["status"]}
        self.responses[tuple(sorted(labels.items()))] += 1
        for kind, path in TOKENS.items():
            value = response["usage"] or {}
            for name in path:
                value = value.get(name, {})
            if value:
                self.tokens[tuple(sorted((labels | {"type": kind}).items()))] += value

    async def ask_until(self, end):
        """Turns, two at a time."""
        numbers = iter(range(10**6))

        async def ask():
            while time.monotonic() < end:
                await self.turn(next(numbers))

        await asyncio.gather(ask(), ask())

    async def gated(self):
        """A turn that stands amid its text at the provider; its socket."""
        head = {"Authorization": f"Bearer {KEYS['TEAM_A']}"}
        ws = await self.session.ws_connect(self.bridge.ws_url, headers=head)
        await ws.send_json({"type": "response.create", "model": GATED, "input": "x"})
        while (await ws.receive_json(timeout=HANG_SECONDS))["type"] != "response.output_text.delta":
            pass
        return ws

    async def end_of(self, ws):
        """Whether the turn came to its end; its client counts it then."""
        try:
            while (event := await ws.receive_json(timeout=HANG_SECONDS))["type"] not in ENDS:
                pass
        except TypeError:  # a close
            return False
        self.count(event["response"], GATED, "websocket", "TEAM_A")
        return True


def total(text, name):
    """The sum of a metric's series on a page."""
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not await is_true():  # noqa: ASYNC110 - asks other processes
            await asyncio.sleep(INTERVAL / 4)


def whole(totals):
    """What was counted at least once."""
    return {labels: value for labels, value in totals.items() if value}


@dataclass
class Field:
    """What runs for the test."""

    bridge: Fresh
    fake: FakeProviders
    clients: Clients
    prometheus: Prometheus
    url: str  # of the page

    async def page(self):
        """The page as text."""
        head = {"Authorization": f"Bearer {PAGE_KEY}"}
        async with self.clients.session.get(self.url, headers=head) as got:
            assert got.status == 200
            return await got.text()

    async def all_are_counted(self):
        """Whether the page has each response that a client has seen end."""
        return total(await self.page(), "ws_bridge_responses_total") == self.seen

    async def query(self, text):
        """What Prometheus has."""
        return await self.prometheus.query(self.clients.session, text)

    @property
    def seen(self):
        """How many responses the clients have seen end."""
        return sum(self.clients.responses.values())


@pytest.fixture
async def field(tmp_path):
    """Two workers under Prometheus."""
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus on PATH")
    async with AsyncExitStack() as ends:
        fake = ends.enter_context(FakeProviders())
        node = ends.enter_context(Node(valkey_binary()))
        reserved = ReservedPort()
        ends.callback(reserved.release)
        address = f"127.0.0.1:{reserved.number}"
        config = {
            "server": {"workers": 2},
            "auth": {"keys_env": list(KEYS)},
            "store": {"url": node.url},
            "limits": {"creates_per_minute": 0},
            "metrics": {"listen": address, "key_env": "PAGE_KEY"},
            "models": models_for(fake),
        }
        environ = KEYS | {"PAGE_KEY": PAGE_KEY}
        bridge = await ends.enter_async_context(Fresh(config, environ))
        await bridge.wait_ready()
        clients = Clients(bridge)
        ends.push_async_callback(clients.session.close)
        prometheus = Prometheus(tmp_path, address)
        ends.callback(prometheus.close)
        yield Field(bridge, fake, clients, prometheus, f"http://{address}/metrics")


async def test_prometheus_has_what_the_clients_saw_though_a_worker_was_killed(field):
    clients, began = field.clients, time.monotonic()
    async with clients.session.get(field.url) as got:
        assert got.status == 401
    await clients.ask_until(began + SECONDS / 2)
    await until(field.all_are_counted)
    await kill_a_worker_amid_responses(field)
    await clients.ask_until(began + SECONDS)
    await until(field.all_are_counted)
    await check_page(await field.page())

    async def is_scraped():
        found = await field.query("sum(ws_bridge_responses_total)")
        return [*found.values()] == [field.seen]

    await until(is_scraped)
    found = await field.query(f"sum by ({BY}) (ws_bridge_responses_total)")
    assert whole(found) == clients.responses
    found = await field.query(f"sum by ({BY},type) (ws_bridge_tokens_total)")
    assert whole(found) == clients.tokens
    found = await field.query("sum(gen_ai_client_operation_duration_seconds_count)")
    assert [*found.values()] == [field.seen]
    # None of the server's counters ever fell, and every scrape went well.
    for name in COUNTERS:
        assert await field.query(f"resets({name}[10m]) > 0") == {}
    assert [*(await field.query("min_over_time(up[10m])")).values()] == [1]
    (scrapes,) = (await field.query("count_over_time(up[10m])")).values()
    assert scrapes >= SECONDS / INTERVAL / 4


async def kill_a_worker_amid_responses(field):
    """The responses of the other one come to their ends."""
    running = [await field.clients.gated() for _ in range(8)]
    pids = re.findall(r"worker_started number=1 pid=(\d+)", field.bridge.log())
    os.kill(int(pids[-1]), signal.SIGKILL)
    field.fake.release(GATED.replace("native-", "gpt-"))
    ended = await asyncio.gather(*map(field.clients.end_of, running))
    assert set(ended) == {True, False}, "each worker had some"


async def check_page(text):
    """Prometheus finds nothing to mend, and each process is there."""
    checker = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    found = await checker.communicate(text.encode())
    assert (checker.returncode, *found) == (0, b"", b"")
    assert total(text, "ws_bridge_worker_restarts_total") == 1
    assert total(text, "ws_bridge_running") == 0
    workers = re.findall(r'^process_open_fds\{worker="(\d)"', text, re.MULTILINE)
    assert sorted(workers) == ["0", "1", "2"]
