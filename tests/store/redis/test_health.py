"""Nothing is claimed while an overdue lease may only mean that the store was away."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import OutOfMemoryError
from support.hang import HANG_SECONDS

from ws_bridge.errors import ConfigError
from ws_bridge.store.redis import health as module
from ws_bridge.store.redis.connect import ServerReport
from ws_bridge.store.redis.health import StoreHealth
from ws_bridge.store.redis.scripts import FAILURES, PROBE_SECONDS, Scripts

LEASE = 15.0


class House:
    """A health whose server says what the test wants."""

    def __init__(self, monkeypatch, *words):
        self.now = 1000.0
        self.words = list(words)
        self.known = asyncio.Event()
        self.came_back = asyncio.Event()
        self.tries = 0
        self.scripts = Scripts(self, lambda: self.now, self.back)
        self.health = StoreHealth(self, self.scripts, LEASE, lambda: self.now)
        monkeypatch.setattr(module, "check_server", self.check_server)
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0)

    def back(self):
        self.came_back.set()
        self.health.recovered()

    async def check_server(self, _client):
        word = self.words.pop(0)
        if isinstance(word, Exception):
            raise word
        self.known.set()
        return ServerReport(word)

    async def script_load(self, _text):
        pass

    async def set(self, *_words, **_options):
        self.tries += 1
        if self.tries < 3:
            raise OutOfMemoryError

    async def execute_command(self, *_command):
        """Any script's answer; what is left of the words are failures."""
        if self.words:
            raise self.words.pop(0)
        return []

    @asynccontextmanager
    async def running(self):
        """The task that looks."""
        task = asyncio.create_task(self.health.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("uptime", "wait"), [(0, 15), (1, 15), (6, 10), (16, 0), (10_000, 0)])
async def test_owners_have_a_whole_lease_since_the_servers_start(monkeypatch, uptime, wait):
    house = House(monkeypatch, uptime)
    await house.health.check()
    if wait:
        house.now += wait - 0.1
        assert not house.health.may_claim()
        house.now += 0.1
    assert house.health.may_claim()


async def test_owners_have_a_whole_lease_since_the_end_of_an_outage(monkeypatch):
    house = House(monkeypatch, 10_000)
    await house.health.check()
    house.health.recovered()
    house.now += LEASE - 0.1
    assert not house.health.may_claim()
    house.now += 0.1
    assert house.health.may_claim()


async def test_nothing_is_claimed_during_an_outage(monkeypatch):
    house = House(monkeypatch, 10_000)
    await house.health.check()
    for _ in range(3):
        house.scripts.breaker.record_failure(Lost())
    assert not house.health.may_claim()


async def test_without_room_nothing_is_claimed_until_owners_could_renew_again(monkeypatch):
    """It answers, so it is not away; but nobody could renew a lease."""
    house = House(monkeypatch, 10**6)
    await house.health.check()
    assert house.health.may_claim()
    house.scripts.breaker.refuses_writes = True
    house.now += LEASE
    assert not house.health.may_claim()
    async with house.running():
        async with asyncio.timeout(HANG_SECONDS):
            while house.scripts.breaker.refuses_writes:  # noqa: ASYNC110 - of the task that looks
                await asyncio.sleep(0)
    assert house.tries == 3  # two were refused
    assert not house.health.may_claim()
    house.now += LEASE
    assert house.health.may_claim()


async def test_nothing_is_claimed_of_a_server_that_was_never_seen(monkeypatch):
    house = House(monkeypatch, Lost())
    await house.health.check()
    assert not house.health.is_checked
    assert not house.health.may_claim()
    house.health.recovered()
    house.now += 10 * LEASE
    assert not house.health.may_claim()


async def test_one_that_is_unfit_is_told_at_the_start_and_looked_at_again_later(
    monkeypatch, caplog
):
    house = House(monkeypatch, ConfigError("too old"), Lost(), ConfigError("too old"), 10_000)
    with pytest.raises(ConfigError):
        await house.health.check()
    async with asyncio.timeout(HANG_SECONDS), house.running():
        await house.known.wait()
    assert house.words == []
    assert "too old" in caplog.text


async def test_an_idle_server_notices_that_the_store_is_back(monkeypatch):
    """It is not ready, so it is sent no requests: nobody else would ask."""
    house = House(monkeypatch, 10_000)
    await house.health.check()
    for _ in range(FAILURES):
        house.scripts.breaker.record_failure(Lost())
    house.words = [Lost(), Lost()]
    ahead = iter(range(10_000))
    monkeypatch.setattr(
        house.scripts.breaker, "now", lambda: house.now + PROBE_SECONDS * next(ahead)
    )
    async with asyncio.timeout(HANG_SECONDS), house.running():
        await house.came_back.wait()
    assert not house.scripts.breaker.is_open
    assert not house.health.may_claim()
    house.now += LEASE
    assert house.health.may_claim()


async def test_who_found_nobody_first_gives_owners_a_whole_lease(monkeypatch):
    """The server may have stood still and not have been started anew: its uptime says nothing."""
    house = House(monkeypatch, Lost(), 10_000)
    await house.health.check()
    await house.health.check()
    house.now += LEASE - 0.1
    assert not house.health.may_claim()
    house.now += 0.1
    assert house.health.may_claim()
