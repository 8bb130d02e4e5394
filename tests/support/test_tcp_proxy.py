"""The proxy's switches do to real connections what they say."""

import asyncio
import contextlib
import socket

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import Proxy, ReservedPort

BIG = b"0123456789abcdef" * 2**18  # more than all buffers on the way hold


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as running:
        yield running


@pytest.fixture
async def echo():
    """A server that says everything back, and hears what was said."""
    heard = bytearray()

    async def answer(reader, writer):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                heard.extend(chunk)
                writer.write(chunk)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heard
    server.close()


@pytest.fixture
async def proxy(echo):
    async with Proxy(echo[0]) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def said_back(reader, writer, words):
    writer.write(words)
    return await asyncio.wait_for(reader.readexactly(len(words)), HANG_SECONDS)


async def test_what_was_cut_is_closed_once_it_was_waited_for(proxy, echo):
    """Also to a client that has not looked yet: its next look is at the reset."""
    loop = asyncio.get_running_loop()
    with socket.socket() as line:
        line.setblocking(False)
        await loop.sock_connect(line, ("127.0.0.1", proxy.port))
        await loop.sock_sendall(line, b"a")
        assert await loop.sock_recv(line, 1) == b"a"
        proxy.move(echo[0])
        await proxy.wait_cut()
        with pytest.raises(ConnectionResetError):
            line.recv(1)


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - the proxy tells nobody
            await asyncio.sleep(0.01)


async def test_all_passes_in_order_and_is_counted(proxy):
    async with connected(proxy) as (reader, writer), connected(proxy) as other:
        assert await said_back(*other, b"hello") == b"hello"
        whole = asyncio.create_task(reader.readexactly(len(BIG)))
        writer.write(BIG)
        assert await whole == BIG
        assert (proxy.connections, proxy.open_now, proxy.cuts) == (2, 2, 0)
        assert proxy.bytes_up == proxy.bytes_down == len(BIG) + 5


async def test_a_close_of_one_side_is_seen_on_the_other(proxy):
    async with connected(proxy) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"
    await until(lambda: not proxy.open_now)
    assert proxy.cuts == 0


async def test_frozen_it_accepts_and_passes_nothing_until_thawed(proxy, echo):
    async with connected(proxy) as (reader, writer):
        proxy.freeze()
        writer.write(b"one")
        async with connected(proxy) as (new_reader, new_writer):
            new_writer.write(b"two")
            for end in (reader, new_reader):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(end.read(1), 0.1)
            assert not echo[1]
            proxy.thaw()
            assert await new_reader.readexactly(3) == b"two"
        assert await reader.readexactly(3) == b"one"


async def test_a_cut_resets_what_stands_and_lets_new_ones_in(proxy):
    async with connected(proxy) as (reader, writer):
        assert await said_back(reader, writer, b"hello") == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    async with connected(proxy) as again:
        assert await said_back(*again, b"again") == b"again"
    assert proxy.cuts == 1


async def test_a_move_resets_what_stands_and_leads_new_ones_elsewhere(proxy):
    async def shout(reader, writer):
        writer.write((await reader.read(100)).upper())

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as other:
        async with connected(proxy) as (reader, writer):
            assert await said_back(reader, writer, b"hello") == b"hello"
            proxy.move(other.sockets[0].getsockname()[1])
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
        async with connected(proxy) as again:
            assert await said_back(*again, b"again") == b"AGAIN"


async def test_a_cut_reaches_frozen_connections_too(proxy):
    async with connected(proxy) as (reader, writer):
        await said_back(reader, writer, b"hello")
        proxy.freeze()
        writer.write(b"lost")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_refusing_it_lets_nobody_in_and_accepts_again_on_the_same_port(proxy):
    async with connected(proxy) as (reader, writer):
        await said_back(reader, writer, b"hello")
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.accept()
    async with connected(proxy) as again:
        assert await said_back(*again, b"again") == b"again"


async def test_where_no_server_is_the_connection_is_reset():
    nobody = ReservedPort()
    async with Proxy(nobody.number) as proxy, connected(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    nobody.release()


async def test_a_delay_is_paid_each_way_and_keeps_the_order(proxy):
    clock = asyncio.get_running_loop().time
    async with connected(proxy) as (reader, writer):
        await said_back(reader, writer, b"hello")
        proxy.delay = 0.1
        began = clock()
        for number in range(10):
            writer.write(b"%d" % number)
            await asyncio.sleep(0.01)  # chunks of their own, as a rule
        assert await reader.readexactly(10) == b"0123456789"
        assert clock() - began >= 2 * proxy.delay


async def test_every_nth_chunk_ends_its_connection(proxy):
    proxy.cut_every = 3
    answers = []
    for _ in range(4):
        async with connected(proxy) as (reader, writer):
            with contextlib.suppress(ConnectionResetError, asyncio.IncompleteReadError):
                for _ in range(3):
                    answers.append(await said_back(reader, writer, b"x"))  # noqa: PERF401 - partial
    assert len(answers) >= 8  # the answer to a third one may still get through, or not
    await until(lambda: proxy.cuts == 4)


def client_of(proxy):
    return redis.asyncio.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0))


async def test_a_swallowed_answer_is_of_a_command_that_was_executed(node):
    node.wipe()
    async with Proxy(node.port) as proxy, client_of(proxy) as client:
        assert await client.incr("count") == 1
        proxy.swallow_answers(1)
        with pytest.raises(redis.ConnectionError):
            await client.incr("count")
        assert node.cli("GET", "count") == "2"
        assert await client.incr("count") == 3
        assert proxy.swallowed == 1


async def test_only_answers_to_named_commands_are_swallowed(node):
    node.wipe()
    async with Proxy(node.port) as proxy, client_of(proxy) as client:
        proxy.swallow_answers(2, of=b"INCR")
        for _ in range(2):
            assert await client.set("other", "x")
            with pytest.raises(redis.ConnectionError):
                await client.incr("count")
        assert await client.incr("count") == 3
        assert proxy.swallowed == 2
