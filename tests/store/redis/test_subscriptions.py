"""Followers of one process share what is read, and a process learns when hints may be lost."""

import asyncio
import secrets

import pytest
from store.contract import events_of, record
from store.opened import until
from support.hang import HANG_SECONDS
from support.long_limits import LONG
from support.tcp_proxy import Proxy

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.redis import subscriptions as module
from ws_bridge.store.redis.commands import Cursor, ResponsePage
from ws_bridge.store.redis.connect import parse_url
from ws_bridge.store.redis.subscriptions import (
    CANCELLED,
    EVENTS,
    MISSED,
    Subscriptions,
    receive_hints,
)


class Logs:
    """A source of logs in memory: the seam's other implementation."""

    def __init__(self):
        self.logs = {}
        self.taken = set()
        self.deleted = set()
        self.reads = []
        self.asked = []
        self.failures = 0
        self.told = asyncio.Queue()

    def add(self, response_id, *events):
        self.logs.setdefault(response_id, []).extend(events)

    async def read_pages(self, cursors):
        self.reads.append([cursor.id for cursor in cursors])
        self._fail()
        return [self._page(cursor) for cursor in cursors]

    async def request_hints(self, ids):
        self.asked.append(list(ids))
        self._fail()
        return [self._last(key) for key in ids]

    def _last(self, key):
        if key in self.logs:
            return self.logs[key][-1].number
        return -1 if key in self.deleted else -2

    async def hints(self):
        yield "", ""
        while True:
            yield await self.told.get()

    def _fail(self):
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable

    def _page(self, cursor):
        if cursor.id not in self.logs:
            return None
        log = self.logs[cursor.id]
        new = [event for event in log if event.number > cursor.after][:8]
        is_last = log[-1].is_terminal and (not new or new[-1] is log[-1])
        return ResponsePage(
            cursor, new, log[-1].number, is_last, is_taken_over=cursor.id in self.taken
        )


class Sleeps:
    """The checks' sleep: over when the test says so."""

    def __init__(self):
        self.seconds = []
        self._wake = asyncio.Event()

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        await self._wake.wait()
        self._wake.clear()

    def end(self):
        self._wake.set()


class House:
    def __init__(self):
        self.logs, self.sleeps, self.heard = Logs(), Sleeps(), []
        self.following = Subscriptions(
            self.logs, lambda *hint: self.heard.append(hint), self.sleeps
        )

    async def collect(self, kept, after=-1):
        last = self.logs.logs[kept.id][-1].number
        reader = self.following.follow(Cursor(kept.id, kept.owner, after), last)
        return [event async for batch in reader for event in batch]

    def start(self, kept, after=-1):
        return asyncio.create_task(self.collect(kept, after))

    async def until(self, is_true):
        while not is_true():  # noqa: ASYNC110 - of what only the inside knows
            await asyncio.sleep(0)


@pytest.fixture
async def house():
    made = House()
    running = asyncio.create_task(made.following.run())
    async with asyncio.timeout(HANG_SECONDS):
        await made.until(lambda: made.sleeps.seconds)  # all of it has begun
        yield made
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_there_already_is_read_without_a_hint(house):
    kept = record()
    events = events_of(kept, *map(str, range(30)))
    house.logs.add(kept.id, *events)
    assert await house.collect(kept) == events
    assert await house.collect(kept, 7) == events[8:]


async def test_one_read_is_enough_for_all_followers(house):
    kept = record()
    events = events_of(kept)
    house.logs.add(kept.id, *events[:2])
    readers = [house.start(kept, 1) for _ in range(50)]
    await house.until(lambda: len(house.logs.asked) == 50)
    house.logs.reads.clear()
    house.logs.add(kept.id, *events[2:4])
    house.logs.told.put_nowait((EVENTS, kept.id))
    await house.until(lambda: house.logs.reads)
    house.logs.add(kept.id, *events[4:])
    house.logs.told.put_nowait((EVENTS, kept.id))
    assert await asyncio.gather(*readers) == [events[2:]] * 50
    assert len(house.logs.reads) <= 3


async def test_hints_about_many_are_one_round_trip(house):
    kept = [record() for _ in range(20)]
    for one in kept:
        house.logs.add(one.id, *events_of(one)[:2])
    readers = [house.start(one, 1) for one in kept]
    await house.until(lambda: len(house.logs.asked) == 20)
    house.logs.reads.clear()
    for one in kept:
        house.logs.add(one.id, *events_of(one)[2:])
        house.logs.told.put_nowait((EVENTS, one.id))
    assert await asyncio.gather(*readers) == [events_of(one)[2:] for one in kept]
    assert len(house.logs.reads) < len(kept)


async def test_a_lost_hint_costs_no_more_than_a_check(house):
    kept = record()
    events = events_of(kept)
    house.logs.add(kept.id, *events[:2])
    reader = house.start(kept, 1)
    await house.until(lambda: house.logs.asked)
    house.logs.add(kept.id, *events[2:])
    house.sleeps.end()
    assert await reader == events[2:]
    assert max(house.sleeps.seconds) <= module.CHECK_SECONDS


async def test_many_are_checked_a_few_at_a_time_and_all_in_time(house, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 4)
    kept = [record() for _ in range(10)]
    for one in kept:
        house.logs.add(one.id, *events_of(one)[:2])
    readers = [house.start(one, 1) for one in kept]
    await house.until(lambda: len(house.logs.asked) == 10)
    house.logs.asked.clear()
    house.sleeps.end()
    house.sleeps.seconds.clear()
    while len(house.logs.asked) < 4:
        seen = len(house.sleeps.seconds)
        await house.until(lambda seen=seen: len(house.sleeps.seconds) > seen)
        house.sleeps.end()
    assert all(len(group) <= 4 for group in house.logs.asked)
    assert {key for group in house.logs.asked[:3] for key in group} == {one.id for one in kept}
    assert sum(house.sleeps.seconds[:3]) <= 1.5 * module.CHECK_SECONDS
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_a_new_subscription_means_that_everything_may_have_news(house):
    kept = record()
    events = events_of(kept)
    house.logs.add(kept.id, *events[:2])
    reader = house.start(kept, 1)
    await house.until(lambda: house.logs.asked)
    house.logs.add(kept.id, *events[2:])
    house.logs.told.put_nowait(("", ""))
    assert await reader == events[2:]


async def test_what_cannot_be_read_now_is_read_later(house):
    kept = record()
    events = events_of(kept)
    house.logs.add(kept.id, *events[:2])
    reader = house.start(kept, 1)
    await house.until(lambda: house.logs.asked)
    house.logs.failures = 2
    house.logs.add(kept.id, *events[2:])
    house.logs.told.put_nowait((EVENTS, kept.id))
    while not reader.done():
        house.sleeps.end()
        await asyncio.sleep(0)
    assert await reader == events[2:]


async def test_who_is_behind_the_window_reads_the_log(house, monkeypatch):
    kept = record()
    events = events_of(kept, *map(str, range(40)))
    monkeypatch.setattr(module, "WINDOW_BYTES", 3 * len(events[5].text))
    house.logs.add(kept.id, *events[:2])
    reader = house.following.follow(Cursor(kept.id, kept.owner, 1), 1)
    first = asyncio.create_task(anext(reader))
    await house.until(lambda: house.logs.asked)
    house.logs.add(kept.id, *events[2:4])
    house.logs.told.put_nowait((EVENTS, kept.id))
    seen = list(await first)
    quick = house.start(kept, 3)
    house.logs.add(kept.id, *events[4:])
    house.logs.told.put_nowait((EVENTS, kept.id))
    assert await quick == events[4:]
    seen += [event async for batch in reader for event in batch]
    assert seen == events[2:]


async def test_followers_of_what_is_gone_come_to_their_end(house):
    kept = record()
    house.logs.add(kept.id, *events_of(kept)[:2])
    reader = house.start(kept, 1)
    await house.until(lambda: house.logs.asked)
    del house.logs.logs[kept.id]
    house.logs.deleted.add(kept.id)
    house.logs.told.put_nowait((EVENTS, kept.id))
    assert await reader == []


async def test_what_a_store_has_lost_may_come_back(house):
    """It was flushed; the response's server writes it anew."""
    kept = record()
    events = events_of(kept)
    house.logs.add(kept.id, *events[:2])
    reader = house.start(kept, 1)
    await house.until(lambda: house.logs.asked)
    del house.logs.logs[kept.id]
    asked = len(house.logs.asked)
    house.logs.told.put_nowait((EVENTS, kept.id))
    await house.until(lambda: len(house.logs.asked) > asked)
    house.logs.add(kept.id, *events)
    house.logs.told.put_nowait((EVENTS, kept.id))
    assert await reader == events[2:]


@pytest.mark.parametrize("is_taken", [True, False])
async def test_a_reader_ahead_of_the_log_gets_nothing_twice_and_the_end_for_sure(house, is_taken):
    kept = record()
    events = events_of(kept)
    house.logs.add(kept.id, *events[:2])
    reader = house.start(kept, 100)
    await house.until(lambda: house.logs.asked)
    if is_taken:
        house.logs.taken.add(kept.id)
    house.logs.add(kept.id, *events[2:])
    house.logs.told.put_nowait((EVENTS, kept.id))
    assert await reader == (events[-1:] if is_taken else [])


async def test_other_hints_go_to_who_listens_for_them(house):
    house.logs.told.put_nowait((CANCELLED, "resp_1"))
    house.logs.told.put_nowait((EVENTS, "resp_nobody_follows"))
    await house.until(lambda: house.heard)
    assert house.heard == [(CANCELLED, "resp_1")]
    assert house.logs.reads == []


async def test_what_nobody_follows_any_more_is_forgotten(house):
    kept = record()
    house.logs.add(kept.id, *events_of(kept)[:2])
    readers = [house.start(kept, 1) for _ in range(3)]
    await house.until(lambda: len(house.logs.asked) == 3)
    for reader in readers:
        assert house.following._followed
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    assert not house.following._followed


# Hints


@pytest.fixture
async def line(valkey):
    """A subscription through a proxy: its channel, what it gives, and the proxy."""
    channel = "wb1:w:" + secrets.token_hex(8)
    async with Proxy(valkey.port) as proxy, asyncio.timeout(HANG_SECONDS):
        messages = receive_hints(parse_url(f"redis://127.0.0.1:{proxy.port}"), channel)
        yield channel, messages, proxy
        await messages.aclose()


async def test_nothing_is_missed_from_the_first_word_on(line, valkey):
    channel, messages, _ = line
    assert await anext(messages) == MISSED
    for text in ("eresp_1", "cresp_2", "fresp_3", "e", ""):
        assert valkey.cli("PUBLISH", channel, text) == 1
        assert await anext(messages) == (text[:1], text[1:])


async def test_after_a_cut_it_is_told_that_something_may_be_missed(line, valkey, caplog):
    channel, messages, proxy = line
    await anext(messages)
    for _ in range(2):
        proxy.cut()
        assert await anext(messages) == MISSED
        assert valkey.cli("PUBLISH", channel, "ex") == 1
        assert await anext(messages) == ("e", "x")
    assert "hints_away" in caplog.text


async def test_a_server_that_is_away_is_waited_for(monkeypatch, line, caplog):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    _, messages, proxy = line
    await anext(messages)
    proxy.refuse()
    news = asyncio.create_task(anext(messages))
    await until(lambda: is_told(caplog), "the log knows")
    await proxy.accept()
    assert await news == MISSED
    assert caplog.text.count("hints_away") == 1


async def is_told(caplog):
    return "hints_away" in caplog.text


async def test_a_silent_line_is_found_dead_and_a_new_one_made(monkeypatch, line, valkey):
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    channel, messages, proxy = line
    await anext(messages)
    proxy.freeze()
    news = asyncio.create_task(anext(messages))
    # The third connection: neither a line that fell silent nor one that never spoke is waited for.
    await until(lambda: has_connections(proxy, 3), "it tries anew, and again")
    monkeypatch.setattr(module, "ANSWER_SECONDS", LONG)  # from now on whoever is slow is not dead
    proxy.thaw()
    assert await news == MISSED
    valkey.cli("PUBLISH", channel, "ex")
    assert await anext(messages) == ("e", "x")


async def has_connections(proxy, count):
    return proxy.connections >= count


async def test_silence_alone_is_no_death(monkeypatch, line, valkey):
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    channel, messages, proxy = line
    await anext(messages)
    before = proxy.bytes_up
    news = asyncio.create_task(anext(messages))
    await until(lambda: has_sent(proxy, before + 60), "some probes were sent")
    valkey.cli("PUBLISH", channel, "ex")
    assert await news == ("e", "x")
    assert proxy.connections == 1


async def has_sent(proxy, count):
    return proxy.bytes_up >= count


async def test_who_stops_listening_leaves_no_connection(line):
    _, messages, proxy = line
    await anext(messages)
    news = asyncio.create_task(anext(messages))
    await asyncio.sleep(0)
    news.cancel()
    await asyncio.gather(news, return_exceptions=True)
    await until(lambda: has_none_open(proxy), "it is closed")


async def has_none_open(proxy):
    return proxy.open_now == 0
