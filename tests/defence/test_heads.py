"""Heads of requests that nobody has a key for, and that are odd: refused in one line, no traceback.

Nothing of them is said back: what cannot be read may be the line with the key.
"""

import asyncio
import json
import logging

import pytest
from support.scripted_upstream import Scripted, answer

SECRET = b"sk-canary-of-a-client"
KEYS = {"auth": {"keys_env": ["KEYS"]}}
ENVIRON = {"KEYS": "key-a"}
MODELS = b"GET /v1/models HTTP/1.1"


def head(line=MODELS, *more, host=b"127.0.0.1"):
    lines = [line, b"Host: " + host, *more, b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def told(bridge, text):
    """Status, headers and body of the answer."""
    reader, writer = await asyncio.open_connection(*bridge.url.removeprefix("http://").split(":"))
    try:
        writer.write(text)
        async with asyncio.timeout(60):
            first, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    line, *lines = first.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(line.split(" ")[1]), headers, body


def lines(caplog):
    """What the bridge has logged of requests; with a traceback, whoever has."""
    return [
        record
        for record in caplog.records
        if record.exc_info or (record.name.startswith("ws_bridge.") and record.levelno > 10)
    ]


STRANGERS = {
    "an origin of half a bracket": head(MODELS, b"Origin: http://["),
    "an origin of an open bracket": head(MODELS, b"Origin: http://[::1"),
    "an origin of a closed bracket": head(MODELS, b"Origin: http://a]b"),
    "an origin of no address": head(MODELS, b"Origin: http://[zz]"),
    "an origin that another form changes": head(MODELS, "Origin: http://a\u2100b".encode()),
    "an origin of bytes": head(MODELS, b"Origin: \xff\xfe"),
    "an origin without an end": head(MODELS, b"Origin: http://" + b"[" * 4000),
}
HOSTS = {
    "half a bracket": head(host=b"["),
    "an open bracket": head(host=b"[::1"),
    "a closed bracket": head(host=b"a]b"),
    "no address": head(host=b"[zz]"),
    "what another form changes": head(host="a\u2100b".encode()),
    "bytes": head(host=b"\xff"),
    "nothing": head(host=b""),
}
KEYLESS = {
    "a key of bytes": head(MODELS, b"Authorization: Bearer \xff\xfe"),
    "half a character": head(MODELS, b"Authorization: Bearer \xed\xa0\x80"),
    "a browser's key of bytes": head(
        MODELS, b"Sec-WebSocket-Protocol: openai-insecure-api-key.\xff\xfe"
    ),
    "a long key": head(MODELS, b"Authorization: Bearer " + b"x" * 8000),
}


@pytest.mark.parametrize("text", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "no keys"])
@pytest.mark.catalogue("A12")
async def test_an_origin_that_is_none_is_403(serve, caplog, has_keys, text):
    caplog.set_level(logging.INFO)
    bridge = await serve(Scripted(answer("x")), *((KEYS, ENVIRON) if has_keys else ()))
    status, _, body = await told(bridge, text)
    assert (status, json.loads(body)["error"]["code"]) == (403, "origin_not_allowed")
    (line,) = lines(caplog)
    assert line.getMessage() == "request_refused status=403 code=origin_not_allowed count=1"


@pytest.mark.parametrize("text", HOSTS.values(), ids=HOSTS)
@pytest.mark.catalogue("A12")
async def test_a_host_that_is_none_is_403_where_there_are_no_keys(serve, caplog, text):
    caplog.set_level(logging.INFO)
    status, _, body = await told(await serve(Scripted(answer("x"))), text)
    assert (status, json.loads(body)["error"]["code"]) == (403, "origin_not_allowed")
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize("text", KEYLESS.values(), ids=KEYLESS)
@pytest.mark.catalogue("A12")
async def test_a_key_of_any_bytes_is_a_wrong_key(serve, caplog, text):
    caplog.set_level(logging.INFO)
    settings = {"auth": {**KEYS["auth"], "browser_subprotocol": True}}
    status, _, body = await told(await serve(Scripted(answer("x")), settings, ENVIRON), text)
    assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
    (line,) = lines(caplog)
    assert line.getMessage() == "request_refused status=401 code=invalid_api_key count=1"


@pytest.mark.catalogue("A12")
async def test_they_count_as_every_other_refusal(serve):
    limits = {"limits": {"refused_per_minute": 2}}
    bridge = await serve(Scripted(answer("x")), {**KEYS, **limits}, ENVIRON)
    tried = [*STRANGERS.values(), *KEYLESS.values()][:3]
    assert [(await told(bridge, text))[0] for text in tried] == [403, 403, 429]
    key = head(b"GET /metrics HTTP/1.1", b"Authorization: Bearer key-a")
    _, _, body = await told(bridge, key)
    assert b'ws_bridge_limited_total{limit="refused_per_minute"} 1.0' in body


def get(path, *more):
    return head(b"GET %b HTTP/1.1" % path, *more)


PATHS = {
    "a name too long": get(b"/static/" + b"x" * 300),
    "a path too long": get(b"/static/" + b"x/" * 3000),
    "a NUL": get(b"/static/a%00b"),
    "bytes": get(b"/static/%ff"),
    "half a character": get(b"/static/%ed%a0%80"),
    "a way up": get(b"/static/../../etc/passwd"),
    "a hidden way up": get(b"/static/%2e%2e%2fconfig.toml"),
    "the folder": get(b"/static/"),
    "two slashes": get(b"/static//chat.css"),
    "an id of bytes": get(b"/v1/responses/%ff%fe"),
    "an id of half a character": get(b"/v1/responses/%ed%a0%80"),
    "an id with a NUL": get(b"/v1/conversations/conv_%00"),
}


@pytest.mark.parametrize("text", PATHS.values(), ids=PATHS)
@pytest.mark.catalogue("A12")
async def test_a_path_that_leads_nowhere_is_404(serve, caplog, text):
    caplog.set_level(logging.INFO)
    status, _, body = await told(await serve(Scripted(answer("x"))), text)
    assert (status, json.loads(body)["error"]["type"]) == (404, "invalid_request_error")
    assert {line.getMessage().split()[0] for line in lines(caplog)} <= {"request_refused"}


QUERIES = {
    "a number of 5,000 digits": get(b"/v1/responses/resp_1?stream=1&starting_after=" + b"9" * 5000),
    "a number of no script": get(b"/v1/conversations/conv_1/items?limit=%D9%A3"),
    "a limit of bytes": get(b"/v1/conversations/conv_1/items?limit=%ff"),
    "an item of bytes": get(b"/v1/conversations/conv_1/items?after=%ff%00"),
    "a flag of bytes": get(b"/v1/responses/resp_1?stream=%ff"),
    "a model of bytes": get(b"/v1/responses?model=%ff%ed%a0%80"),
    "a header without an end": head(MODELS, b"Cookie: " + b"\xff=" * 2000),
    "a coding of bytes": head(
        b"POST /v1/responses HTTP/1.1", b"Content-Encoding: \xff", b"Content-Length: 2"
    )
    + b"{}",
    "a kind of bytes": head(
        b"POST /v1/responses HTTP/1.1", b"Content-Type: \xff; charset=\xff", b"Content-Length: 2"
    )
    + b"{}",
}


@pytest.mark.parametrize("text", QUERIES.values(), ids=QUERIES)
@pytest.mark.catalogue("A12")
async def test_an_odd_query_or_header_is_no_crash(serve, caplog, text):
    caplog.set_level(logging.INFO)
    status, _, body = await told(await serve(Scripted(answer("x"))), text)
    assert status < 500, body
    json.loads(body)
    assert {line.getMessage().split()[0] for line in lines(caplog)} <= {"request_refused"}


PAGES = {
    "a year beyond all": b"If-Modified-Since: Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "a time of no day": b"If-Range: Wed, 21 Oct 2026 99:99:99 GMT",
    "a range of 5,000 digits": b"Range: bytes=" + b"9" * 5000 + b"-",
    "a tag of bytes": b"If-None-Match: \xff, *, W/",
}


@pytest.mark.parametrize("line", PAGES.values(), ids=PAGES)
@pytest.mark.catalogue("A12")
async def test_the_page_is_shown_whatever_a_cache_believes_to_have(serve, caplog, line):
    caplog.set_level(logging.INFO)
    bridge = await serve(Scripted(answer("x")))
    for path in (b"/", b"/static/chat.css"):
        status, headers, body = await told(bridge, get(path, line))
        assert (status, headers["cache-control"]) == (200, "no-cache")
        assert len(body) > 100
    assert {line.getMessage().split()[0] for line in lines(caplog)} <= {"request_refused"}


UNREADABLE = {
    "a space before the colon": head(MODELS, b"Authorization : Bearer " + SECRET),
    "a NUL in a name": head(MODELS, b"X-Ab\x00c: " + SECRET),
    "a NUL in a value": head(MODELS, b"Authorization: Bearer " + SECRET + b"\x00"),
    "a folded line": head(MODELS, b"Authorization: Bearer\r\n " + SECRET),
    "a long line": head(MODELS, b"Authorization: Bearer " + SECRET * 1000),
    "a long path": get(b"/v1/models?key=" + SECRET * 1000),
    "a length beyond all": head(MODELS, b"Content-Length: 9" + SECRET),
    "an address that is none": get(b"http://[" + SECRET + b"/v1/models"),
    "a port beyond all": get(b"http://" + SECRET + b":999999/"),
    "a path of bytes": get(b"/v1/responses/\xff" + SECRET),
    "another method": head(SECRET + b" /v1/models HTTP/1.1"),
    "a chunk of no size": head(b"POST /v1/responses HTTP/1.1", b"Transfer-Encoding: chunked")
    + SECRET
    + b"\r\n",
    "an expectation": head(MODELS, b"Expect: " + SECRET),
    "an expectation of bytes": head(MODELS, b"Expect: \xff" + SECRET),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "no keys"])
@pytest.mark.catalogue("A13")
async def test_what_cannot_be_read_is_told_in_the_contracts_form_and_not_said_back(
    serve, caplog, has_keys, text
):
    caplog.set_level(logging.INFO)
    bridge = await serve(Scripted(answer("x")), *((KEYS, ENVIRON) if has_keys else ()))
    status, headers, body = await told(bridge, text)
    assert 400 <= status < 500
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")
    assert "x-request-id" in headers
    assert SECRET not in body
    assert len(lines(caplog)) <= 1
    assert not any(SECRET.decode() in line.getMessage() or line.exc_info for line in lines(caplog))


async def test_what_belongs_to_a_key_is_kept_by_no_cache(serve):
    """Every answer under /v1 and of /metrics: lists, streams, errors; the page may be kept."""
    bridge = await serve(Scripted(answer("x")), KEYS, ENVIRON)
    own = b"Authorization: Bearer key-a"
    body = json.dumps({"model": "m", "input": "x", "stream": True}).encode()
    create = head(b"POST /v1/responses HTTP/1.1", own, b"Content-Length: %d" % len(body)) + body
    for text, status, expected in (
        (get(b"/v1/models", own), 200, "no-store"),
        (get(b"/v1/models"), 401, "no-store"),
        (get(b"/v1/responses", own), 426, "no-store"),
        (get(b"/v1/responses/resp_1", own), 404, "no-store"),
        (get(b"/v1/nothing", own), 404, "no-store"),
        (get(b"/metrics", own), 200, "no-store"),
        (create, 200, "no-cache, no-store"),
        (get(b"/"), 200, "no-cache"),
    ):
        answered, headers, _ = await told(bridge, text)
        assert (answered, headers["cache-control"]) == (status, expected), text
