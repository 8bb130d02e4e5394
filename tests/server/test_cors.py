"""Pages of other origins: what a browser is told; `real/test_cross_origin` has a real one."""

import asyncio

import pytest
from aiohttp import hdrs
from support.scripted_upstream import Scripted, answer

from ws_bridge.server.cors import EXPOSED, HEADERS, MAX_AGE, METHODS

PAGE = "https://ok.example"
CONFIG = {"server": {"allowed_origins": [PAGE]}, "auth": {"keys_env": ["KEYS"]}}
KEYS = {"KEYS": "key-a"}
KEY = {"Authorization": "Bearer key-a"}
OF_CORS = "access-control-"


@pytest.fixture
async def bridge(serve):
    return await serve(Scripted(answer("Hi")), CONFIG, KEYS)


async def ask(bridge, method, path, origin=PAGE, **headers):
    """Status, the CORS headers in lower case, and Vary."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = {"Origin": origin, **names} if origin else names
    body = {"json": {"model": "m", "input": "hi"}} if method == "POST" else {}
    async with bridge.session.request(method, bridge.url + path, headers=asked, **body) as got:
        await got.read()
        found = {name.lower(): value for name, value in got.headers.items()}
    cors = {name: value for name, value in found.items() if name.startswith(OF_CORS)}
    return got.status, cors, found.get("vary")


def preflight(bridge, path="/v1/responses", origin=PAGE, **headers):
    asked = {"Access_Control_Request_Method": "POST", **headers}
    return ask(bridge, "OPTIONS", path, origin, **asked)


def readable(origin=PAGE):
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": EXPOSED,
    }


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/resp_1/cancel", "/v1/none"])
async def test_a_preflight_of_an_allowed_origin_is_answered_without_a_key(bridge, path):
    leave = {
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": ", ".join(HEADERS),
        "access-control-max-age": str(MAX_AGE),
    }
    assert await preflight(bridge, path) == (204, readable() | leave, "Origin")


async def test_headers_of_the_sdk_are_allowed_and_no_others(bridge):
    asked = "authorization, x-stainless-os,X-Stainless-Retry-Count, x-other, x-stainless-a\tb, *"
    _, cors, _ = await preflight(bridge, Access_Control_Request_Headers=asked)
    expected = ", ".join((*HEADERS, "x-stainless-os", "x-stainless-retry-count"))
    assert cors["access-control-allow-headers"] == expected


@pytest.mark.catalogue("S5")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://ok.example.evil.example", "*"]
)
async def test_a_foreign_origin_gets_its_403_and_no_leave(bridge, origin):
    assert await preflight(bridge, origin=origin) == (403, {}, "Origin")
    asked = {"Authorization": "Bearer key-a"}
    assert await ask(bridge, "POST", "/v1/responses", origin, **asked) == (403, {}, "Origin")


async def test_a_request_is_no_preflight_for_being_options(bridge):
    assert (await ask(bridge, "OPTIONS", "/v1/responses"))[0] == 401
    assert (await ask(bridge, "OPTIONS", "/v1/responses", **KEY))[0] == 405
    no_page = {"Access_Control_Request_Method": "POST"}
    assert (await ask(bridge, "OPTIONS", "/v1/responses", None, **no_page))[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/v1/models", KEY, 200),
        ("POST", "/v1/responses", KEY, 200),
        ("GET", "/v1/models", {}, 401),
        ("GET", "/v1/models?api_key=x", KEY, 400),
        ("GET", "/v1/responses/resp_1", KEY, 404),
        ("GET", "/v1/none", KEY, 404),
        ("PUT", "/v1/responses", KEY, 405),
        ("GET", "/v1/responses", KEY, 426),
    ],
)
async def test_every_answer_can_be_read_by_the_page(bridge, method, path, key, status):
    assert await ask(bridge, method, path, **key) == (status, readable(), "Origin")


async def test_a_429_can_be_read_by_the_page(serve):
    limits = {"creates_per_minute": 1, "refused_per_minute": 1}
    bridge = await serve(Scripted(answer("Hi")), CONFIG | {"limits": limits}, KEYS)
    assert (await ask(bridge, "POST", "/v1/responses", **KEY))[0] == 200
    assert await ask(bridge, "POST", "/v1/responses", **KEY) == (429, readable(), "Origin")
    assert (await ask(bridge, "GET", "/v1/models"))[0] == 401
    assert await ask(bridge, "GET", "/v1/models") == (429, readable(), "Origin")
    # A preflight is no refusal, and is not refused.
    assert (await preflight(bridge))[0] == 204


async def test_a_stream_can_be_read_by_the_page(bridge):
    body = {"model": "m", "input": "hi", "stream": True}
    headers = {"Origin": PAGE, **KEY}
    url = bridge.url + "/v1/responses"
    async with bridge.session.post(url, json=body, headers=headers) as got:
        assert got.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == PAGE
        assert got.headers[hdrs.VARY] == "Origin"
        assert (await got.read()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("origin", ["own", None])
async def test_who_needs_no_leave_gets_none(bridge, origin):
    origin = bridge.url if origin else None
    assert await ask(bridge, "GET", "/v1/models", origin, **KEY) == (200, {}, "Origin")


@pytest.mark.parametrize("path", ["/healthz", "/", "/metrics"])
async def test_what_is_not_the_api_is_for_no_other_page(bridge, path):
    _, cors, vary = await ask(bridge, "GET", path, **KEY)
    assert (cors, vary) == ({}, None)
    assert (await preflight(bridge, path))[0] != 204


async def test_a_socket_has_none_of_it(bridge):
    headers = {"Origin": PAGE, **KEY}
    async with bridge.session.ws_connect(bridge.url + "/v1/responses", headers=headers) as ws:
        head = ws._response.headers
        assert not [name for name in head if name.lower().startswith(OF_CORS)]
        assert "Vary" not in head
        await asyncio.sleep(0)
