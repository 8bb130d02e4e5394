"""A subscription that is kept alive, and says when something may have been missed."""

import asyncio
import secrets

import pytest
from store.opened import until
from support.hang import HANG_SECONDS
from support.long_limits import LONG
from support.tcp_proxy import Proxy

from ws_bridge.store.redis import hints
from ws_bridge.store.redis.connect import parse_url
from ws_bridge.store.redis.hints import MISSED, listen


@pytest.fixture
async def line(valkey):
    """A subscription through a proxy: its channel, what it gives, and the proxy."""
    channel = "wb1:w:" + secrets.token_hex(8)
    async with Proxy(valkey.port) as proxy, asyncio.timeout(HANG_SECONDS):
        messages = listen(parse_url(f"redis://127.0.0.1:{proxy.port}"), channel)
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
    monkeypatch.setattr(hints, "PAUSE_SECONDS", 0.01)
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
    monkeypatch.setattr(hints, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(hints, "ANSWER_SECONDS", 0.2)
    channel, messages, proxy = line
    await anext(messages)
    proxy.freeze()
    news = asyncio.create_task(anext(messages))
    # The third connection: neither a line that fell silent nor one that never spoke is waited for.
    await until(lambda: has_connections(proxy, 3), "it tries anew, and again")
    monkeypatch.setattr(hints, "ANSWER_SECONDS", LONG)  # from now on whoever is slow is not dead
    proxy.thaw()
    assert await news == MISSED
    valkey.cli("PUBLISH", channel, "ex")
    assert await anext(messages) == ("e", "x")


async def has_connections(proxy, count):
    return proxy.connections >= count


async def test_silence_alone_is_no_death(monkeypatch, line, valkey):
    monkeypatch.setattr(hints, "PROBE_SECONDS", 0.01)
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
