"""The scripts' texts, when the store is asked at all, and what an answer is worth."""

import asyncio
import hashlib
import re

import pytest
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as Late

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.redis.scripts import (
    ALL,
    CALLS_AT_ONCE,
    FAILURES,
    LUA,
    PROBE_SECONDS,
    READ,
    SILENCE_SECONDS,
    STALL_SECONDS,
    CircuitBreaker,
    ScriptCall,
    Scripts,
)


class Hand:
    """A clock turned by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Server:
    """A client's other implementation: says what the test wants, in order, then its last word."""

    connection_pool = None
    enough = 1  # calls under way, and `is_full` is set

    def __init__(self, *words):
        self.words = list(words)
        self.asked = 0
        self.loaded = []
        self.open_now = self.most_open = 0
        self.is_full = asyncio.Event()

    async def script_load(self, text):
        self.loaded.append(text)

    async def execute_command(self, *_command):
        self.asked += 1
        self.open_now += 1
        self.most_open = max(self.open_now, self.most_open)
        if self.open_now == self.enough:
            self.is_full.set()
        word = self.words.pop(0) if len(self.words) > 1 else self.words[0]
        try:
            if isinstance(word, asyncio.Event):
                await word.wait()
        finally:
            self.open_now -= 1
        if isinstance(word, Exception):
            raise word
        return word


def scripts(server, now=None, back=lambda: None):
    made = Scripts(server, now or Hand(), back)
    made.breaker.record_success()
    return made


# The texts


def test_every_script_is_known_by_its_name():
    names = {path.name.removesuffix(".lua") for path in LUA.iterdir() if path.name != "__pycache__"}
    assert {script.name for script in ALL} == names
    for script in ALL:
        assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()  # noqa: S324 - as Redis does
        assert script.text.startswith(f"-- {script.name}: ")


def test_no_script_names_a_key_that_it_was_not_given():
    """On a cluster a key that was not declared may be on another node."""
    for script in ALL:
        for command, key in re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]+))?", script.text):
            assert command in ("TIME", "PUBLISH") or key.startswith("KEYS["), (script.name, command)


def test_a_call_is_a_command():
    call = ScriptCall(READ, ("a", "b"), ("x", 1, b"y"))
    assert call.command() == ("EVALSHA", READ.sha, 2, "a", "b", "x", 1, b"y")


# The breaker


def test_after_some_failures_in_a_row_nobody_waits_but_for_a_probe():
    clock = Hand()
    breaker = CircuitBreaker(clock)
    for _ in range(FAILURES):
        breaker.check()
        breaker.record_failure(Lost())
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            breaker.check()
    clock.now += PROBE_SECONDS
    breaker.check()  # the probe
    with pytest.raises(StoreUnavailable):
        breaker.check()
    breaker.record_success()
    breaker.check()
    breaker.check()


def test_a_success_in_between_forgives():
    breaker = CircuitBreaker(Hand())
    for _ in range(10 * FAILURES):
        breaker.record_failure(Lost())
        breaker.record_success()
        breaker.check()


@pytest.mark.catalogue("A6")
@pytest.mark.parametrize("late", [Late(), TimeoutError()])
def test_late_answers_turn_nobody_away_until_nobody_was_answered_for_seconds(late):
    """One slow script holds up all the others: the next moment the store is there again."""
    clock = Hand()
    breaker = CircuitBreaker(clock)
    breaker.record_success()
    for _ in range(10 * FAILURES):
        asked_at, clock.now = clock.now, clock.now + 0.9
        breaker.record_failure(late, asked_at)
        breaker.check()
        clock.now += 0.9
        breaker.record_failure(late, asked_at)
        breaker.check()
        breaker.record_success()
    breaker.record_failure(late, clock.now)
    clock.now += SILENCE_SECONDS
    breaker.record_failure(late, clock.now - 1)
    with pytest.raises(StoreUnavailable):
        breaker.check()


@pytest.mark.catalogue("A6")
def test_a_late_answer_says_nothing_of_a_store_that_has_answered_others_since():
    clock = Hand()
    breaker = CircuitBreaker(clock)
    for _ in range(10 * FAILURES):
        asked_at, clock.now = clock.now, clock.now + SILENCE_SECONDS
        breaker.record_success()
        breaker.record_failure(Late(), asked_at)
        assert breaker.failures == 0
        breaker.check()


async def test_one_late_answer_is_an_outage_for_whoever_judges_leases():
    told = []
    made = scripts(Server(Late(), "yes"), back=lambda: told.append(1))
    with pytest.raises(StoreUnavailable):
        await made.call(READ, ())
    await made.call(READ, ())
    assert told == [1]


async def test_before_the_first_answer_the_store_is_away():
    made = Scripts(Server("yes"), Hand(), lambda: None)
    assert made.breaker.is_open
    assert await made.call(READ, ()) == "yes"
    assert not made.breaker.is_open


# Calls


@pytest.mark.parametrize(
    "word",
    [
        *(Lost(), OSError(), ReadOnlyError(), AttributeError(), TypeError()),
        RuntimeError("unable to perform operation; the handler is closed"),
    ],
)
async def test_what_did_not_come_through_is_unavailable_and_counts(word):
    made = scripts(Server(word))
    for count in range(1, FAILURES + 1):
        with pytest.raises(StoreUnavailable):
            await made.call(READ, ())
        assert made.breaker.failures == count


@pytest.mark.parametrize(
    "word",
    [
        OutOfMemoryError("OOM"),
        ResponseError("MISCONF Redis is configured to save"),
        ResponseError("BUSY Redis is busy running a script"),
        ResponseError("NOREPLICAS Not enough good replicas"),
    ],
)
async def test_a_refusal_that_passes_is_unavailable_to_all(word):
    made = scripts(Server(word))
    with pytest.raises(StoreUnavailable):
        await made.call_all([ScriptCall(READ, (), ())])
    assert made.breaker.refuses_writes
    assert not made.breaker.is_open


async def test_a_refusal_of_one_call_is_its_answer():
    wrong = ResponseError("WRONGTYPE")
    made = scripts(Server(wrong))
    assert await made.call_all([ScriptCall(READ, (), ())]) == [wrong]
    assert made.breaker.failures == 0
    with pytest.raises(StoreUnavailable):
        await made.call(READ, ())


async def test_scripts_that_the_server_forgot_are_sent_and_the_call_repeated():
    server = Server(NoScriptError("NOSCRIPT"), "yes")
    assert await scripts(server).call(READ, ()) == "yes"
    assert server.loaded == [script.text for script in ALL]


async def test_scripts_that_are_forgotten_again_at_once_are_sent_again_and_are_no_refusal():
    """Else a write would be taken for one that another server has fenced."""
    forgets = NoScriptError("NOSCRIPT")
    assert await scripts(Server(forgets, forgets, forgets, "yes")).call(READ, ()) == "yes"
    made = scripts(Server(forgets))
    with pytest.raises(StoreUnavailable):
        await made.call_all([ScriptCall(READ, (), ())])
    assert not made.breaker.refuses_writes


async def test_nothing_asked_is_nothing_sent():
    server = Server("yes")
    assert await scripts(server).call_all([]) == []
    assert server.asked == 0


async def test_who_listens_is_told_once_when_the_store_is_back():
    clock, told = Hand(), []
    made = scripts(Server(*[Lost()] * FAILURES, "yes"), clock, lambda: told.append(1))
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await made.call(READ, ())
    clock.now += PROBE_SECONDS
    for _ in range(3):
        await made.call(READ, ())
    assert told == [1]


async def test_one_failure_is_an_outage_for_whoever_judges_leases():
    """A server may stand still for longer than a lease and cost an idle process one call."""
    told = []
    made = scripts(Server(Lost(), "yes"), back=lambda: told.append(1))
    with pytest.raises(StoreUnavailable):
        await made.call(READ, ())
    await made.call(READ, ())
    assert told == [1]


async def test_an_answer_that_took_long_is_an_outage_too():
    clock, told, gate = Hand(), [], asyncio.Event()
    server = Server(gate)
    made = scripts(server, clock, lambda: told.append(1))
    call = asyncio.create_task(made.call(READ, ()))
    await server.is_full.wait()
    clock.now += STALL_SECONDS + 0.1
    gate.set()
    await call
    assert told == [1]


class Pool:
    """A client's connections."""

    def __init__(self):
        self.dropped = 0

    async def disconnect(self, *, inuse_connections):
        assert not inuse_connections
        self.dropped += 1


async def test_a_dead_connection_is_no_failure_and_no_other_idle_one_is_trusted():
    """After a restart of the server all of a burst's connections are dead, and it is there."""
    server = Server(Lost(), "yes")
    server.connection_pool = Pool()
    made = scripts(server)
    assert await made.call(READ, ()) == "yes"
    assert (server.connection_pool.dropped, made.breaker.failures) == (1, 0)


async def test_only_so_many_calls_are_under_way_at_once():
    gate = asyncio.Event()
    server = Server(gate)
    server.enough = CALLS_AT_ONCE
    made = scripts(server)
    calls = [asyncio.create_task(made.call(READ, ())) for _ in range(3 * CALLS_AT_ONCE)]
    await server.is_full.wait()
    gate.set()
    await asyncio.gather(*calls)
    assert server.most_open == CALLS_AT_ONCE


async def test_who_is_cancelled_leaves_at_once_and_the_call_comes_to_its_end():
    gate = asyncio.Event()
    server = Server(gate)
    made = scripts(server)
    call = asyncio.create_task(made.call(READ, ()))
    await server.is_full.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert server.open_now == 1
    closing = asyncio.create_task(made.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.set()
    await closing
    assert server.open_now == 0
