"""Requests to reload: one reload at a time, and an answer for each request."""

import asyncio

import pytest
from support.workers import until

from ws_bridge import logs
from ws_bridge.config import Config, Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.reload_requests import STOPPED, ReloadRequests


def settings(secrets=None, **sections):
    return Settings(Config.model_validate(sections, strict=False), secrets or {})


class Server:
    """What serves: it writes down what it is asked, and waits or refuses as a test wants."""

    def __init__(self, first):
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal = ""
        self.files = first
        self.hangup = asyncio.Event()
        self.requests = ReloadRequests(first, self.load, self, self.hangup)

    def load(self):
        if isinstance(self.files, ConfigError):
            raise self.files
        return self.files

    async def prepare(self, generation, settings):
        self.asked.append(("prepare", generation, settings))
        await self.gate.wait()
        if self.refusal:
            raise ConfigError(self.refusal)

    async def commit(self, generation):
        assert self.requests.generation == generation  # what starts now has it already
        self.asked.append(("commit", generation))

    async def discard(self, generation):
        self.asked.append(("discard", generation))


@pytest.fixture(autouse=True)
def _log():
    cleaner = logs.CleanRecord.cleaner
    yield
    logs.CleanRecord.secrets, logs.CleanRecord.cleaner = frozenset(), cleaner


@pytest.fixture
async def server():
    one = Server(settings())
    running = asyncio.create_task(one.requests.run())
    yield one
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_settings_are_prepared_then_in_use_then_committed(server):
    server.files = settings(limits={"followers": 3}, server={"workers": 9})
    outcome = await server.requests.ask()
    assert outcome == "reloaded generation=2 without server.workers: restart to change them"
    kept = settings(limits={"followers": 3})
    assert server.asked == [("prepare", 2, kept), ("commit", 2)]
    assert (server.requests.settings, server.requests.generation) == (kept, 2)


async def test_files_that_cannot_be_used_change_nothing(server, caplog):
    before = server.requests.settings
    server.files = ConfigError("key 'x': bad", "key 'y': worse")
    assert await server.requests.ask() == "refused key 'x': bad; key 'y': worse"
    server.files, server.refusal = settings(limits={"followers": 3}), "worker 1: no"
    assert await server.requests.ask() == "refused worker 1: no"
    assert [one[0] for one in server.asked] == ["discard", "prepare", "discard"]
    assert (server.requests.settings, server.requests.generation) == (before, 1)
    assert [line.split()[0] for line in caplog.messages] == ["reload_refused"] * 2


async def test_a_bug_refuses_one_reload_and_not_all_later_ones(server, caplog):
    server.files = None  # the settings have no configuration
    outcome = await server.requests.ask()
    assert outcome == "refused the new settings could not be prepared: see the log"
    assert caplog.messages == ["reload_crashed"]
    server.files = settings(limits={"followers": 3})
    assert await server.requests.ask() == "reloaded generation=2"


async def test_a_new_secret_is_in_no_line_even_if_it_is_refused(server):
    server.files, server.refusal = settings({"K": "new-secret"}), "no"
    await server.requests.ask()
    assert logs.CleanRecord.cleaner.clean("new-secret") == "[redacted]"


async def test_requests_during_a_reload_are_answered_by_the_next(server):
    server.gate.clear()
    first = asyncio.create_task(server.requests.ask())
    await until(lambda: server.asked)
    more = [asyncio.create_task(server.requests.ask()) for _ in range(3)]
    server.hangup.set()
    await asyncio.sleep(0)
    server.gate.set()
    assert await first == "reloaded generation=2"
    assert await asyncio.gather(*more) == ["reloaded generation=3"] * 3
    assert [one[0] for one in server.asked] == ["prepare", "commit"] * 2


async def test_requests_that_the_end_of_the_server_cuts_off_are_answered():
    server = Server(settings())
    server.gate.clear()
    running = asyncio.create_task(server.requests.run())
    asked = [asyncio.create_task(server.requests.ask())]
    await until(lambda: server.asked)
    asked.append(asyncio.create_task(server.requests.ask()))
    await asyncio.sleep(0)
    running.cancel()
    assert await asyncio.gather(*asked) == [STOPPED] * 2
    assert await server.requests.ask() == STOPPED
