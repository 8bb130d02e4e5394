"""Usage equals what 1,000 mixed responses were told, to the token and the billionth of a USD.

Two servers of two workers each on one store; a worker is killed, and a server is restarted, while
clients of two names ask. What the stored responses were told stands in the store, also of those
whose client has lost its socket before it knew of them; what the others were told their clients
have. `tests/server/http/test_usage.py` is a quick one.
And what only whole servers show: the usage of all keys, and the end without a price.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from rolling.rounds import pids
from support.fleet import Bridge, Fresh, fleet, models_for
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import ReservedPort
from upstreams import FakeProviders

from ws_bridge.store.redis.codec import decode_final
from ws_bridge.store.redis.keys import lease_indexes

RESPONSES, AT_ONCE = 1000, 30
ASKED = 1300  # of these some find their server ended, and begin nothing
KEYS = {"a": "key-of-team-a", "b": "key-of-team-b"}
PRICE = {"input": 2.5, "output": 10.0, "cached": 0.3, "reasoning": 11.0}
STEP_SECONDS = 0.02
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
LOST = (aiohttp.ClientError, ConnectionError, json.JSONDecodeError, TypeError)
# What is asked: the model, the transport, and more of the create. `store: false` goes to the server
# that is not killed: what a killed process has not told may be booked or lost.
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("native-text", "socket", {}),
    ("chat-reasoning", "socket", {"store": False}),
    ("anthropic-text", "socket", {}),
    ("native-slow", "socket", {}),
    ("native-jsonstream", "socket", {}),
    ("native-incomplete", "socket", {"store": False}),
    ("native-failed", "socket", {}),
    ("spare", "socket", {}),
    ("spare", "http", {"store": False}),
    ("chat-text", "http", {}),
    ("anthropic-big40", "sse", {}),
    ("native-drop", "sse", {"store": False}),
    ("chat-text", "background", {}),
    ("native-slow", "cancelled", {}),
    ("chat-slow", "background", {"stream": True}),
    ("native-text", "socket", {"generate": False}),
)

pytestmark = pytest.mark.timeout(1800)


class Clients:
    """Clients that ask, and what they were told of responses that are not stored."""

    def __init__(self, bridges: list[Bridge], session: aiohttp.ClientSession) -> None:
        self.bridges = bridges
        self.session = session
        self.dice = random.Random(16)  # noqa: S311 - a seed
        self.begun = 0
        self.done = 0
        self.unstored: dict[str, list[dict[str, Any]]] = {name: [] for name in KEYS}
        self.ended: dict[str, dict[str, Any]] = {}  # stored ones whose client knows the end

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._ask_all())

    async def _ask_all(self) -> None:
        while self.begun < ASKED:
            number, self.begun = self.begun, self.begun + 1
            model, transport, more = KINDS[number % len(KINDS)]
            name = self.dice.choice(sorted(KEYS))
            is_stored = more.get("store", True)
            while (end := await self._ask(name, model, transport, more)) is None and not is_stored:
                pass
            if end is not None and is_stored:
                self.ended[end["id"]] = end
            elif end is not None:
                self.unstored[name].append(end)
            self.done += 1

    async def _ask(self, name, model, transport, more) -> dict[str, Any] | None:
        """The final object; None where the client did not get to know it."""
        bridge = self.dice.choice(self.bridges) if more.get("store", True) else self.bridges[1]
        body = {"model": model, "input": "hi"} | more
        headers = {"Authorization": f"Bearer {KEYS[name]}"}
        url = f"{bridge.url}/v1/responses"
        try:
            if transport == "socket":
                return await self._turn(bridge, headers, body)
            if transport == "sse":
                return await self._stream(url, headers, body | {"stream": True})
            if transport == "http":
                async with self.session.post(url, json=body, headers=headers) as got:
                    return final(await got.json())
            body["background"] = True
            if body.get("stream"):
                return await self._stream(url, headers, body)
            async with self.session.post(url, json=body, headers=headers) as got:
                begun = await got.json()
            if transport == "cancelled" and "id" in begun:
                async with self.session.post(f"{url}/{begun['id']}/cancel", headers=headers) as got:
                    await got.read()
        except LOST:
            pass
        return None  # of a background response the store has the end

    async def _turn(self, bridge, headers, body) -> dict[str, Any] | None:
        async with self.session.ws_connect(bridge.ws_url, headers=headers, max_msg_size=0) as ws:
            await ws.send_json({"type": "response.create"} | body)
            while True:
                event = await ws.receive_json()
                if event["type"] in ENDS:
                    return final(event.get("response", {}))

    async def _stream(self, url, headers, body) -> dict[str, Any] | None:
        async with self.session.post(url, json=body, headers=headers) as got:
            async for line in got.content:
                if line.startswith(b"data: {"):
                    event = json.loads(line.removeprefix(b"data: "))
                    if event["type"] in ENDS:
                        return final(event.get("response", {}))
        return None

    async def reached(self, count: int) -> None:
        while self.done < count:  # noqa: ASYNC110 - in processes
            await asyncio.sleep(STEP_SECONDS)


def final(response: dict[str, Any]) -> dict[str, Any] | None:
    return response if "status" in response else None


def told(ends) -> Counter[str]:
    total: Counter[str] = Counter()
    for end in ends:
        usage = end.get("usage") or {}
        total["responses"] += 1
        total[end["status"]] += 1
        total["input_tokens"] += usage.get("input_tokens", 0)
        total["output_tokens"] += usage.get("output_tokens", 0)
        into, out = (usage.get(f"{side}_tokens_details") or {} for side in ("input", "output"))
        total["cached_tokens"] += into.get("cached_tokens", 0)
        total["reasoning_tokens"] += out.get("reasoning_tokens", 0)
        total["nano_usd"] += round(usage.get("cost", 0) * 10**9)
    return +total


def figures(total: dict[str, Any]) -> Counter[str]:
    names = set(total) - {"object", "days", "cost_usd"}
    found = Counter({name: total[name] for name in names})
    found["nano_usd"] = round(total["cost_usd"] * 10**9)
    return +found


async def stored_ends(client: Redis) -> dict[str, dict[str, Any]]:
    """The final objects of all stored responses, by id, each with its owner."""
    found = {}
    async for key in client.scan_iter(match="wb1:{p*}:m:*", count=1000):
        owner, status = await client.hmget(key, "ow", "st")
        assert status != b"in_progress", key
        value = await client.get(key.replace(b":m:", b":o:"))
        _, response = decode_final(value)
        found[response["id"]] = response | {"owner": owner.decode()}
    return found


def config_of(fake: FakeProviders, url: str) -> dict[str, Any]:
    models = models_for(fake, price=PRICE)
    spare = models[0] | {"name": "spare", "model": "openai/gpt-err503"}
    return {
        "server": {"workers": 2, "drain_seconds": 5, "report_cost": True},
        "store": {"url": url, "lease_seconds": 3},
        "keys": [{"name": name, "key_env": f"KEY_{name.upper()}"} for name in KEYS],
        "models": [*models, spare | {"fallbacks": ["native-text"]}],
    }


async def test_usage_is_what_a_thousand_responses_were_told_over_a_kill_and_a_restart():
    environ = {f"KEY_{name.upper()}": key for name, key in KEYS.items()}
    timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    with FakeProviders() as fake, Node(valkey_binary(), aof=True) as node:
        async with (
            fleet(2, config_of(fake, node.url), environ) as bridges,
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            Redis.from_url(node.url) as client,
        ):
            clients = Clients(bridges, session)
            running = asyncio.create_task(clients.run())
            await clients.reached(ASKED // 3)
            os.kill(pids(bridges[0])[1], signal.SIGKILL)
            await clients.reached(2 * ASKED // 3)
            await bridges[0].terminate()
            await bridges[0].start()
            await bridges[0].wait_ready()
            await running
            async with asyncio.timeout(HANG_SECONDS):
                while any(  # noqa: ASYNC110 - in processes
                    [await client.zcard(index) for index in lease_indexes()]
                ):
                    await asyncio.sleep(STEP_SECONDS)
            stored = await stored_ends(client)
            for name, key in KEYS.items():
                own = [end for end in stored.values() if end["owner"] == f"name:{name}"]
                expected = told([*own, *clients.unstored[name]])
                for bridge in bridges:
                    headers = {"Authorization": f"Bearer {key}"}
                    async with session.get(f"{bridge.url}/v1/usage", headers=headers) as got:
                        body = await got.json()
                    assert figures(body["total"]) == expected, name
            logs = "".join(bridge.log() for bridge in bridges)
    for response_id, end in clients.ended.items():
        assert stored[response_id].get("usage") == end.get("usage"), response_id
    unstored = [end for ends in clients.unstored.values() for end in ends]
    seen = Counter(end["status"] for end in (*stored.values(), *unstored))
    assert {"completed", "failed", "incomplete", "cancelled"} <= seen.keys(), seen
    assert sum(seen.values()) >= RESPONSES
    assert "taken_over" in logs


async def test_the_usage_of_all_keys_stands_on_the_page_of_a_server_of_two_workers():
    environ = {f"KEY_{name.upper()}": key for name, key in KEYS.items()}
    reserved = ReservedPort()
    with FakeProviders() as fake, Node(valkey_binary()) as node:
        page = f"http://127.0.0.1:{reserved.number}/usage"
        config = config_of(fake, node.url) | {"metrics": {"listen": f"127.0.0.1:{reserved.number}"}}
        async with Bridge(config, environ) as bridge, aiohttp.ClientSession() as session:
            await bridge.wait_ready()
            for name, key in KEYS.items():
                body = {"model": "chat-text", "input": name}
                headers = {"Authorization": f"Bearer {key}"}
                async with session.post(
                    f"{bridge.url}/v1/responses", json=body, headers=headers
                ) as got:
                    assert (await got.json())["status"] == "completed"
            async with session.get(page, params={"days": "1"}) as got:
                assert (got.status, got.content_type) == (200, "application/json")
                body = await got.json()
            async with session.get(page, params={"days": "0"}) as got:
                assert got.status == 400
            log = bridge.log()
    reserved.release()
    assert [(row["key"], row["model"], row["responses"]) for row in body["data"]] == [
        ("a", "chat-*", 1),
        ("b", "chat-*", 1),
    ]
    assert body["total"]["responses"] == 2
    assert not any(key in log or key in str(body) for key in KEYS.values())


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_with_a_budget_and_a_model_without_a_price_ends_before_it_is_ready(workers):
    with Node(valkey_binary()) as node:
        config = {
            "server": {"workers": workers},
            "store": {"url": node.url},
            "keys": [{"name": "a", "key_env": "KEY_A", "budget_usd": 1.0}],
            "models": [{"name": "demo", "model": "demo/demo"}],
        }
        bridge = Fresh(config, {"KEY_A": KEYS["a"]})
        try:
            with contextlib.suppress(AssertionError):  # it may end as soon as it listens
                await bridge.start()
            async with asyncio.timeout(HANG_SECONDS):
                while bridge._started.exit_code is None:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(STEP_SECONDS)
            assert bridge._started.exit_code == 2
            [line] = [one for one in bridge.log().splitlines() if one.startswith("ws-bridge: ")]
            assert "'models.price' of 'demo': 'a' has a budget" in line
            assert "price = {input = …, output = …}" in line
            assert KEYS["a"] not in bridge.log()
        finally:
            bridge.close()
