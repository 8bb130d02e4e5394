"""Heads of upgrades that are not as they must be: refused, or at least never upgraded."""

import asyncio

import pytest
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer

LINE = b"GET /v1/responses HTTP/1.1"
HEAD = {
    "host": b"Host: 127.0.0.1",
    "connection": b"Connection: Upgrade",
    "upgrade": b"Upgrade: websocket",
    "version": b"Sec-WebSocket-Version: 13",
    "key": b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}


def head(line=LINE, more=b"", **changed):
    """A good head but for what is changed; None leaves a line out."""
    lines = [text for text in (HEAD | changed).values() if text is not None]
    return b"\r\n".join([line, *lines, *([more] if more else [])]) + b"\r\n\r\n"


async def answered(bridge, text):
    """The first line of the answer; empty if there is none."""
    reader, writer = await asyncio.open_connection(*bridge.url.removeprefix("http://").split(":"))
    try:
        writer.write(text)
        async with asyncio.timeout(HANG_SECONDS):
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_good_head_is_upgraded(serve):
    bridge = await serve(Scripted(answer("x")))
    assert (await answered(bridge, head())).startswith(b"HTTP/1.1 101 ")


BAD = {
    "no version": head(version=None),
    "version 7": head(version=b"Sec-WebSocket-Version: 7"),
    "version 99": head(version=b"Sec-WebSocket-Version: 99"),
    "version of words": head(version=b"Sec-WebSocket-Version: thirteen"),
    "no key": head(key=None),
    "empty key": head(key=b"Sec-WebSocket-Key: "),
    "short key": head(key=b"Sec-WebSocket-Key: dGhl"),
    "key of no base64": head(key=b"Sec-WebSocket-Key: ????????????????????????"),
    "no upgrade": head(upgrade=None),
    "upgrade to h2c": head(upgrade=b"Upgrade: h2c"),
    "no connection": head(connection=None),
    "connection close": head(connection=b"Connection: close"),
    "HTTP/1.0": head(b"GET /v1/responses HTTP/1.0"),
    "HTTP/0.9": b"GET /v1/responses\r\n\r\n",
    "HTTP/3.7": head(b"GET /v1/responses HTTP/3.7"),
    "another method": head(b"PUT /v1/responses HTTP/1.1"),
    "no method": head(b"/v1/responses HTTP/1.1"),
    "a body": head(more=b"Content-Length: 4") + b"body",
    "CL and TE": head(more=b"Content-Length: 4\r\nTransfer-Encoding: chunked"),
    "two lengths": head(more=b"Content-Length: 4\r\nContent-Length: 5"),
    "a negative length": head(more=b"Content-Length: -1"),
    "an odd encoding": head(more=b"Transfer-Encoding: chunked, xchunked"),
    "two hosts": head(more=b"Host: evil.example"),
    "no host": head(host=None),
    "a host of another": head(host=b"Host: evil.example"),
    "a folded line": head(more=b"X-A: 1\r\n  folded"),
    "NUL in a value": head(more=b"X-A: a\x00b"),
    "NUL in a name": head(more=b"X-\x00A: b"),
    "CR in a value": head(more=b"X-A: a\rb"),
    "a space before the colon": head(more=b"X-A : b"),
    "an empty name": head(more=b": b"),
    "a name with a space": head(more=b"X A: b"),
    "a line without a colon": head(more=b"nothing"),
    "a header of 64 KiB": head(more=b"X-A: " + b"x" * 65536),
    "2,000 headers": head(more=b"\r\n".join(b"X-%d: y" % number for number in range(2000))),
    "an absolute URI of another": head(b"GET http://evil.example/v1/responses HTTP/1.1"),
    "a path of another host": head(b"GET //evil.example/v1/responses HTTP/1.1"),
    "a path with a NUL": head(b"GET /v1/resp\x00onses HTTP/1.1"),
    "a long path": head(b"GET /v1/responses?" + b"x" * 65536 + b" HTTP/1.1"),
    "bytes": bytes(range(256)) * 4 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
@pytest.mark.catalogue("B14")
async def test_a_bad_head_is_never_upgraded(serve, text):
    """4xx, or no answer at all; and the server serves on."""
    bridge = await serve(Scripted(answer("x")))
    line = await answered(bridge, text)
    assert line == b"" or line.split(b" ")[1] in (
        *(b"400", b"403", b"404", b"405", b"414", b"426", b"431"),
    ), line
    assert (await (await bridge.connect()).turn(input="x"))[-1]["type"] == "response.completed"
