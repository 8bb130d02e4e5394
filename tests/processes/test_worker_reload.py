"""All workers prepare, then all commit: the order of the lines, and what ends without one."""

import asyncio

import pytest
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from support.workers import until

from ws_bridge.config import Config, Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.children import ANSWER_SECONDS
from ws_bridge.processes.messages import COMMITTED, LISTENING, PREPARED, REFUSED
from ws_bridge.processes.worker_reload import WorkerReload

SETTINGS = Settings(Config())
PREPARE = f"prepare 2 {SETTINGS.to_json()}"


class Lines:
    """The lines that a worker was sent."""

    def __init__(self):
        self.sent = []

    def send(self, line):
        self.sent.append(line)


class Workers:
    """A reload with two workers, who say what a test has them say."""

    def __init__(self):
        self.clock = FakeClock()
        self.reload = WorkerReload(self.clock.clock())
        self.first, self.second = self.join(1), self.join(2)

    def join(self, number, *, listens=True, generation=1):
        lines = Lines()
        self.reload.join(lines, number, generation)
        if listens:
            self.says(lines, LISTENING)
        return lines

    def says(self, lines, word, more=""):
        self.reload.receive(lines, word, more)

    async def preparing(self):
        task = asyncio.create_task(self.reload.prepare(2, SETTINGS))
        await until(lambda: PREPARE in self.first.sent)
        return task


@pytest.fixture
def workers():
    return Workers()


async def test_none_commits_before_all_have_prepared(workers):
    preparing = await workers.preparing()
    workers.says(workers.first, PREPARED, "2")
    await asyncio.sleep(0)
    assert not preparing.done()
    workers.says(workers.second, PREPARED, "2")
    await preparing
    assert workers.first.sent == workers.second.sent == [PREPARE]
    committing = asyncio.create_task(workers.reload.commit(2))
    for one in (workers.first, workers.second):
        await until(lambda: "commit 2" in one.sent)  # noqa: B023 - awaited in the loop
        assert not committing.done()
        workers.says(one, COMMITTED, "2")
    await committing


async def test_one_that_refuses_is_enough(workers):
    preparing = await workers.preparing()
    workers.says(workers.first, PREPARED, "2")
    workers.says(workers.second, REFUSED, "2 a bad key")
    with pytest.raises(ConfigError, match="a bad key"):
        await preparing
    await workers.reload.discard(2)
    assert workers.first.sent == [PREPARE, "discard 2"]
    workers.says(workers.second, REFUSED, "2 late")  # of no weight any more
    preparing = asyncio.create_task(workers.reload.prepare(3, SETTINGS))
    await until(lambda: len(workers.first.sent) == 3)
    workers.says(workers.first, REFUSED, "2 later")
    for one in (workers.first, workers.second):
        workers.says(one, PREPARED, "3")
    await preparing


async def test_one_that_starts_meanwhile_is_asked_and_waited_for_however_long(workers):
    preparing = await workers.preparing()
    late = workers.join(1, listens=False)
    assert late.sent == [PREPARE]
    for one in (workers.first, workers.second):
        workers.says(one, PREPARED, "2")
    await asyncio.sleep(0)
    workers.clock.advance(100 * ANSWER_SECONDS)
    for _ in range(20):  # turns of the loop
        await asyncio.sleep(0)
    assert not preparing.done()
    workers.says(late, LISTENING)
    workers.says(late, PREPARED, "2")
    await preparing
    assert workers.join(2).sent == [PREPARE]  # until it is committed, which happens at once


async def test_one_that_starts_with_the_new_settings_is_not_waited_for(workers):
    """The others are being told to commit: it has nothing to commit, and will never say so."""
    preparing = await workers.preparing()
    for one in (workers.first, workers.second):
        workers.says(one, PREPARED, "2")
    await preparing
    committing = asyncio.create_task(workers.reload.commit(2))
    await until(lambda: "commit 2" in workers.first.sent)
    assert workers.join(3, generation=2).sent == []
    for one in (workers.first, workers.second):
        workers.says(one, COMMITTED, "2")
    async with asyncio.timeout(HANG_SECONDS):
        await committing


async def test_one_that_ends_is_waited_for_no_longer(workers):
    preparing = await workers.preparing()
    workers.says(workers.first, PREPARED, "2")
    workers.reload.leave(workers.second)
    await preparing
    committing = asyncio.create_task(workers.reload.commit(2))
    await until(lambda: "commit 2" in workers.first.sent)
    workers.reload.leave(workers.first)
    await committing
    await workers.reload.prepare(3, SETTINGS)  # without any, there is nothing to wait for


async def test_one_that_serves_and_is_silent_is_named_after_a_while(workers, caplog):
    preparing = await workers.preparing()
    workers.says(workers.first, PREPARED, "2")
    await until(lambda: workers.clock.sleepers)
    workers.clock.advance(ANSWER_SECONDS)
    with pytest.raises(ConfigError, match="worker 2 gives no answer"):
        await preparing
    committing = asyncio.create_task(workers.reload.commit(2))
    await until(lambda: workers.clock.sleepers)
    workers.says(workers.first, COMMITTED, "2")
    workers.clock.advance(ANSWER_SECONDS)
    await committing
    assert caplog.messages == ["worker_reloads_late number=2 generation=2"]
