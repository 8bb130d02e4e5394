"""Whatever a client sends: an error that says what is wrong, or an answer. Never a crash."""

import asyncio
import copy
import itertools
import json
import resource
import zlib

import aiohttp
import pytest
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer

from defence.frames import CREATE, FIELDS, LINEAGE
from defence.mutations import JUNK

LIMIT = {"server": {"max_message_mib": 1}}
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
# Not JSON, or not a frame; the connection goes on after each.
NO_FRAMES = {
    "nothing": "",
    "a space": " ",
    "null": "null",
    "a list": "[]",
    "a string": '"x"',
    "a number": "7",
    "half a frame": '{"type":"response.create"',
    "two frames": '{"type":"response.processed"}{"type":"response.processed"}',
    "a comment": '{"type":"response.processed"} // x',
    "single quotes": "{'type':'response.processed'}",
    "bottomless": DEEP,
    "bottomless lists": "[" * 200_000,
    "a number of 5,000 digits": '{"type":' + "9" * 5000 + "}",
    "not a number": '{"type":"response.create","temperature":NaN}',
    "a number beyond all": '{"type":"response.create","temperature":1e999}',
    "half a character": '{"type":"response.create","input":"\\ud800"}',
    "a byte order mark": '\ufeff{"type":"response.processed"}',
    "a NUL": '{"type":"response.processed"}\x00',
    "no type": '{"model":"m"}',
    "a type that is none": '{"type":7}',
    "a type of objects": '{"type":{"type":"response.create"}}',
    "a long type": json.dumps({"type": "x" * 2**20}),
    "a type of the language": '{"type":"__proto__"}',
    "a server's event": '{"type":"response.created","response":{}}',
    "a key of 1 MiB": json.dumps({"x" * 2**20: 1}),
    "100,000 keys": json.dumps({f"k{number}": 1 for number in range(100_000)}),
}
# Odd, but frames: what counts is what they say.
FRAMES = {
    "doubled keys": '{"type":"response.create","model":"none","model":"m","input":"hi"}',
    "NUL in a string": '{"type":"response.create","model":"m","input":"\\u0000"}',
    "fields of nobody": '{"type":"response.create","model":"m","input":"hi","x":{"y":1},"":0}',
    "inherited": '{"type":"response.create","model":"m","input":"hi","__proto__":{"model":"x"}}',
    "spaces": ' \n\t{ "type" : "response.create" , "model" : "m" , "input" : "hi" } \n',
}


@pytest.fixture
async def client(serve):
    bridge = await serve(Scripted(answer("x")))
    client = await bridge.connect()
    await client.turn(input="hi")
    return client


@pytest.mark.parametrize("text", NO_FRAMES.values(), ids=NO_FRAMES)
@pytest.mark.catalogue("B12", "B13")
async def test_what_is_no_frame_is_refused_and_the_connection_lives(client, text):
    await client.ws.send_str(text)
    refused = await client.event()
    assert (refused["type"], refused["status"]) == ("error", 400)
    assert refused["error"]["type"] == "invalid_request_error"
    assert len(json.dumps(refused)) < 1000, "it is not said back"
    assert (await client.turn(input="hi"))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("text", FRAMES.values(), ids=FRAMES)
@pytest.mark.catalogue("B12", "B13")
async def test_what_is_odd_but_json_is_answered(client, text):
    await client.ws.send_str(text)
    assert (await client.until("response.completed", "error"))[-1]["type"] == "response.completed"


@pytest.mark.catalogue("B11")
async def test_a_binary_message_is_refused_and_the_connection_lives(client):
    await client.ws.send_bytes(b'{"type":"response.create","model":"m","input":"hi"}')
    refused = await client.event()
    assert (refused["status"], refused["error"]["type"]) == (400, "invalid_request_error")
    assert (await client.turn(input="hi"))[-1]["type"] == "response.completed"


def places(value, path=()):
    """Every path of a value's own, and of what is in it."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def changed(body, path, value):
    """A copy of the body with something else in one place."""
    body = copy.deepcopy(body)
    inside = body
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return body


BASE = {**CREATE, "store": False}
PLACES = [path for path in places({**BASE, **LINEAGE, "stream_id": "a"}) if path != ("type",)]
# A field whose wrong value is told by the name of another one.
TOLD_AS = {
    "background": {"background", "store"},
    "input": {"input", "previous_response_id"},
    "store": {"store", "background"},
}


async def test_the_start_of_all_wrong_fields_is_right(client):
    await client.create(**{**BASE, "background": False})
    assert (await client.until("response.completed", "error"))[-1]["type"] == "response.completed"


@pytest.mark.catalogue("B13")
@pytest.mark.parametrize("part", range(4))
async def test_a_wrong_value_anywhere_is_named_or_let_pass(serve, part):
    """Each of JUNK in each place of a create with every documented field: over 4,000 frames."""
    tried = list(itertools.product(PLACES, JUNK))[part::4]
    assert len(tried) > 1000
    client = await (await serve(Scripted(answer("x")))).connect()
    for number, (path, junk) in enumerate(tried):
        if number % 500 == 0:  # lanes are counted over the life of a connection
            client = await (await serve(Scripted(answer("x")))).connect()
        body = BASE if path[0] in BASE else {**BASE, path[0]: None}
        await client.ws.send_json(changed(body, path, junk))
        last = (await client.until("response.completed", "error"))[-1]
        if last["type"] == "error":
            error = last["error"]
            assert 400 <= last["status"] < 500, (path, junk, last)
            told = error.get("param") or ""
            assert told in TOLD_AS.get(path[0], {path[0]}), (path, junk, last)


@pytest.mark.catalogue("B13")
async def test_a_wrong_field_is_named_over_http_too(serve):
    bridge = await serve(Scripted(answer("x")))
    fields = {**FIELDS, **LINEAGE, "stream": False, "store": False}
    for name, junk in itertools.product(fields, JUNK[:30]):
        body = {**FIELDS, "stream": False, "store": False, name: junk}
        async with bridge.session.post(bridge.url + "/v1/responses", json=body) as got:
            assert got.status < 500, (name, junk, await got.text())
            if got.status >= 400:
                told = (await got.json())["error"]["param"]
                assert told in TOLD_AS.get(name, {name}), (name, junk, told)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b'{"a":' * 5000, b"null", b"7"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses",
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
        "/v1/conversations/conv_1/items",
    ],
)
@pytest.mark.catalogue("B12")
async def test_a_body_that_is_no_object_is_400_everywhere(serve, path, data):
    bridge = await serve(Scripted(answer("x")))
    async with bridge.session.post(bridge.url + path, data=data) as got:
        assert got.status == 400
        assert (await got.json())["error"]["type"] == "invalid_request_error"


EVIL = "m\r\nX-Evil: 1\r\n\r\n<script>"


@pytest.mark.catalogue("B18")
async def test_what_a_client_says_never_becomes_a_header(serve):
    bridge = await serve(Scripted(answer("x")), {"models": [{"name": "*", "model": "openai/*"}]})
    said = {"metadata": {EVIL[:64]: EVIL}, "user": EVIL, "prompt_cache_key": EVIL}
    unknown = {"model": EVIL, "input": EVIL, "stream": False}
    async with bridge.session.post(bridge.url + "/v1/responses", json=unknown) as got:
        assert (got.status, "X-Evil" in got.headers) == (404, False)
    body = {**unknown, "model": "m", **said}
    async with bridge.session.post(bridge.url + "/v1/responses", json=body) as got:
        assert "X-Evil" not in got.headers
        assert got.content_type == "application/json"
        made = await got.json()
    assert made["metadata"] == said["metadata"]
    evil_path = "/v1/responses/" + "resp_%0d%0aX-Evil:%201%0d%0a"
    for method in ("GET", "DELETE"):
        url = aiohttp.client.URL(bridge.url + evil_path, encoded=True)
        async with bridge.session.request(method, url) as got:
            assert got.status == 404
            assert "X-Evil" not in got.headers


@pytest.mark.catalogue("B19")
async def test_metadata_is_limited_and_comes_back_as_json_only(serve):
    bridge = await serve(Scripted(answer("x")))
    for metadata in ({"k": "x" * 10**7}, {"k": 7}, {f"k{at}": "v" for at in range(17)}):
        status, body = await bridge.post("/v1/responses", model="m", input="x", metadata=metadata)
        assert (status, body["error"]["param"]) == (400, "metadata")
    html = {"<b>": "<script>alert(1)</script>\x00\x1b[2J\u2028"}
    status, made = await bridge.post("/v1/responses", model="m", input="x", metadata=html)
    assert (status, made["metadata"]) == (200, html)
    for path in (f"/v1/responses/{made['id']}", "/v1/responses/<script>alert(1)<%2fscript>"):
        async with bridge.session.get(bridge.url + path) as got:
            assert got.content_type == "application/json"
            assert got.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.catalogue("B19")
async def test_a_body_beyond_the_limit_is_413_and_is_not_read_to_its_end(serve):
    bridge = await serve(Scripted(answer("x")), LIMIT)
    metadata = {"k": "x" * (2 * 2**20)}
    status, body = await bridge.post("/v1/responses", model="m", input="x", metadata=metadata)
    assert (status, body["error"]["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.catalogue("B6")
async def test_a_body_that_unpacks_to_more_than_may_be_is_413(serve, coding):
    """A few kilobytes that are 64 MiB: nobody unpacks them to their end."""
    bridge = await serve(Scripted(answer("x")), LIMIT)
    bits = 31 if coding == "gzip" else 15
    packer = zlib.compressobj(9, wbits=bits)
    pieces = [packer.compress(b'{"model":"m","input":"')]
    pieces += [packer.compress(b"x" * 2**20) for _ in range(64)]
    packed = b"".join((*pieces, packer.compress(b'"}'), packer.flush()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, _ = await packed_post(bridge, packed, coding)
    assert status == 413
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024, f"{grown} KiB"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "nonsense"])
async def test_a_body_that_cannot_be_unpacked_is_refused(serve, coding):
    bridge = await serve(Scripted(answer("x")))
    status, told = await packed_post(bridge, b"\x1f\x8b\x08 this is none", coding)
    assert status in (400, 415), told


async def packed_post(bridge, data, coding):
    """Status and text of a create whose body comes packed."""
    head = {"Content-Encoding": coding, "Content-Type": "application/json"}
    url = bridge.url + "/v1/responses"
    async with bridge.session.post(url, data=data, headers=head) as got:
        return got.status, await got.text()


@pytest.mark.parametrize(
    "offered",
    [
        b"",
        b",,,",
        b"responses",
        b"\xff\xfe, responses",
        "ключ, responses".encode(),
        b", ".join(b"p%d" % number for number in range(100)),
        b"openai-insecure-api-key.sk-canary",
        b"x" * 7000,
        b'(){}[]"@ responses',
    ],
)
@pytest.mark.catalogue("B21")
async def test_any_subprotocols_are_answered_with_one_or_none(serve, offered):
    bridge = await serve(Scripted(answer("x")))
    head = await handshake(bridge, b"Sec-WebSocket-Protocol: %b" % offered)
    assert head.startswith(b"HTTP/1.1 101 ")
    chosen = [line for line in head.lower().split(b"\r\n") if b"sec-websocket-protocol" in line]
    assert chosen in ([], [b"sec-websocket-protocol: responses"])
    assert (await bridge.get("/healthz"))[0] == 200


async def handshake(bridge, *lines):
    """The head of the answer to an upgrade with more lines in its head."""
    host = bridge.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    try:
        head = (
            b"GET /v1/responses HTTP/1.1",
            b"Host: %b" % host.encode(),
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        writer.write(b"\r\n".join((*head, *lines)) + b"\r\n\r\n")
        async with asyncio.timeout(HANG_SECONDS):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
