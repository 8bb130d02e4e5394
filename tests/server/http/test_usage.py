"""`GET /v1/usage`: it equals what the responses of every kind and transport were told."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, completed, message, opening

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import COMPLETED, Draft
from ws_bridge.server.http.usage import usage_list
from ws_bridge.store.ledger import DayUsage

PRICE = {"input": 2.0, "output": 8.0, "cached": 0.5, "reasoning": 10.0}
MODELS = [
    {"name": "m", "model": "openai/m", "price": PRICE, "fallbacks": ["b-1"]},
    {"name": "b-*", "model": "openai/b-*", "price": PRICE},
]
KEYS = [{"name": "team-a", "key_env": "A"}, {"name": "team-b", "key_env": "B"}]
SECRETS = {"A": "key-of-team-a", "B": "key-of-team-b"}
CONFIG = {"models": MODELS, "keys": KEYS, "server": {"report_cost": True}}
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


def used(number):
    """An answer's usage; no two are alike."""
    return {
        "input_tokens": 1000 + number,
        "output_tokens": 100 + 7 * number,
        "input_tokens_details": {"cached_tokens": number},
        "output_tokens_details": {"reasoning_tokens": 3 * number},
    }


class Answers:
    """Every answer has its own usage; of some targets the first fails."""

    def __init__(self):
        self.number = 0
        self.gate = asyncio.Event()

    def __call__(self, request):
        self.number += 1
        options = request.options
        if options.get("user") == "fails first" and request.target.name == "m":
            return [UpstreamError(status=503)]
        end = Draft(COMPLETED, {"response": {"output": [], "usage": used(self.number)}})
        if options.get("user") == "waits":
            return [*opening(), self.gate, end]
        if options.get("user") == "breaks":
            return [*opening(), *message("half")[:3], UpstreamError(status=500)]
        return [*opening(), end]


@pytest.fixture
async def answers():
    return Answers()


def told(ends):
    """What these final objects tell in sum."""
    total = Counter()
    for end in ends:
        usage = end.get("usage") or {}
        total["responses"] += 1
        total[end["status"]] += 1
        for name in ("input_tokens", "output_tokens"):
            total[name] += usage.get(name, 0)
        total["cached_tokens"] += usage.get("input_tokens_details", {}).get("cached_tokens", 0)
        total["reasoning_tokens"] += usage.get("output_tokens_details", {}).get(
            "reasoning_tokens", 0
        )
        total["nano_usd"] += round(usage.get("cost", 0) * 10**9)
    return +total


def figures(usage):
    names = ("responses", "completed", "incomplete", "failed", "cancelled", "input_tokens")
    names += ("output_tokens", "cached_tokens", "reasoning_tokens")
    found = Counter({name: usage[name] for name in names})
    found["nano_usd"] = round(usage["cost_usd"] * 10**9)
    return +found


async def turns(one, key, *creates):
    """The final objects of turns on a socket."""
    headers = {"Authorization": f"Bearer {key}"}
    ends = []
    socket = await one.connect(headers=headers)
    for create in creates:
        await socket.create(**{"input": "hi"} | create)
        end = (await socket.until(*ENDS))[-1]
        ends.append(end["response"])
    await socket.ws.close()
    return ends


async def polled(one, key, response_id):
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            _, found = await one.json("GET", f"/v1/responses/{response_id}", key)
            if found["status"] not in ("queued", "in_progress"):
                return found


async def mixed(one, key, rounds):
    """Final objects of responses of every kind."""
    ends = []
    for _ in range(rounds):
        ends += await turns(
            *(one, key),
            {},
            {"store": False},
            {"model": "b-2", "store": False},
            {"generate": False},
            {"user": "fails first"},
            {"user": "breaks"},
            {"user": "breaks", "store": False},
        )
        for more in ({}, {"store": False}, {"model": "b-3"}):
            body = {"model": "m", "input": "hi"} | more
            ends.append((await one.json("POST", "/v1/responses", key, **body))[1])
        body = {"model": "m", "input": "hi", "background": True}
        _, queued = await one.json("POST", "/v1/responses", key, **body)
        ends.append(await polled(one, key, queued["id"]))
        _, queued = await one.json("POST", "/v1/responses", key, **body | {"user": "waits"})
        _, ended = await one.json("POST", f"/v1/responses/{queued['id']}/cancel", key)
        ends.append(ended)
    return ends


async def usage_of(one, key, query=""):
    status, body = await one.json("GET", f"/v1/usage{query}", key)
    assert status == 200
    return body


async def test_usage_is_the_sum_of_what_sixty_mixed_responses_were_told(serve, answers):
    one = await serve(Scripted(answers), CONFIG, SECRETS)
    ends = await mixed(one, SECRETS["A"], 5)
    assert len(ends) == 60
    assert {end["status"] for end in ends} == {"completed", "failed", "cancelled"}
    body = await usage_of(one, SECRETS["A"])
    assert figures(body["total"]) == told(ends)
    assert told(ends)["nano_usd"] > 0
    assert {row["model"] for row in body["data"]} == {"m", "b-*"}
    assert sum((figures(row) for row in body["data"]), Counter()) == told(ends)


async def values_of(client):
    """All that a store holds, and the names under which it does."""
    read = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1),
        "stream": client.xrange,
    }
    names = [key async for key in client.scan_iter()]
    values = [await read[(await client.type(key)).decode()](key) for key in names]
    return repr((names, values))


async def test_on_redis_it_is_the_same_and_no_key_is_in_any_stored_value(serve, answers):
    with Node(valkey_binary()) as node:
        one = await serve(Scripted(answers), CONFIG | {"store": {"url": node.url}}, SECRETS)
        ends = await mixed(one, SECRETS["A"], 2)
        assert figures((await usage_of(one, SECRETS["A"]))["total"]) == told(ends)
        async with Redis.from_url(node.url) as client:
            stored = await values_of(client)
    assert "input_tokens m" in stored
    assert "team-a" in stored
    assert not any(key in stored for key in SECRETS.values())


async def test_two_names_see_their_own_usage_only(serve, answers):
    one = await serve(Scripted(answers), CONFIG, SECRETS)
    own = await turns(one, SECRETS["A"], {}, {"store": False})
    others = await turns(one, SECRETS["B"], {"model": "b-9"})
    for key, ends in ((SECRETS["A"], own), (SECRETS["B"], others)):
        body = await usage_of(one, key)
        assert figures(body["total"]) == told(ends)
        assert "team-" not in str(body)
    assert [row["model"] for row in (await usage_of(one, SECRETS["B"]))["data"]] == ["b-*"]
    every = usage_list(await one.bridge._store.read_usage(1), 1, with_keys=True)
    assert [row["key"] for row in every["data"]] == ["team-a", "team-b"]
    assert figures(every["total"]) == told(own + others)


async def test_a_key_that_is_rotated_has_the_usage_of_its_name(serve, answers):
    keys = [{"name": "team-a", "key_env": "A"}, {"name": "team-a", "key_env": "B"}]
    one = await serve(Scripted(answers), {**CONFIG, "keys": keys}, SECRETS)
    ends = [*await turns(one, SECRETS["A"], {}), *await turns(one, SECRETS["B"], {})]
    for key in SECRETS.values():
        assert figures((await usage_of(one, key))["total"]) == told(ends)


async def test_a_compaction_is_booked_and_counts_as_no_response(serve):
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text"}]}
    item["content"][0]["text"] = "short"
    one = await serve(Scripted([*opening(), completed(item)]), CONFIG, SECRETS)
    body = {"model": "m", "input": "hi"}
    _, made = await one.json("POST", "/v1/responses/compact", SECRETS["A"], **body)
    total = (await usage_of(one, SECRETS["A"]))["total"]
    assert (total["responses"], total["input_tokens"]) == (0, made["usage"]["input_tokens"])
    assert total["cost_usd"] == pytest.approx((3 * 2 + 2 * 8) / 1e6)


async def test_without_keys_all_clients_are_one_name(serve, answers):
    one = await serve(Scripted(answers), {"models": MODELS})
    await one.post("/v1/responses", model="m", input="hi")
    status, body = await one.get("/v1/usage")
    assert (status, body["object"], body["total"]["responses"]) == (200, "list", 1)


@pytest.mark.parametrize("days", ["0", "401", "-1", "x", "1.5"])
async def test_a_number_of_days_that_is_none_is_refused(serve, answers, days):
    one = await serve(Scripted(answers), CONFIG, SECRETS)
    status, body = await one.json("GET", f"/v1/usage?days={days}", SECRETS["A"])
    assert (status, body["error"]["param"]) == (400, "days")


async def test_it_needs_a_key_as_every_route_does(serve, answers):
    one = await serve(Scripted(answers), CONFIG, SECRETS)
    assert (await one.get("/v1/usage"))[0] == 401


def test_the_list_has_a_row_for_each_day_and_model_and_their_sum():
    counts = {"completed": 2, "failed": 1, "input_tokens": 30, "nano_usd": 1_500_000_001}
    usage = [DayUsage("2026-12-01", "k", "m", counts), DayUsage("2026-12-02", "k", "m", counts)]
    body = usage_list(usage, 7)
    row = {
        "object": "usage",
        "day": "2026-12-01",
        "model": "m",
        "responses": 3,
        "completed": 2,
        "incomplete": 0,
        "failed": 1,
        "cancelled": 0,
        "input_tokens": 30,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 1.500000001,
    }
    assert body["object"] == "list"
    assert body["data"] == [row, row | {"day": "2026-12-02"}]
    total = {key: value for key, value in row.items() if key not in ("day", "model")}
    doubled = {key: 2 * value for key, value in total.items() if key != "object"}
    assert body["total"] == {"object": "usage", "days": 7} | doubled
