"""Held sockets do what they should, against a real server; limits can be broken."""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from support.hang import HANG_SECONDS

sys.path.insert(0, str(Path(__file__).parents[1]))  # the bench imports itself as `tests.bench`

from scale.crowd import addresses
from scale.limits import LIMITS, TITLES, broken, markdown

from tests.bench.holder import Holder, frames

HOME = ["127.0.0.1"]


@pytest.fixture
async def server():
    """A socket server that pings at once, and notes what it hears; path is the bridge's."""
    heard, sockets, ended = [], [], []

    async def serve(request):
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        sockets.append(socket)
        await socket.ping(b"are you there")
        try:
            async for message in socket:
                heard.append((message.type, bytes(message.data)))  # noqa: PERF401 - told at once
            ended.append(socket.close_code)
        except asyncio.CancelledError:  # how aiohttp tells of a reset
            ended.append("reset")
            raise
        return socket

    app = web.Application()
    app.router.add_get("/v1/responses", serve)
    async with TestServer(app) as running:
        running.heard, running.sockets, running.ended = heard, sockets, ended
        running.address = str(running.make_url("")).rstrip("/")
        yield running


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - what is waited for happens in the server
            await asyncio.sleep(0.01)


async def test_held_sockets_answer_pings_and_are_counted(server):
    holder = Holder()
    opened = await holder.open(server.address, 10, 0, HOME)
    assert (opened["opened"], opened["failed"]) == (10, 0)
    await until(lambda: len(server.heard) == 10)
    assert set(server.heard) == {(WSMsgType.PONG, b"are you there")}
    told = await holder.tell()
    assert (told["held"], told["pings"], told["dropped"]) == (10, 10, 0)
    await holder.drop()


async def test_a_socket_that_the_server_ends_is_a_drop_with_its_reason(server):
    holder = Holder()
    await holder.open(server.address, 3, 0, HOME)
    await server.sockets[0].close(code=1012, message=b"later")
    await until(lambda: holder._tally.dropped == 1)
    told = await holder.tell()
    assert (told["held"], told["reasons"]) == (2, {"close 03f4 later": 1})
    await holder.drop()


async def test_who_leaves_is_no_drop_and_leaves_half_in_order(server):
    holder = Holder()
    await holder.open(server.address, 4, 0, HOME)
    await holder.drop()
    await until(lambda: len(server.ended) == 4)
    assert sorted(map(str, server.ended)) == ["1000", "1000", "reset", "reset"]
    assert (await holder.tell())["dropped"] == 0


async def test_sockets_that_come_and_go_are_all_counted(server):
    holder = Holder()
    went = await holder.churn(server.address, 100, HOME)
    assert went["failed"] == 0
    await until(lambda: len(server.sockets) == 100)


async def test_a_refused_socket_is_not_opened(server):
    opened = await Holder().open(server.address.replace("127.0.0.1", "127.0.0.9"), 2, 0, HOME)
    assert (opened["opened"], opened["failed"]) == (0, 2)


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536])
def test_a_frame_is_read_whole_wherever_it_is_cut(size):
    if size < 126:
        length = bytes([size])
    else:
        length = b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    sent = b"\x81" + length + b"x" * size + b"\x89\x01!"
    for cut in {0, 1, 2, 5, len(sent) // 2, len(sent) - 1}:
        first, rest = frames(sent[:cut])
        second, rest = frames(rest + sent[cut:])
        assert first + second == [(1, b"x" * size), (9, b"!")]
        assert rest == b""


def test_processes_come_from_addresses_of_their_own():
    assert not set(addresses(0)) & set(addresses(1))
    assert all(address.startswith("127.") for address in addresses(0))


FIGURES = {act: {name: 0 for of, name in LIMITS if of == act} for act in TITLES}


def test_figures_within_their_limits_break_none():
    assert list(broken(FIGURES)) == []
    assert "Every limit that fails was met." in markdown(FIGURES, {})


@pytest.mark.parametrize(("act", "name"), LIMITS)
def test_each_limit_is_one_that_can_be_broken(act, name):
    limit = LIMITS[act, name]
    figures = {**FIGURES, act: {**FIGURES[act], name: limit.most + 0.5}}
    assert len(list(broken(figures))) == limit.fails
    assert "ABOVE" in markdown(figures, {})
