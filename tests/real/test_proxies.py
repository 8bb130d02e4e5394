"""The proxies of `deploy/` in front of two servers, over all that an operator does to them.

Each is the real program with the file of `deploy/`. A third of the clients hold sockets, a third
read event streams, a third poll. The servers' store is Debian's Redis with TLS, certificates of
clients, and a user with the rights of docs/operations.md.
"""

import asyncio
import contextlib
import json
import sys
from contextlib import AsyncExitStack, aclosing

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rolling.chains import events_of
from rolling.rounds import table, two_servers_behind
from store.guarded import PASSWORD, PREFIX, Guarded
from support.fleet import fleet, models_for
from support.hang import HANG_SECONDS
from support.proxies import Caddy, HaProxy, Nginx, find
from support.redis_servers import Node, redis_binary, valkey_binary
from upstreams import FakeProviders

CLIENTS = 50
GATED = "native-gate4-held"  # the provider waits before its event 4
SENT = 3  # events that are sent before

pytestmark = pytest.mark.timeout(1800)
all_proxies = pytest.mark.parametrize(
    "proxies", [Nginx, HaProxy, Caddy], ids=lambda one: one.program
)


def need(proxies):
    if find(proxies.program) == proxies.program:
        pytest.skip(f"{proxies.program} is not installed")


class Reader:
    """What came of one way of reading, as it comes."""

    def __init__(self):
        self.events = []
        self.grown = asyncio.Condition()

    async def run(self, texts):
        async with aclosing(texts):
            async for text in texts:
                async with self.grown:
                    self.events.append(json.loads(text))
                    self.grown.notify_all()

    async def has(self, is_there):
        async with self.grown:
            await asyncio.wait_for(self.grown.wait_for(lambda: is_there(self.events)), HANG_SECONDS)


async def socket_texts(session, url):
    async with session.ws_connect(f"{url}/v1/responses") as ws:
        await ws.send_json({"type": "response.create", "model": GATED, "input": "hi"})
        async for message in ws:
            yield message.data
            if json.loads(message.data)["type"] == "response.completed":
                return


async def stream_texts(session, url):
    body = {"model": GATED, "input": "hi", "stream": True}
    async with (
        session.post(f"{url}/v1/responses", json=body) as answer,
        aclosing(events_of(answer)) as texts,
    ):
        async for text in texts:
            yield text


async def follower_texts(session, url, response_id):
    path = f"{url}/v1/responses/{response_id}?stream=true"
    async with session.get(path) as answer, aclosing(events_of(answer)) as texts:
        async for text in texts:
            yield text


@all_proxies
async def test_events_pass_while_the_answer_goes_on_by_socket_stream_and_poll(proxies):
    """The provider holds its answer: what it has said so far is there, on every way."""
    need(proxies)
    async with AsyncExitStack() as ends:
        fake, node = ends.enter_context(FakeProviders()), ends.enter_context(Node(valkey_binary()))
        config = {"store": {"url": node.url}, "models": models_for(fake)}
        bridges = await ends.enter_async_context(fleet(2, config))
        url = ends.enter_context(proxies([bridge.port for bridge in bridges])).url
        session = await ends.enter_async_context(aiohttp.ClientSession())
        tasks = await ends.enter_async_context(asyncio.TaskGroup())

        async def poll(response_id, after):
            query = {"wait": 20, "after": after}
            async with session.get(f"{url}/v1/responses/{response_id}", params=query) as answer:
                return int(answer.headers["x-sequence-number"]), (await answer.json())["status"]

        socket, stream, follower = Reader(), Reader(), Reader()
        tasks.create_task(socket.run(socket_texts(session, url)))
        tasks.create_task(stream.run(stream_texts(session, url)))
        await socket.has(lambda events: len(events) >= SENT)
        await stream.has(lambda events: len(events) >= SENT)
        held = stream.events[0]["response"]["id"]
        tasks.create_task(follower.run(follower_texts(session, url, held)))
        await follower.has(lambda events: len(events) >= SENT)
        number, status = await poll(held, SENT - 2)
        assert (number >= SENT - 1, status) == (True, "in_progress")
        waiting = tasks.create_task(poll(held, number))
        assert [one.events[-1]["type"] == "response.completed" for one in (socket, stream)] == [
            False,
            False,
        ]
        fake.release(GATED.replace("native-", "gpt-"))
        for one in (socket, stream, follower):
            await one.has(lambda events: events[-1]["type"] == "response.completed")
        assert (await waiting)[0] > number
        assert follower.events == stream.events


@contextlib.asynccontextmanager
async def answering(number, status, asked):
    """A server that is ready, and answers each request so."""

    async def answer(request):
        if request.path == "/readyz":
            return web.Response()
        asked.append((number, await request.text()))
        return web.json_response({"number": number}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server.port


@pytest.mark.parametrize("proxies", [Nginx, HaProxy], ids=lambda one: one.program)
async def test_what_a_server_that_drains_refuses_is_asked_of_the_other(proxies):
    """A create too, since nothing was begun. If both refuse, the client is told so."""
    need(proxies)
    asked = []
    async with answering(0, 503, asked) as first, answering(1, 200, asked) as second:
        for ports, status in (((first, second), 200), ((first, first), 503)):
            with await asyncio.to_thread(proxies(ports).__enter__) as proxy:
                for _ in range(4):
                    url = f"{proxy.url}/v1/responses"
                    async with aiohttp.request("POST", url, data="a create") as answer:
                        assert answer.status == status
    assert (0, "a create") in asked[:4]
    assert {text for _, text in asked} == {"a create"}


@all_proxies
async def test_fifty_clients_lose_nothing_by_a_reload_and_a_rolling_restart(proxies, tmp_path):
    """A reload cuts nobody off, and a restart ends no turn.

    Of the turns of a worker that is killed some fail; all chains go on, whole.
    """
    need(proxies)
    binary = redis_binary()
    if binary is None:
        pytest.skip("redis-server is not installed")
    with Guarded(binary, tmp_path) as node:
        files = {
            "tls_ca": node.tls.authorities,
            "tls_cert": node.tls.certificate,
            "tls_key": node.tls.key,
        }
        store = {"url": node.tls_url, "password_env": "STORE_PASSWORD", "prefix": PREFIX, **files}
        environ = {"STORE_PASSWORD": PASSWORD}
        figures, faults = await two_servers_behind(proxies, store, environ, CLIENTS)
    sys.stdout.write(table(proxies.program, figures))
    assert faults == []
    assert figures["reconnects"] > 0
