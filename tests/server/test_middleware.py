"""In: refused too often from one address. Out: errors in the form of docs/protocol.md §4.1."""

import asyncio
import logging
import re

import aiohttp
import pytest
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer

from ws_bridge.clock import Clock
from ws_bridge.config import Settings
from ws_bridge.logs import CleanRecord, TextFormatter
from ws_bridge.upstream.base import Request

ENVIRON = {"KEYS": "key-a"}
KEYED = {"auth": {"keys_env": ["KEYS"]}}
GOOD, WRONG = ({"Authorization": f"Bearer {key}"} for key in ("key-a", "wrong"))
MESSAGES = "Too many requests from this address were refused (60 per minute). Try again in {}s."


class Time:
    """Seconds that pass when the test sets them."""

    now = 1000.0

    def __call__(self):
        return self.now


async def ask(bridge, headers, path="/v1/models", session=None):
    async with (session or bridge.session).get(bridge.url + path, headers=headers) as got:
        return got.status, got.headers.get("Retry-After"), (await got.json()).get("error")


@pytest.fixture
async def other_address():
    """A session that comes from another address of this machine."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    ) as session:
        yield session


async def test_after_sixty_refusals_an_address_gets_429_and_a_valid_key_still_passes(
    serve, other_address
):
    now = Time()
    bridge = await serve(Scripted(answer("x")), KEYED, ENVIRON, clock=Clock(monotonic=now))
    for headers in (WRONG, {}, {"Origin": "https://evil.example", **GOOD}) * 20:
        status, wait, error = await ask(bridge, headers)
        assert (status, wait) in ((401, None), (403, None))
    now.now += 12.5
    for path in ("/v1/models", "/v1/responses", "/v1/nothing", "/metrics"):
        status, wait, error = await ask(bridge, WRONG, path)
        assert (status, wait) == (429, "48")
        assert error["code"] == "rate_limit_exceeded"
        assert error["message"] == MESSAGES.format(48)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await bridge.connect(headers=WRONG)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "48")

    assert (await ask(bridge, GOOD))[0] == 200
    client = await bridge.connect(headers=GOOD)
    assert (await client.turn(input="x"))[-1]["type"] == "response.completed"
    assert (await ask(bridge, WRONG, session=other_address))[0] == 401

    now.now += 47.5
    assert (await ask(bridge, WRONG))[0] == 401


async def test_what_needs_no_key_is_never_refused(serve):
    bridge = await serve(
        Scripted(answer("x")), {**KEYED, "limits": {"refused_per_minute": 1}}, ENVIRON
    )
    assert [(await ask(bridge, WRONG))[0] for _ in range(3)] == [401, 429, 429]
    async with bridge.session.get(bridge.url + "/healthz") as got:
        assert got.status == 200
    async with bridge.session.get(bridge.url + "/") as got:
        assert got.status == 200


async def test_a_page_of_another_origin_is_counted_without_keys_too(serve):
    bridge = await serve(Scripted(answer("x")), {"limits": {"refused_per_minute": 2}})
    evil = {"Origin": "https://evil.example"}
    assert [(await ask(bridge, evil))[0] for _ in range(3)] == [403, 403, 429]
    assert (await ask(bridge, {}))[0] == 200


async def test_unknown_ids_are_404_and_leave_nothing_behind(serve):
    bridge = await serve(Scripted(answer("x")), KEYED, ENVIRON)
    for number in range(200):
        status, _, error = await ask(bridge, GOOD, f"/v1/responses/resp_{number:048x}")
        assert (status, error["type"]) == (404, "invalid_request_error")
    assert bridge.bridge._quotas.names() == 0


async def test_a_bug_is_a_500_without_detail(serve):
    """Any exception of a handler; its text reaches the log and no client."""

    class Broken(Scripted):
        async def count_tokens(self, request: Request) -> int:
            raise RuntimeError(f"a secret of {request.target.name}")

    bridge = await serve(Broken(answer("x")))
    async with bridge.session.post(
        bridge.url + "/v1/responses/input_tokens", json={"model": "m", "input": "x"}
    ) as got:
        assert got.status == 500
        assert got.headers["x-request-id"].startswith("req_")
        assert (await got.json())["error"] == {
            "message": "The server had an error while processing the request.",
            "type": "server_error",
            "param": None,
            "code": "server_error",
        }


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - looks at what other tasks do
            await asyncio.sleep(0)


# The request's id, and what is counted and logged of it


GIVEN = {
    "a name": "abc-1.2:3_Z",
    "the longest": "x" * 128,
}
MADE = {
    "none": None,
    "nothing": "",
    "too long": "x" * 129,
    "a space": "a b",
    "a field": "a=b",
    "a quote": 'a"b',
    "another script": "\u0661\u0662",
}


async def every_answer(bridge, head):
    """The ids of a 200, of an event stream, of an error, of the open page and of a handshake."""
    found = []
    for method, path, body in (
        ("POST", "/v1/responses", {"model": "m", "input": "x"}),
        ("POST", "/v1/responses", {"model": "m", "input": "x", "stream": True}),
        ("POST", "/v1/responses", {"model": "unknown", "input": "x"}),
        ("GET", "/nowhere", None),
        ("GET", "/healthz", None),
    ):
        async with bridge.session.request(
            method, bridge.url + path, json=body, headers=head
        ) as got:
            await got.read()
            found += got.headers.getall("x-request-id")
    async with bridge.session.ws_connect(bridge.url + "/v1/responses", headers=head) as ws:
        found += ws._response.headers.getall("x-request-id")
    return found


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
async def test_a_clients_request_id_stands_in_every_answer(serve, given):
    bridge = await serve(Scripted(answer("x"), answer("x")))
    assert await every_answer(bridge, {"X-Request-Id": given}) == [given] * 6


@pytest.mark.parametrize("given", MADE.values(), ids=MADE)
async def test_what_cannot_be_an_id_is_replaced_by_one(serve, given):
    bridge = await serve(Scripted(answer("x"), answer("x")))
    found = await every_answer(bridge, {} if given is None else {"X-Request-Id": given})
    assert len(set(found)) == 6
    assert all(one.startswith("req_") for one in found)


@pytest.fixture
def lines(caplog):
    """A function of a word: the lines that begin with it, as they are written for people."""
    caplog.set_level("INFO", "ws_bridge")
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(CleanRecord)
    formatter = TextFormatter("%(message)s")
    yield lambda word: [
        formatter.format(one) for one in caplog.records if one.getMessage().split()[0] == word
    ]
    logging.setLogRecordFactory(factory)


async def test_the_lines_of_a_response_and_of_a_refusal_have_the_caller(serve, lines):
    bridge = await serve(Scripted(answer("x"), answer("x")), KEYED, ENVIRON)
    head = {**GOOD, "X-Request-Id": "mine"}
    client = await bridge.connect(headers=head)
    await client.turn(input="1")
    await client.turn(input="2", model="unknown")
    body = {"model": "m", "input": "x"}
    async with bridge.session.post(bridge.url + "/v1/responses", json=body, headers=head) as got:
        assert got.status == 200
    async with bridge.session.get(
        bridge.url + "/v1/models", headers={**WRONG, "X-Request-Id": "other"}
    ) as got:
        assert got.status == 401
    end = " request_id=mine key=KEYS peer=127.0.0.1"
    assert [line.endswith(end) for line in lines("response")] == [True, True]
    unknown, keyless = lines("request_refused")
    assert unknown == f"request_refused status=404 code=model_not_found count=1{end}"
    assert keyless == (
        "request_refused status=401 code=invalid_api_key count=1 request_id=other peer=127.0.0.1"
    )


async def test_each_request_has_a_line_if_the_operator_wants_it(serve, lines):
    """The path without its query; a socket at its end."""
    bridge = await serve(Scripted(answer("x")), {"server": {"access_log": True}})
    async with bridge.session.get(bridge.url + "/v1/models/m x?secret=1") as got:
        size = len(await got.read())
    client = await bridge.connect()
    await client.ws.close()
    await until(lambda: len(lines("request")) == 2)
    first, second = (re.sub(r"ms=[0-9.]+|req_\w+", "…", line) for line in lines("request"))
    end = "request_id=… key=local peer=127.0.0.1"
    path = '"/v1/models/m x"'
    assert first == f"request method=GET path={path} status=404 … bytes={size} {end}"
    assert second.startswith("request method=GET path=/v1/responses status=101 … bytes=")


async def test_without_that_requests_have_no_line_until_a_reload_wants_them(serve, lines):
    bridge = await serve(Scripted(answer("x")))
    await bridge.get("/healthz")
    assert lines("request") == []
    config = bridge.bridge._config
    server = config.server.model_copy(update={"access_log": True})
    wanted = Settings(config.model_copy(update={"server": server}))
    bridge.bridge.commit(bridge.bridge.prepare(wanted))
    await bridge.get("/healthz")
    assert len(lines("request")) == 1


async def test_requests_are_counted_by_route_and_status(serve):
    bridge = await serve(Scripted(answer("x")))
    for name in ("resp_1", "resp_2"):
        assert (await bridge.get(f"/v1/responses/{name}"))[0] == 404
    await bridge.get("/nowhere")
    async with bridge.session.request("PROPFIND", bridge.url + "/healthz") as got:
        assert got.status == 405
    counted = {
        (one.labels["route"], one.labels["method"], one.labels["status"]): one.value
        for metric in bridge.bridge.metrics.registry.collect()
        for one in metric.samples
        if one.name == "ws_bridge_http_requests_total"
    }
    assert counted == {
        ("/v1/responses/{id}", "GET", "404"): 2,
        ("unknown", "GET", "404"): 1,
        ("unknown", "other", "405"): 1,
    }


async def test_a_client_that_does_not_wait_for_its_answer_is_a_499(serve):
    gate = asyncio.Event()
    bridge = await serve(Scripted([gate, *answer("x")]))
    asking = asyncio.create_task(bridge.post("/v1/responses", model="m", input="x"))
    await until(bridge.bridge._jobs.running)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    get = bridge.bridge.metrics.registry.get_sample_value
    labels = {"route": "/v1/responses", "method": "POST", "status": "499"}
    await until(lambda: get("ws_bridge_http_requests_total", labels) == 1)
    gate.set()


async def test_what_is_no_http_is_a_refusal_with_an_id(serve, lines):
    bridge = await serve(Scripted(answer("x")))
    host, port = bridge.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"NO HTTP\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    [request_id] = re.findall(r"(?i)^x-request-id: (\S+)\r$", head, re.MULTILINE)
    assert lines("request_refused") == [
        f"request_refused status=400 code=unreadable count=1 request_id={request_id} peer=127.0.0.1"
    ]
    get = bridge.bridge.metrics.registry.get_sample_value
    assert get("ws_bridge_refused_total", {"reason": "unreadable"}) == 1
