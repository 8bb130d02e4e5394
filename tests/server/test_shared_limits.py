"""Limits of client keys over all processes of a store: exact in sum, and never in the way.

A process here is its quotas, with a clock that the test turns; the store is a real one. Its clock
cannot be turned: what it counts is made older instead, or younger by the time that the test took.
"""

import asyncio
import logging
import secrets
import time
from contextlib import ExitStack

import pytest
from store.opened import opened
from support.aged_counters import let_pass
from support.fake_clock import FakeClock, wait_until
from support.long_limits import LONG
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.config import Limits
from ws_bridge.errors import RateLimited, StoreUnavailable
from ws_bridge.jobs import store_timeout
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.server.quotas import Quotas
from ws_bridge.server.shared_limits import SharedLimits
from ws_bridge.store.base import HELD_SECONDS
from ws_bridge.store.redis.counters import RedisCounters
from ws_bridge.store.redis.keys import counter_key

CREATES, TOKENS, RUNNING, CONNECTIONS = (
    *("creates_per_minute", "tokens_per_minute"),
    *("running", "connections"),
)
WINDOW = 60.0


class Process:
    """One process of a fleet: creates, responses that run, and sockets of one key."""

    def __init__(self, counters, clock, limits):
        self.alive, self.breaches = set(), []
        self.quotas = Quotas(
            limits,
            rules=ClientRules({}),
            runs=lambda response_id, _owner: response_id in self.alive,
            limit_reached=self.breaches.append,
            now=clock.now,
        )
        self.shared = SharedLimits(counters, self.quotas.slots_in_use, clock.clock())
        self.quotas.shared = self.shared
        self.sockets = ExitStack()

    async def create(self, key, *, runs=False):
        """Seconds to wait; 0: it was begun."""
        try:
            await self.quotas.ask_store(key)
            with self.quotas.response(key) as begun:
                response_id = secrets.token_hex(8)
                if runs:
                    self.alive.add(response_id)
                begun.pass_to(response_id)
        except RateLimited as refusal:
            return refusal.retry_after
        return 0

    async def connect(self, key):
        """Whether a socket could be opened; it stays so."""
        try:
            await self.quotas.ask_store(key, ["connections_per_key"])
            self.sockets.enter_context(self.quotas.connection(key))
        except RateLimited:
            return False
        return True


class Fleet:
    """Processes that share a store and a time."""

    def __init__(self, store, node, **limits):
        self.key = secrets.token_hex(8)
        self._store, self._node = store, node
        self._limits = Limits(scope="store", **limits)
        self.clock = FakeClock()
        self._begin = time.monotonic(), self.clock.time
        self._shifted = 0.0

    def process(self, wrap=lambda counters: counters):
        counters = RedisCounters(self._store.scripts, secrets.token_hex(8))
        return Process(wrap(counters), self.clock, self._limits)

    def advance(self, seconds):
        """Let time pass here and in the store."""
        self.clock.advance(seconds)
        began, turned = self._begin
        wanted = (self.clock.time - turned) - (time.monotonic() - began)
        shift = round(4 * (wanted - self._shifted)) / 4
        self._shifted += shift
        for limit in (CREATES, TOKENS, RUNNING, CONNECTIONS):
            let_pass(self._node, shift, limit, self.key)

    async def begun(self, process, most):
        """How many creates of so many begin."""
        return [await process.create(self.key) for _ in range(most)].count(0)


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture
async def store(node):
    async with opened(node.url) as one:
        yield one


@pytest.fixture
def fleet(store, node, monkeypatch):
    """A function that makes a fleet with some limits; a slow store is waited for."""
    monkeypatch.setattr(store_timeout, "SILENCE_SECONDS", LONG)
    monkeypatch.setattr(store_timeout, "LONGEST_SECONDS", LONG)
    return lambda **limits: Fleet(store, node, **limits)


# Rates


async def test_all_processes_together_create_as_many_as_the_limit(fleet):
    """One of them is killed in the middle: what it held ahead is all that may be missing."""
    some = fleet(creates_per_minute=100)
    processes = [some.process() for _ in range(4)]
    begun = sum([await some.begun(process, 10) for process in processes])
    assert begun == 40
    *living, _killed = processes
    for _ in range(40):
        begun += sum([await some.begun(process, 1) for process in living])
        some.advance(0.25)
        for process in living:
            await process.shared.report()
    lease = 100 // 20
    assert 100 - lease <= begun <= 100
    some.advance(HELD_SECONDS + WINDOW + 1)
    assert await some.begun(living[0], 110) == 100


async def test_a_small_limit_is_exact(fleet):
    """Nothing is held ahead then: each create asks."""
    some = fleet(creates_per_minute=30)
    processes = [some.process() for _ in range(4)]
    waits = await asyncio.gather(
        *(process.create(some.key) for process in processes for _ in range(20))
    )
    assert waits.count(0) == 30


async def test_no_sixty_seconds_hold_more_than_the_limit_whatever_the_rhythm(fleet):
    some, taken = fleet(creates_per_minute=60), []
    processes = [some.process() for _ in range(3)]
    steps = (0, 2.5, 2.5, 10, 0, 5, 7.5, 0, 20, 0, 2.5, 15, 2.5, 0, 0, 2.5, 15, 2.5, 0, 30)
    for number, step in enumerate(steps * 2):
        some.advance(step)
        for place, process in enumerate(processes):
            if (number + place) % 3:  # it stands still now and then
                await process.shared.report()
            begun = await some.begun(process, 1 + (number * 7 + place) % 9)
            taken += [some.clock.time] * begun
    for begin in taken:
        assert sum(begin <= one < begin + WINDOW for one in taken) <= 60
    assert len(taken) > 180


async def test_the_wait_is_true(fleet):
    """After it one more begins; seconds before none does, on no process."""
    some = fleet(creates_per_minute=6)
    one, other = some.process(), some.process()
    for process in (one, other, one, other, one, other):
        assert await process.create(some.key) == 0
        some.advance(5)
    for process in (one, other):
        wait = await process.create(some.key)
        assert 25 < wait <= 31  # the first is 30 s old
    some.advance(wait - 4)
    assert await one.create(some.key) > 0
    some.advance(4.5)
    assert await other.create(some.key) == 0
    assert await one.create(some.key) > 0


async def test_most_creates_need_no_call(fleet, store):
    some = fleet(creates_per_minute=1000)
    process, before = some.process(), store.answer_count()
    assert await some.begun(process, 200) == 200
    await asyncio.gather(*process.shared._calls)
    assert store.answer_count() - before <= 200 / (1000 // 20 / 2) + 2


async def test_more_is_asked_for_before_all_is_used(fleet):
    """Creates go on meanwhile: the answer is held back, and none waits for it."""
    some, links = fleet(creates_per_minute=1000), []
    process = some.process(lambda it: links.append(HeldBack(it)) or links[0])
    assert await process.create(some.key) == 0
    links[0].gate.clear()
    assert await some.begun(process, 40) == 40
    await wait_until(lambda: links[0].is_waiting)
    assert await some.begun(process, 10) == 10
    links[0].gate.set()
    assert await some.begun(process, 40) == 40


async def test_what_an_idle_process_holds_ahead_is_given_back(fleet, store):
    some = fleet(creates_per_minute=100)
    idle, other = some.process(), some.process()
    assert await idle.create(some.key) == 0
    for _ in range(2):
        await idle.shared.report()
    assert await some.begun(other, 110) == 99
    before = store.answer_count()
    await idle.shared.report()
    assert store.answer_count() == before  # it has nothing to say


async def test_tokens_that_one_process_used_count_for_all(fleet):
    some = fleet(tokens_per_minute=1000)
    one, other = some.process(), some.process()
    assert await other.create(some.key) == 0
    one.quotas.used(some.key, 999)
    await one.shared.report()
    some.advance(1.25)  # so old may be what a process knows
    assert await other.create(some.key) == 0
    one.quotas.used(some.key, 500)
    assert 50 < await one.create(some.key) <= 60
    await one.shared.report()
    some.advance(1.25)
    wait = await other.create(some.key)
    assert 50 < wait <= 60
    assert other.breaches == ["tokens_per_minute"]
    some.advance(wait - 4)
    assert await other.create(some.key) > 0
    some.advance(4.5)
    assert await other.create(some.key) == 0


# Slots


async def test_all_processes_together_run_as_many_as_the_limit(fleet):
    some = fleet(running_per_key=10)
    one, other = some.process(), some.process()
    waits = [await process.create(some.key, runs=True) for process in (one, other) * 6]
    assert waits == [0] * 10 + [1, 1]
    one.alive.clear()
    assert await other.create(some.key, runs=True) == 1  # until the next report
    await one.shared.report()
    assert await other.create(some.key, runs=True) == 0


async def test_ended_responses_make_room_on_their_own_process_at_once(fleet):
    some = fleet(running_per_key=4)
    one = some.process()
    for _ in range(4):
        assert await one.create(some.key, runs=True) == 0
    assert await one.create(some.key, runs=True) == 1
    one.alive.pop()
    assert await one.create(some.key, runs=True) == 0


async def test_of_many_slots_few_are_held_ahead(fleet, store):
    some = fleet(connections_per_key=100)
    one, other = some.process(), some.process()
    before = store.answer_count()
    assert [await one.connect(some.key) for _ in range(50)] == [True] * 50
    await asyncio.gather(*one.shared._calls)
    assert store.answer_count() - before < 30
    assert [await other.connect(some.key) for _ in range(60)].count(True) >= 45
    one.sockets.close()
    other.sockets.close()


async def test_the_slots_of_a_process_that_was_killed_come_back(fleet):
    some = fleet(connections_per_key=10)
    killed, other = some.process(), some.process()
    assert [await killed.connect(some.key) for _ in range(8)] == [True] * 8
    assert [await other.connect(some.key) for _ in range(3)] == [True, True, False]
    for _ in range(3):  # its own are renewed
        some.advance(HELD_SECONDS / 3)
        await other.shared.report()
    some.advance(1)
    assert [await other.connect(some.key) for _ in range(9)].count(True) == 8
    killed.sockets.close()
    other.sockets.close()


async def test_a_clean_stop_gives_all_back_at_once(fleet):
    some = fleet(connections_per_key=40, creates_per_minute=100)
    leaves, stays = some.process(), some.process()
    assert await leaves.connect(some.key)
    assert await leaves.create(some.key) == 0
    leaves.sockets.close()
    await leaves.shared.close()
    assert [await stays.connect(some.key) for _ in range(41)].count(True) == 40
    assert await some.begun(stays, 110) == 99
    stays.sockets.close()


# Faults


class LostAnswers:
    """Counters whose answers are lost as long as the test wants."""

    def __init__(self, counters):
        self._counters, self.are_lost = counters, True

    async def count(self, reports):
        tallies = await self._counters.count(reports)
        if self.are_lost:
            raise StoreUnavailable
        return tallies


class HeldBack:
    """Counters whose calls wait at a gate."""

    def __init__(self, counters):
        self._counters, self.gate, self.is_waiting = counters, asyncio.Event(), False
        self.gate.set()

    async def count(self, reports):
        self.is_waiting = not self.gate.is_set()
        await self.gate.wait()
        return await self._counters.count(reports)


async def test_a_process_with_nothing_to_report_finds_out_that_the_store_is_back(fleet):
    some, links = fleet(tokens_per_minute=100), []
    one = some.process(lambda it: links.append(LostAnswers(it)) or links[0])
    assert await one.create(some.key) == 0
    assert one.shared.is_away
    await one.shared.report()
    assert one.shared.is_away
    links[0].are_lost = False
    await one.shared.report()
    assert not one.shared.is_away


async def test_what_was_reported_twice_counts_once(fleet):
    """The answer to the first report was lost."""
    some = fleet(tokens_per_minute=100)
    links = []
    one, other = some.process(lambda it: links.append(LostAnswers(it)) or links[0]), some.process()
    one.quotas.used(some.key, 30)
    for _ in range(3):
        await one.shared.report()
    one.quotas.used(some.key, 30)
    links[0].are_lost = False
    for _ in range(2):
        await one.shared.report()
    assert await other.create(some.key) == 0
    one.quotas.used(some.key, 40)
    await one.shared.report()
    some.advance(1.25)
    assert await other.create(some.key) > 0


async def test_without_the_store_each_process_counts_for_itself_and_waits_for_nothing(
    fleet, caplog
):
    """What was used meanwhile counts when the store is back."""
    some = fleet(creates_per_minute=10)
    links = []
    one = some.process(lambda it: links.append(LostAnswers(it)) or links[0])
    with caplog.at_level(logging.INFO):
        assert await some.begun(one, 12) == 10
        assert one.breaches == ["creates_per_minute"] * 2
        links[0].are_lost = False
        await one.shared.report()
        await one.shared.report()
    assert await some.process().create(some.key) > 0
    lines = [line for line in caplog.messages if line.startswith("limits_")]
    assert lines == ["limits_local reason=the store is away", "limits_shared"]


async def test_a_store_that_stands_still_holds_nobody_up(monkeypatch, caplog):
    """The first create waits for a moment; while the store is away, none does."""
    with Node(valkey_binary()) as node:
        async with opened(node.url) as store:
            some = Fleet(store, node, creates_per_minute=10, connections_per_key=5)
            process = some.process()
            monkeypatch.setattr(store_timeout, "LONGEST_SECONDS", LONG)
            monkeypatch.setattr(store_timeout, "SILENCE_SECONDS", LONG)
            assert await process.create(some.key) == 0
            node.freeze()
            try:
                with caplog.at_level(logging.INFO):
                    monkeypatch.setattr(store_timeout, "SILENCE_SECONDS", 0.7)  # the product's own
                    assert await process.create(some.key) == 0
                    assert process.shared.is_away
                    monkeypatch.setattr(store_timeout, "SILENCE_SECONDS", LONG)
                    assert await some.begun(process, 20) == 8
                    assert [await process.connect(some.key) for _ in range(6)].count(True) == 5
            finally:
                node.thaw()
            with caplog.at_level(logging.INFO):
                await wait_until(lambda: not process.shared.is_away)
                await process.shared.report()
            lines = [line for line in caplog.messages if line.startswith("limits_")]
            assert lines == ["limits_local reason=no answer in time", "limits_shared"]
            assert await some.process().create(some.key) > 0
            assert not await some.process().connect(some.key)
            process.sockets.close()


async def test_a_store_that_has_lost_its_data_learns_again_what_is_in_use(fleet, node):
    some = fleet(connections_per_key=3)
    one, other = some.process(), some.process()
    assert [await one.connect(some.key) for _ in range(3)] == [True] * 3
    node.cli("DEL", counter_key(CONNECTIONS, some.key))
    some.advance(HELD_SECONDS / 3)
    await one.shared.report()
    assert not await other.connect(some.key)
    one.sockets.close()


async def test_a_process_that_stood_still_uses_nothing_that_it_held(fleet):
    """The store may have given it to others since."""
    some = fleet(creates_per_minute=100)
    stood, other = some.process(), some.process()
    assert await stood.create(some.key) == 0
    some.advance(HELD_SECONDS + WINDOW + 1)
    assert await some.begun(other, 110) == 100
    assert await stood.create(some.key) > 0


# Settings


async def test_a_new_scope_and_new_limits_hold_for_what_comes_next(fleet):
    some = fleet(creates_per_minute=4)
    one, other = some.process(), some.process()
    assert await some.begun(one, 5) == 4
    assert await other.create(some.key) > 0
    other.quotas.set_limits(Limits(scope="process", creates_per_minute=4))
    assert await some.begun(other, 5) == 4
    one.quotas.set_limits(Limits(scope="store", creates_per_minute=6))
    assert await some.begun(one, 5) == 2


async def test_a_key_without_a_limit_asks_nothing(fleet, store):
    some, before = fleet(), store.answer_count()
    process = some.process()
    assert await some.begun(process, 10) == 10
    assert await process.connect(some.key)
    process.quotas.used(some.key, 10)
    await process.shared.report()
    assert store.answer_count() == before
    assert process.shared._known == {}
    process.sockets.close()


async def test_idle_counters_are_forgotten(fleet):
    some = fleet(creates_per_minute=100, tokens_per_minute=100, running_per_key=10)
    process = some.process()
    assert await process.create(some.key) == 0
    process.quotas.used(some.key, 5)
    assert len(process.shared._known) == 3
    for _ in range(4):
        some.advance(WINDOW / 2)
        await process.shared.report()
    assert process.shared._known == {}
    assert await process.create(some.key) == 0


# Over real connections: two servers


ENVIRON = {"KEYS": "one-key-of-a-client,another-key"}
KEY = {"Authorization": "Bearer one-key-of-a-client"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.fixture
def serve_two(serve, node):
    """Two servers of one store that is new to them, with these limits."""

    async def start(upstream, **limits):
        prefix = secrets.token_hex(4) + ":"
        config = {
            "auth": {"keys_env": ["KEYS"]},
            "store": {"url": node.url, "prefix": prefix},
            "limits": {"scope": "store", **limits},
        }
        servers = [await serve(upstream, config, ENVIRON) for _ in range(2)]
        for one in servers:
            await wait_until(one.bridge._store.is_available)
        return servers

    return start


async def post(server, path="/v1/responses", **body):
    given = {"model": "m", "input": "x", **body}
    async with server.session.post(server.url + path, json=given, headers=KEY) as got:
        return got.status, int(got.headers.get("Retry-After", 0)), await got.json()


@pytest.mark.catalogue("S12")
async def test_a_create_too_many_is_429_on_every_server_and_transport(serve_two):
    one, other = await serve_two(Scripted(answer("x")), creates_per_minute=2)
    client = await other.connect(headers=KEY)
    assert (await post(one))[0] == 200
    assert (await client.turn(input="x"))[-1]["type"] == "response.completed"
    for server in (one, other):
        for kind in ({}, {"stream": True}, {"background": True}, {"store": False}):
            status, wait, body = await post(server, **kind)
            assert status == 429
            assert 0 < wait <= 61
            assert body["error"]["code"] == "rate_limit_exceeded"
    [refused] = await client.turn(input="x")
    assert (refused["type"], refused["status"]) == ("error", 429)
    async with one.session.get(one.url + "/metrics", headers=KEY) as got:
        lines = (await got.text()).splitlines()
    assert 'ws_bridge_limited_total{limit="creates_per_minute"} 4.0' in lines
    another = {"Authorization": "Bearer another-key"}
    fresh = await one.connect(headers=another)
    assert (await fresh.turn(input="x"))[-1]["type"] == "response.completed"


@pytest.mark.catalogue("S12")
async def test_a_socket_too_many_is_429_on_every_server_until_one_has_gone(serve_two):
    one, other = await serve_two(Scripted(answer("x")), connections_per_key=1)
    client = await one.connect(headers=KEY)
    async with other.session.get(other.url + "/v1/responses", headers=KEY | UPGRADE) as got:
        assert (got.status, got.headers["Retry-After"]) == (429, "1")
    await client.ws.close()
    shared = one.bridge._quotas.shared
    await wait_until(lambda: not one.bridge._sockets.connections())
    await shared.report()
    again = await other.connect(headers=KEY)
    assert (await again.turn(input="x"))[-1]["type"] == "response.completed"


@pytest.mark.catalogue("S12")
async def test_a_running_response_too_many_is_429_on_every_server(serve_two):
    gate = asyncio.Event()
    script = [*opening(), *message("x")[:3], gate, *message("x")[3:], completed(done_item("x"))]
    one, other = await serve_two(Scripted(script), running_per_key=1)
    assert (await post(one, background=True))[0] == 200
    status, wait, _ = await post(other)
    assert (status, wait) == (429, 1)
    gate.set()
    await wait_until(lambda: not one.bridge._jobs.running())
    await one.bridge._quotas.shared.report()
    assert (await post(other))[0] == 200


async def test_tokens_of_one_server_are_too_many_on_another(serve_two):
    one, other = await serve_two(Scripted(answer("x")), tokens_per_minute=1)
    assert (await post(one))[0] == 200
    await one.bridge._quotas.shared.report()
    status, wait, body = await post(other)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < wait <= 61


async def test_a_server_that_ends_gives_its_slots_back(serve_two):
    one, other = await serve_two(Scripted(answer("x")), connections_per_key=1)
    await one.connect(headers=KEY)
    await one.stop()
    client = await other.connect(headers=KEY)
    assert (await client.turn(input="x"))[-1]["type"] == "response.completed"


async def test_a_server_whose_store_stands_still_serves_within_its_own_count(
    serve, monkeypatch, caplog
):
    with Node(valkey_binary()) as node:
        config = {
            "auth": {"keys_env": ["KEYS"]},
            "store": {"url": node.url},
            "limits": {"scope": "store", "creates_per_minute": 3},
        }
        server = await serve(Scripted(answer("x")), config, ENVIRON)
        await wait_until(server.bridge._store.is_available)
        with caplog.at_level(logging.INFO):
            node.freeze()
            try:
                monkeypatch.setattr(store_timeout, "SILENCE_SECONDS", 0.7)  # the product's own
                statuses = [(await post(server, store=False))[0] for _ in range(4)]
            finally:
                node.thaw()
            assert statuses == [200, 200, 200, 429]
            shared = server.bridge._quotas.shared
            await wait_until(lambda: not shared.is_away)
        lines = [line for line in caplog.messages if line.startswith("limits_")]
        assert lines == ["limits_local reason=no answer in time", "limits_shared"]
