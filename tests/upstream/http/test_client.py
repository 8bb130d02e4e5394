"""The bridge's own HTTP client, against a provider that breaks the rules."""

import asyncio
import gzip
import socket

import pytest
from upstreams.raw import begins, hangs_up, is_silent, says, says_with

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import (
    COMPRESSED,
    LOST,
    NOT_SENT,
    TOO_LARGE,
    UNREACHABLE,
    NotSent,
    TooLarge,
)
from ws_bridge.upstream.http import client as http
from ws_bridge.upstream.http.client import HttpClient

MANY = 10_000_000


async def ask(client, url, body=b"{}", most=MANY, **headers):
    return await client.post(url, headers, body, most)


async def all_of(answer):
    pieces = []
    while (data := await answer.read()) is not None:
        pieces.append(data)
    await answer.close(keep=True)
    return b"".join(pieces)


async def idle_connections(provider, client, count):
    answers = await asyncio.gather(*(ask(client, provider.base_url) for _ in range(count)))
    assert [await all_of(answer) for answer in answers] == [b"x"] * count
    assert provider.connections == count


async def test_a_body_goes_out_and_the_answer_comes_in(provider, client):
    provider.scripts = [says(b"one", b"two", headers="x-of-theirs: yes\r\n")]
    answer = await ask(client, provider.base_url + "/v1/x?y=1", b"body", authorization="Bearer k")
    assert (answer.status, answer.headers["X-Of-Theirs"]) == (200, "yes")
    assert await all_of(answer) == b"onetwo"
    [(line, headers, body)] = provider.requests
    assert (line, body) == ("POST /v1/x?y=1 HTTP/1.1", b"body")
    assert headers["authorization"] == "Bearer k"
    assert headers["accept-encoding"] == "identity"


async def test_an_address_goes_out_as_it_is_written(provider, client):
    provider.scripts = [says()]
    await (await ask(client, provider.base_url + "/model/a%3A0/%2F/x")).close()
    assert provider.requests[0][0] == "POST /model/a%3A0/%2F/x HTTP/1.1"


async def test_a_piece_is_read_before_the_next_one_comes(provider, client):
    provider.scripts = [begins(b"first", ends=False)]
    answer = await ask(client, provider.base_url)
    assert await answer.read() == b"first"
    await answer.close()


async def test_a_connection_is_used_again_when_its_answer_was_read_to_its_end(provider, client):
    provider.scripts = [says(b"x")]
    for _ in range(5):
        answer = await ask(client, provider.base_url)
        await answer.read()
        await answer.close(keep=True)
    assert (provider.connections, len(provider.requests)) == (1, 5)


async def test_an_answer_that_is_not_wanted_ends_its_connection(provider, client):
    provider.scripts = [begins(b"x", ends=False)]
    answer = await ask(client, provider.base_url)
    await answer.close()
    await provider.until(lambda: provider.closed == 1)
    await answer.close()  # any number of times


async def test_a_complete_answer_without_its_end_is_not_waited_for(provider, client, monkeypatch):
    monkeypatch.setattr(http, "DRAIN_SECONDS", 0.0)
    provider.scripts = [begins(b"x", ends=False)]
    answer = await ask(client, provider.base_url)
    await answer.close(keep=True)
    await provider.until(lambda: provider.closed == 1)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_never_followed(provider, client, status):
    provider.scripts = [says(status=status, headers=f"location: {provider.base_url}/else\r\n")]
    answer = await ask(client, provider.base_url)
    assert answer.status == int(status[:3])
    await answer.close()
    assert len(provider.requests) == 1


async def test_cookies_are_not_kept(provider, client):
    provider.scripts = [says(headers="set-cookie: a=b; Path=/\r\n")]
    for _ in range(2):
        await (await ask(client, provider.base_url)).close(keep=True)
    assert "cookie" not in provider.requests[1][1]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad"])
async def test_a_compressed_answer_is_refused_before_it_is_unfolded(
    provider, client, coding, status
):
    body = gzip.compress(bytes(MANY))
    provider.scripts = [says(body, status=status, headers=f"content-encoding: {coding}\r\n")]
    with pytest.raises(UpstreamError, match=COMPRESSED):
        await ask(client, provider.base_url)


@pytest.mark.parametrize("coding", ["identity", " Identity "])
async def test_an_answer_that_says_it_is_plain_is_read(provider, client, coding):
    provider.scripts = [says(b"x", headers=f"content-encoding:{coding}\r\n")]
    assert await all_of(await ask(client, provider.base_url)) == b"x"


async def test_an_answer_has_at_most_so_many_bytes(provider, client):
    provider.scripts = [says(b"x" * 600, b"y" * 600)]
    answer = await ask(client, provider.base_url, most=1199)
    with pytest.raises(TooLarge, match=TOO_LARGE):
        await all_of(answer)
    await answer.close()
    assert await all_of(await ask(client, provider.base_url, most=1200)) == b"x" * 600 + b"y" * 600


async def test_of_an_endless_error_so_much_is_read_as_can_be_told(provider, client):
    provider.scripts = [begins(*[b"e" * 1000] * 100, ends=False)]
    answer = await ask(client, provider.base_url)
    assert await answer.read_error() == b"e" * http.MAX_ERROR
    await answer.close()


async def test_a_cut_error_is_told_as_far_as_it_came(provider, client):
    provider.scripts = [begins(b"so far")]
    answer = await ask(client, provider.base_url)
    assert await answer.read_error() == b"so far"
    await answer.close()


@pytest.mark.parametrize("resets", [False, True])
async def test_an_answer_that_is_cut_is_lost(provider, client, resets):
    provider.scripts = [begins(b"x", resets=resets)]
    with pytest.raises(UpstreamError, match=LOST) as failed:
        await all_of(await ask(client, provider.base_url))
    assert failed.value.status == 502


async def test_a_provider_that_hangs_up_on_a_new_connection_is_lost(provider, client):
    provider.scripts = [hangs_up]
    with pytest.raises(UpstreamError, match=LOST):
        await ask(client, provider.base_url)
    assert len(provider.requests) == 1  # it may have been understood


async def test_a_connection_that_was_closed_in_the_pool_is_no_failure(provider, client):
    provider.scripts = [*[says_with(3, b"x")] * 3, hangs_up, hangs_up, says(b"fresh")]
    await idle_connections(provider, client, 3)
    assert await all_of(await ask(client, provider.base_url)) == b"fresh"
    assert (provider.connections, len(provider.requests)) == (3, 6)


async def test_no_more_connections_than_that_are_tried(provider, client):
    many = http.STALE + 1
    provider.scripts = [*[says_with(many, b"x")] * many, hangs_up]
    await idle_connections(provider, client, many)
    with pytest.raises(UpstreamError, match=LOST):
        await ask(client, provider.base_url)
    assert len(provider.requests) == many + http.STALE


async def test_what_is_no_http_is_a_failure_of_the_provider(provider, client):
    async def nonsense(_, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        return False

    provider.scripts = [nonsense]
    with pytest.raises(UpstreamError) as failed:
        await ask(client, provider.base_url)
    assert failed.value.status == 502


async def test_a_port_without_a_server_is_not_reached(client):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(UpstreamError, match=UNREACHABLE) as failed:
            await ask(client, url)
    assert failed.value.status == 502


async def test_a_provider_that_speaks_no_tls_is_not_reached(client):
    async def plain(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(UpstreamError, match=UNREACHABLE):
        await ask(client, url)
    server.close()


async def test_a_provider_that_accepts_no_connection_in_time_is_not_reached(client):
    with socket.socket() as full:  # a queue of one: further connections are not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        asking = asyncio.ensure_future(ask(client, f"http://127.0.0.1:{address[1]}"))
        while not asking.done():
            asyncio.get_running_loop().turn(1)
            await asyncio.sleep(0)
        with pytest.raises(UpstreamError, match=UNREACHABLE):
            asking.result()
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://h/x", "http://", "http://h:x/", "http://h/a b", "http://h/ü"]
)
async def test_an_address_that_is_none_is_our_own_fault(client, url):
    with pytest.raises(NotSent, match=NOT_SENT) as failed:
        await ask(client, url)
    assert failed.value.status == 500


async def test_a_header_that_is_none_is_our_own_fault(provider, client):
    with pytest.raises(NotSent):
        await ask(client, provider.base_url, authorization="Bearer k\r\nx: y")
    assert provider.requests == []


async def test_a_body_that_is_not_taken_in_time_is_lost(client, monkeypatch):
    monkeypatch.setattr(http, "WRITE_SECONDS", 0.0)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)  # it reads nothing more
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(UpstreamError, match=LOST):
        await ask(client, url, bytes(64 * 2**20))
    server.close()


async def test_a_large_body_arrives_whole(provider, client):
    body = bytes(range(256)) * 4096 * 3 + b"end"
    provider.scripts = [says(b"ok")]
    assert await all_of(await ask(client, provider.base_url, body)) == b"ok"
    assert provider.requests[0][2] == body


async def test_a_caller_that_gives_up_before_the_answer_leaves_nothing_open(provider, client):
    provider.scripts = [is_silent]
    asking = asyncio.ensure_future(ask(client, provider.base_url))
    await provider.until(lambda: len(provider.requests) == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await provider.until(lambda: provider.closed == 1)


async def test_two_hundred_ask_at_once(provider, client):
    provider.scripts = [says(b"x" * 100)]

    async def one():
        return await all_of(await ask(client, provider.base_url))

    answers = await asyncio.gather(*(one() for _ in range(200)))
    assert answers == [b"x" * 100] * 200
    assert len(provider.requests) == 200


async def test_the_proxy_of_the_environment_is_asked(provider, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "direct.example")
    account = provider.base_url.replace("http://", "http://me:p%40ss@")
    one = HttpClient(proxies={"http": account, "https": account})
    await one.start()
    provider.scripts = [says(b"by proxy"), says(status="403 Forbidden")]
    answer = await ask(one, "http://elsewhere.example/v1")
    assert await all_of(answer) == b"by proxy"
    with pytest.raises(UpstreamError, match=UNREACHABLE):
        await ask(one, "https://elsewhere.example/v1")
    assert provider.requests[0][0] == "POST http://elsewhere.example/v1 HTTP/1.1"
    line, headers, _ = provider.requests[1]
    assert line == "CONNECT elsewhere.example:443 HTTP/1.1"
    assert headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    assert one._proxy_for("http://direct.example/v1") == {}
    await one.close()
