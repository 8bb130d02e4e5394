"""Budgets: what a client is told when its budget is used up, and what the server knows of it."""

import asyncio

import pytest
from support.fake_clock import FakeClock, FaultyStore, let_others_run, wait_until
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer

from ws_bridge.config import Config, Settings
from ws_bridge.config.client_keys import KeyRules
from ws_bridge.errors import ConfigError, InsufficientQuota, StoreUnavailable
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.server.spending import PAST_SECONDS, REFRESH_SECONDS, Spending
from ws_bridge.store.ledger import NANO_USD, Booking

DAY = 86_400.0
# An answer of the scripted upstream has 3 tokens of input and 2 of output: 1 USD.
PRICE = {"input": 200_000.0, "output": 200_000.0}
MODELS = [
    {"name": "m", "model": "openai/m", "price": PRICE},
    {"name": "star-*", "model": "openai/*"},
]
SECRETS = {"A": "key-of-team-a", "B": "key-of-team-b"}
FREE = {"name": "b", "key_env": "B"}
CREATE = {"model": "m", "input": "hi"}
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


def sections(usd=2.0, **more):
    key = {"name": "a", "key_env": "A", "budget_usd": usd} | more
    return {"models": MODELS, "keys": [key, FREE]}


def change(one, given):
    settings = Settings(Config.model_validate(given, strict=False), SECRETS)
    one.bridge.commit(one.bridge.prepare(settings))


def headers(key="A"):
    return {"Authorization": f"Bearer {SECRETS[key]}"}


async def post(one, key="A", path="/v1/responses", **body):
    """Status, headers and body."""
    given = {"json": CREATE | body, "headers": headers(key)}
    async with one.session.post(one.url + path, **given) as got:
        return got.status, got.headers, await got.json()


async def turn(one, key="A", **create):
    socket = await one.connect(headers=headers(key))
    await socket.create(input="hi", **create)
    end = (await socket.until(*ENDS))[-1]
    await socket.ws.close()
    return end


async def spend(one, times=2):
    for _ in range(times):
        assert (await post(one))[0] == 200


# What a client is told


async def test_a_budget_that_is_used_up_is_the_same_error_on_every_transport(serve):
    one = await serve(Scripted(answer("x")), sections(), SECRETS)
    socket = await one.connect(headers=headers())
    assert (await socket.turn(input="hi"))[-1]["type"] == "response.completed"
    assert (await socket.turn(input="hi", store=False))[-1]["type"] == "response.completed"
    error = {
        "message": "The budget of this key is used up: 2 USD for 30 days, today included.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
    [frame] = await socket.turn(input="hi")
    sent = {name: value for name, value in error.items() if value is not None}
    hint = {"x-should-retry": "false"}
    assert frame == {
        "type": "error",
        "status": 429,
        "headers": hint,
        "error": sent | {"headers": hint},
    }
    for body in ({}, {"stream": True}, {"background": True}, {"store": False}):
        status, got, refusal = await post(one, **body)
        assert (status, refusal) == (429, {"error": error}), body
        assert got["x-should-retry"] == "false"
        assert "retry-after" not in got
    status, got, refusal = await post(one, path="/v1/responses/compact")
    assert (status, refusal, got["x-should-retry"]) == (429, {"error": error}, "false")
    assert (await post(one, "B"))[0] == 200  # another name is not held up
    status, counted = await one.json("POST", "/v1/responses/input_tokens", SECRETS["A"], **CREATE)
    assert status == 200, counted  # it costs nothing
    await socket.ws.close()


async def test_what_runs_when_the_budget_runs_out_goes_on(serve):
    gate = asyncio.Event()
    first, *rest = answer("x")
    upstream = Scripted([first, gate, *rest], answer("x"))
    one = await serve(upstream, sections(1.0), SECRETS)
    socket = await one.connect(headers=headers())
    await socket.create(input="hi")
    await socket.until("response.created")
    assert (await post(one))[0] == 200
    assert (await post(one))[0] == 429
    gate.set()
    assert (await socket.until(*ENDS))[-1]["type"] == "response.completed"
    await socket.ws.close()


async def test_what_is_refused_asks_no_provider(serve):
    upstream = Scripted(answer("x"))
    one = await serve(upstream, sections(0), SECRETS)
    assert (await turn(one))["error"]["code"] == "insufficient_quota"
    assert upstream.requests == []


async def test_a_create_that_is_sent_again_finds_its_response_though_the_budget_is_used_up(serve):
    one = await serve(Scripted(answer("x")), sections(1.0), SECRETS)
    body = {"idempotency_key": "once"}
    status, _, first = await post(one, **body)
    assert (await post(one))[0] == 429
    assert (status, (await post(one, **body))[2]["id"]) == (200, first["id"])


# Reloads


async def test_a_budget_that_is_raised_is_there_at_once_and_one_that_comes_counts_what_was(serve):
    one = await serve(Scripted(answer("x")), sections(2.0), SECRETS)
    await spend(one)
    assert (await post(one))[0] == 429
    change(one, sections(3.0))
    assert (await post(one))[0] == 200
    assert (await post(one))[0] == 429
    await post(one, "B")
    with_budget = sections(9.0)
    with_budget["keys"][1] = FREE | {"budget_usd": 1.0}
    change(one, with_budget)
    assert (await post(one))[0] == 200
    assert (await post(one, "B"))[0] == 429
    change(one, {"models": MODELS, "keys": [{"name": "a", "key_env": "A"}, FREE]})
    assert (await post(one))[0] == 200


# Prices


async def test_a_model_without_a_price_is_refused_before_a_reload(serve):
    one = await serve(Scripted(answer("x")), sections(2.0), SECRETS)
    unpriced = [*MODELS, {"name": "free", "model": "openai/free"}]
    with pytest.raises(ConfigError, match=r"'models.price' of 'free'.*price = \{input"):
        change(one, {**sections(2.0), "models": unpriced})
    change(one, {**sections(2.0, models=["m"]), "models": unpriced})  # it may not ask for it
    assert (await post(one))[0] == 200


async def test_a_model_without_a_price_is_refused_before_anything_is_served(serve):
    fallback = [MODELS[0] | {"fallbacks": ["other"]}, {"name": "other", "model": "openai/other"}]
    given = {**sections(2.0, models=["m"]), "models": fallback}
    one = await serve(Scripted(answer("x")), given, SECRETS)
    async with asyncio.timeout(HANG_SECONDS):
        await one.bridge.broken.wait()
    assert not one.bridge.ready.is_set()
    [problem] = one.bridge.problems
    assert "'models.price' of 'other': 'a' has a budget" in problem


async def test_a_name_of_a_wildcard_without_a_price_looks_unknown_under_a_budget(serve):
    one = await serve(Scripted(answer("x")), sections(), SECRETS)
    status, _, body = await post(one, model="star-1")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert (await post(one, "B", model="star-1"))[0] == 200


# Over restarts and servers


async def test_a_budget_outlives_a_server_and_counts_over_all_of_them(serve):
    with Node(valkey_binary()) as node:
        given = {**sections(3.0), "store": {"url": node.url}}
        first = await serve(Scripted(answer("x")), given, SECRETS)
        await spend(first)
        await first.stop()
        second = await serve(Scripted(answer("x")), given, SECRETS)
        await spend(second, 1)
        assert (await post(second))[0] == 429
        third = await serve(Scripted(answer("x")), given, SECRETS)
        assert (await post(third))[0] == 429  # it waits for its first look


# The view


class LateStore(FaultyStore):
    """Its ledger is read when a test lets it."""

    async def read_spent(self, days, keys):
        await self._reach()
        return await super().read_spent(days, keys)


class World:
    def __init__(self, usd=1.0, days=2):
        self.clock = FakeClock()
        self.clock.time = 20_000.5 * DAY
        self.store = LateStore(self.clock.now)
        rules = {"name:a": KeyRules(budget_usd=usd, budget_days=days)}
        self.reached = []
        self.spending = Spending(
            *(self.store, ClientRules(rules), self.clock.clock()),
            is_priced=lambda _: True,
            limit_reached=self.reached.append,
        )
        self.number = 0

    async def booked_elsewhere(self, usd, key="a"):
        self.number += 1
        booking = Booking(key, "m", {NANO_USD: round(usd * 10**9)})
        await super(FaultyStore, self.store).book(self.number, [booking])

    async def is_open(self):
        try:
            await self.spending.check("name:a", "m")
        except InsufficientQuota:
            return False
        return True

    async def look(self, seconds=REFRESH_SECONDS):
        """Time passes, and the view is read."""
        await wait_until(lambda: self.clock.sleepers)
        self.clock.advance(seconds)
        await let_others_run()
        await wait_until(lambda: self.clock.sleepers)


@pytest.fixture
async def world():
    one = World()
    one.spending.open()
    running = []

    def start():
        running.append(asyncio.create_task(one.spending.run()))

    one.start = start
    yield one
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_create_before_the_first_view_waits_for_it(world):
    await world.booked_elsewhere(1.0)
    gate = asyncio.Event()
    world.store.gates.append(gate)
    world.start()
    asked = asyncio.create_task(world.is_open())
    await let_others_run()
    assert not asked.done()
    gate.set()
    assert await asked is False
    assert world.reached == ["budget_usd"]


async def test_a_create_of_a_name_without_a_budget_waits_for_nothing(world):
    await world.spending.check("name:other", "m")
    await world.spending.check("hash-of-a-key", "m")


async def test_what_this_process_books_counts_at_once_and_once(world):
    world.start()
    assert await world.is_open()
    booking = Booking("a", "m", {NANO_USD: 600_000_000})
    await world.store.book(1, [booking])
    world.spending.add(booking)
    assert world.spending.spent("a", 2) == 600_000_000
    await world.look()
    assert world.spending.spent("a", 2) == 600_000_000
    assert await world.is_open()


async def test_what_others_have_booked_is_seen_at_the_next_look(world):
    world.start()
    assert await world.is_open()
    await world.booked_elsewhere(1.0)
    assert await world.is_open()
    await world.look()
    assert not await world.is_open()


async def test_the_last_view_holds_while_the_store_is_away(world):
    await world.booked_elsewhere(0.5)
    world.start()
    assert await world.is_open()
    world.store.is_away = True
    await world.look()
    assert await world.is_open()
    world.spending.add(Booking("a", "m", {NANO_USD: 500_000_000}))
    await world.look()
    assert not await world.is_open()


async def test_a_store_that_is_away_from_the_start_holds_up_no_create(world):
    world.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await world.store.read_spent(1, ["a"])
    world.start()
    assert await world.is_open()


async def test_the_window_is_of_utc_days_today_included(world):
    await world.booked_elsewhere(1.0)
    world.start()
    assert not await world.is_open()
    await world.look(DAY)
    assert not await world.is_open()
    await world.look(DAY)
    assert await world.is_open()


async def test_an_older_day_that_changes_is_seen_after_a_while(world):
    """Only the last two days are read each time; a window may be longer."""
    world.spending._rules.replace({"name:a": KeyRules(budget_usd=1.0, budget_days=9)})
    then, world.clock.time = world.clock.time, world.clock.time - 5 * DAY
    await world.booked_elsewhere(0.5)
    world.clock.time = then
    world.start()
    assert await world.is_open()
    world.clock.time = then - 5 * DAY
    await world.booked_elsewhere(0.5)  # as by a server whose clock is wrong
    world.clock.time = then
    await world.look()
    assert await world.is_open()
    await world.look(PAST_SECONDS)
    assert not await world.is_open()
