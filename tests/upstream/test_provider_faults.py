"""A provider whose bytes are a test's own: cut, split, spelled oddly, too long, led elsewhere."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
import struct
import zlib
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from support.answers import drafts_of
from support.hang import HANG_SECONDS
from upstreams.anthropic import anthropic_events
from upstreams.asking import KEY, ask, request, target
from upstreams.chat import chat_events
from upstreams.responses import ResponsesScript
from upstreams.sockets import self_signed
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.errors import TOO_LARGE, classify
from ws_bridge.upstream.litellm import client, internals
from ws_bridge.upstream.litellm.upstream import call_of
from ws_bridge.upstream.retry import is_retryable
from ws_bridge.upstream.websocket import connection
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

FAMILIES = ("native", "chat", "anthropic")
FAMILIES_KNOWN = ("native", "vllm", "chat", "sdk", "anthropic", "gemini", "ollama")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
MIB = 2**20
WIDE = "ö漢"


class RawProvider:
    """A provider on loopback: each request is answered by the next of the answers, or the last.

    An answer gets the writer. ``asked`` holds the requests' heads.
    """

    def __init__(self, *answers, tls=None):
        self.answers = list(answers)
        self._tls = None
        if tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*tls)
        self.asked = []
        self.base_url = ""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
        self.asked.append(head)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        with contextlib.suppress(ConnectionError):
            await answer(writer)
        writer.close()


@pytest.fixture(autouse=True)
async def closed():
    """The connections of litellm end with each test's loop."""
    yield
    await client.shutdown()


def frames_of(family):
    """The events of one whole answer, as (name, data)."""
    if family == "native":
        events = ResponsesScript("gpt-text").events()
    elif family == "chat":
        events = chat_events("m-text", {"stream_options": {"include_usage": True}})
    else:
        events = anthropic_events("claude-text", {"messages": []})
    named = [
        (None if family == "chat" else event["type"], in_many_bytes(event)) for event in events
    ]
    return [(name, json.dumps(event, ensure_ascii=False)) for name, event in named]


def in_many_bytes(value, key=""):
    """The same, its texts with characters of two and three bytes."""
    if isinstance(value, dict):
        return {key: in_many_bytes(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [in_many_bytes(each) for each in value]
    is_text = isinstance(value, str) and key in ("delta", "text", "content")
    return value.replace("o", WIDE) if is_text else value


def spelled(family, end="\n", colon=": ", before="", between=""):
    """The answer as text."""
    text = before
    for name, data in frames_of(family):
        text += f"event{colon}{name}{end}" if name else ""
        text += f"data{colon}{data}{end}{end}{between}"
    return (text + ("" if family == "anthropic" else f"data{colon}[DONE]{end}{end}")).encode()


def whole(text):
    async def answer(writer):
        writer.write(HEAD + b"\r\n" + text)
        await writer.drain()

    return answer


def bit_by_bit(text, size=1):
    """In pieces of so many bytes, each read before the next one comes."""

    async def answer(writer):
        writer.write(HEAD + b"\r\n")
        for start in range(0, len(text), size):
            writer.write(text[start : start + size])
            await asyncio.sleep(0)

    return answer


async def ask_raw(family, answer, **more):
    async with RawProvider(answer) as provider:
        return await ask(request(target(provider, family, "wire", **more)))


SPELLINGS = {
    "crlf": {"end": "\r\n"},
    "cr": {"end": "\r"},
    "no space": {"colon": ":"},
    "comments": {"before": ": hello\n\n", "between": ": keepalive\n\n"},
    "byte order mark": {"before": "\ufeff"},
    "other fields": {"between": "id: 7\nretry: 10\n\n"},
}


@pytest.mark.catalogue("U8")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_however_it_is_spelled_the_answer_is_the_same(family, spelling):
    plain = await ask_raw(family, whole(spelled(family)))
    assert WIDE in plain.text
    answer = await ask_raw(family, whole(spelled(family, **SPELLINGS[spelling])))
    assert (answer.error, answer.text) == (None, plain.text)


@pytest.mark.catalogue("U8")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_wherever_it_is_split_the_answer_is_the_same(family, end):
    """Every byte alone: within words, characters and ends of lines."""
    plain = await ask_raw(family, whole(spelled(family)))
    answer = await ask_raw(family, bit_by_bit(spelled(family, end=end)))
    assert (answer.error, answer.text) == (None, plain.text)
    assert [draft.type for draft in answer.drafts] == [draft.type for draft in plain.drafts]


@pytest.mark.catalogue("U6")
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_reset_amid_an_event_is_a_failure_that_keeps_the_drafts_before(family):
    text = spelled(family)
    cut = text.rindex(WIDE.encode()) + 3  # within an event, and a character

    async def answer(writer):
        writer.write(HEAD + b"\r\n" + text[:cut])
        await writer.drain()
        await gate.wait()
        line = writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.transport.abort()

    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, gate.set)
    answered = await ask_raw(family, answer, retries=2)
    assert (answered.error.status, answered.error.code) == (502, "server_error")
    assert answered.drafts
    assert not any(draft.type == "response.completed" for draft in answered.drafts)


class Endless:
    """An answer that goes on for as long as it is read, up to a limit; ``sent`` bytes so far."""

    def __init__(self, piece, limit, head=HEAD, begin=b""):
        self.piece, self.limit, self.sent = piece, limit, 0
        self.begin = head + b"\r\n" + begin

    async def __call__(self, writer):
        writer.write(self.begin)
        while self.sent < self.limit:
            writer.write(self.piece)
            self.sent += len(self.piece)
            await writer.drain()


@pytest.mark.catalogue("U10")
@pytest.mark.parametrize("family", ["native", "chat"])
async def test_a_line_without_an_end_is_given_up(family):
    answer = Endless(b"data: " + b"x" * MIB, 512 * MIB)
    answered = await ask_raw(family, answer, retries=0, most_bytes=64 * MIB)
    assert answered.error.status == 502
    assert answer.sent < 128 * MIB


def endless(status, kind, piece, limit=256 * MIB):
    """An answer of that status that does not end, as far as its provider is let."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    return Endless(piece, limit, head.encode())


# Some of those for whom litellm makes its own clients.
OTHERS = {
    "cohere": "cohere_chat/c",
    "openrouter": "openrouter/o",
    "huggingface": "huggingface/h",
    "azure": "azure/a",
    "databricks": "databricks/d",
}
ERROR = b'{"error": {"message": "' + b"x" * MIB


def aimed(provider, family, **more):
    if family in FAMILIES_KNOWN:
        return target(provider, family, "wire", **more)
    given = {"api_base": provider.base_url, "api_key": KEY, "retries": 0, **more}
    return Target(name=family, model=OTHERS[family], **given)


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("status", [200, 400, 429, 500])
@pytest.mark.parametrize("family", [*FAMILIES_KNOWN, *OTHERS])
async def test_a_body_without_an_end_is_read_to_its_bound(family, status):
    """It was read whole: 2.2 GiB in six seconds."""
    answer = endless(status, "application/json", ERROR)
    async with RawProvider(answer) as provider:
        answered = await ask(request(aimed(provider, family, most_bytes=MIB)))
    assert len(provider.asked) >= 1
    assert answered.drafts == []
    assert answered.error.status == (502 if status == 200 else status)
    assert answer.sent < 32 * MIB


@pytest.mark.catalogue("U10")
@pytest.mark.parametrize("family", FAMILIES)
async def test_an_event_of_eight_mib_is_yielded_whole(family):
    text = spelled(family).replace(WIDE.encode(), b"x" * 8 * MIB, 1)
    answered = await ask_raw(family, whole(text))
    deltas = [len(draft.fields["delta"]) for draft in answered.drafts if "delta" in draft.fields]
    assert (answered.error, max(deltas) >= 8 * MIB) == (None, True)


def bomb(mib):
    """So many MiB of one line, compressed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    text = packer.compress(b"data: ")
    for _ in range(mib):
        text += packer.compress(b"x" * MIB)
    return text + packer.flush()


class Peak:
    """How much more memory the process had at once, in bytes, within the block."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._now("VmRSS")
        return self

    def __exit__(self, *_):
        self.bytes = self._now("VmHWM") - self._before

    def _now(self, name):
        status = Path("/proc/self/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.catalogue("U16")
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_compressed_answer_that_unfolds_without_end_is_given_up(family):
    """Each request asks for one that is not compressed."""
    text = HEAD + b"Content-Encoding: gzip\r\n\r\n" + bomb(256)

    async def answer(writer):
        writer.write(text)
        await writer.drain()

    async with RawProvider(answer) as provider:
        with Peak() as peak:
            answered = await ask(request(target(provider, family, "wire")))
    assert answered.error.status >= 500
    assert peak.bytes < 128 * MIB
    assert b"accept-encoding: identity\r\n" in provider.asked[0].lower()


def refusal(status, body, *headers):
    async def answer(writer):
        lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", "Connection: close"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", *headers])
        writer.write(f"{head}\r\n\r\n{body}".encode())
        await writer.drain()

    return answer


@pytest.mark.catalogue("U14")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("family", [*FAMILIES, "sdk", "gemini"])
async def test_no_redirect_is_followed(family, status):
    """The key, and what was asked, go to the operator's address and nowhere else."""
    async with RawProvider(whole(b"")) as elsewhere:
        answer = refusal(status, "{}", f"Location: {elsewhere.base_url}/v1/responses")
        async with RawProvider(answer) as provider:
            answered = await ask(request(target(provider, family, "wire")))
    assert len(provider.asked) == 1
    assert elsewhere.asked == []
    assert answered.drafts == []
    assert answered.error.status >= 400


# As litellm names a background response of OpenAI.
IDS = internals.load(internals.RESPONSE_IDS)
RUNNING = IDS._build_responses_api_response_id("openai", None, "resp_1")


@pytest.mark.catalogue("U14")
@pytest.mark.parametrize("asked", ["create", "get", "cancel"])
async def test_nor_is_a_background_call(asked):
    async with RawProvider(whole(b"")) as elsewhere:
        answer = refusal(307, "{}", f"Location: {elsewhere.base_url}/v1/responses")
        async with RawProvider(answer) as provider:
            to = target(provider, "native", "wire")
            calls = {
                "create": lambda: client.create(call_of(request(to, background=True))),
                "get": lambda: client.get_background(to, RUNNING),
                "cancel": lambda: client.cancel_background(to, RUNNING),
            }
            with pytest.raises(openai.APIError):
                await calls[asked]()
            assert len(provider.asked) == 1
        assert elsewhere.asked == []
    await client.shutdown()


SECRETS = (KEY, "sk-another-key-123456", "db.internal.example:5432", "/srv/app/secret.py")


@pytest.mark.catalogue("U15")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("status", [400, 401, 500])
async def test_what_a_providers_error_gives_away_reaches_neither_client_nor_log(
    family, status, caplog, capfd
):
    caplog.set_level(logging.DEBUG, "ws_bridge")
    message = " ".join(["cannot reach", *SECRETS])
    body = json.dumps({"error": {"message": message, "type": "x", "code": None, "param": None}})
    async with RawProvider(refusal(status, body)) as provider:
        answered = await ask(request(target(provider, family, "wire")))
    ours = [entry.getMessage() for entry in caplog.records if entry.name.startswith("ws_bridge")]
    shown = json.dumps([answered.error.frame(), answered.error.response_error(), ours])
    shown += "".join(capfd.readouterr())
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.catalogue("U1")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["refused", "no such name", "another's certificate"])
async def test_who_cannot_be_reached_is_one_error(family, how, tmp_path):
    async with RawProvider(whole(b""), tls=self_signed(tmp_path)) as provider:
        base = {
            "refused": "http://127.0.0.1:1",
            "no such name": "http://no-such-name.invalid",
            "another's certificate": provider.base_url.replace("http:", "https:"),
        }[how]
        path = "" if family == "anthropic" else "/v1"
        async with asyncio.timeout(HANG_SECONDS):
            answered = await ask(request(target(provider, family, "wire", api_base=base + path)))
    assert (answered.error.status, answered.drafts, provider.asked) == (502, [], [])
    assert answered.error.message == "The model provider could not be reached."


# Answers that go on and on


def deltas(family):
    """A stream's beginning, and a piece of it that can be repeated."""
    frames = [
        f"event: {name}\n" * bool(name) + f"data: {data}\n\n" for name, data in frames_of(family)
    ]
    place = next(place for place, frame in enumerate(frames) if WIDE in frame)
    return "".join(frames[:place]).encode(), frames[place].encode() * 1000


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_stream_without_an_end_is_read_to_its_bound_and_let_go(family):
    begin, more = deltas(family)
    answer = Endless(more, 256 * MIB, begin=begin)
    async with RawProvider(answer) as provider:
        answered = await ask(request(target(provider, family, "wire", most_bytes=2 * MIB)))
    assert answered.error.message == TOO_LARGE
    assert not is_retryable(answered.error)
    assert len(answered.drafts) > 100
    assert answer.sent < 32 * MIB


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("asked", ["create", "get", "cancel"])
async def test_so_is_what_a_background_call_is_answered_with(asked, status):
    answer = endless(status, "application/json", ERROR)
    async with RawProvider(answer) as provider:
        to = target(provider, "native", "wire", most_bytes=MIB)
        calls = {
            "create": lambda: client.create(call_of(request(to, background=True))),
            "get": lambda: client.get_background(to, RUNNING),
            "cancel": lambda: client.cancel_background(to, RUNNING),
        }
        with pytest.raises(Exception) as failed:  # noqa: PT011 - litellm's, for `classify`
            await calls[asked]()
        assert classify(failed.value).status == (502 if status == 200 else status)
        assert answer.sent < 32 * MIB
    await client.shutdown()


@asynccontextmanager
async def native():
    """The provider's own WebSocket, as an upstream."""
    upstream = WebSocketUpstream()
    yield upstream
    await upstream.stop()


@pytest.mark.catalogue("A7")
async def test_of_the_refusal_of_a_websocket_little_is_kept():
    """What comes after it is thrown away until the connection is closed."""
    answer = endless(500, "application/json", ERROR)
    async with RawProvider(answer) as provider, native() as upstream:
        to = target(provider, "native", "wire", ws_reconnects=0)
        with Peak() as peak:
            answered = await ask(request(to), upstream)
    assert answered.error.status >= 500
    assert peak.bytes < 64 * MIB


class Speaking:
    """A provider's WebSocket that repeats one event."""

    def __init__(self, limit):
        self.limit, self.sent = limit, 0
        self.is_gone = asyncio.Event()

    async def __call__(self, socket):
        await socket.recv()
        created = {
            "type": "response.created",
            "response": {"id": "resp_1", "status": "in_progress"},
        }
        await socket.send(json.dumps(created))
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        delta = json.dumps({"type": "response.output_text.delta", **at, "delta": "x" * 50_000})
        with contextlib.suppress(ConnectionClosed):
            while self.sent < self.limit:
                await socket.send(delta)
                self.sent += len(delta)
        self.is_gone.set()


@pytest.mark.catalogue("A7")
async def test_an_answer_without_an_end_on_a_websocket_is_read_to_its_bound_and_let_go():
    provider = Speaking(256 * MIB)
    async with serve(provider, "127.0.0.1", 0) as server, native() as upstream:
        port = server.sockets[0].getsockname()[1]
        to = Target("m", "openai/gpt-wire", f"http://127.0.0.1:{port}/v1", KEY, most_bytes=MIB)
        answered = await ask(request(to), upstream)
        async with asyncio.timeout(HANG_SECONDS):
            await provider.is_gone.wait()
    assert answered.error.message == TOO_LARGE
    assert provider.sent < 32 * MIB


@pytest.mark.catalogue("A7")
async def test_what_is_not_read_from_a_websocket_is_kept_up_to_a_bound(monkeypatch):
    """The job may have to wait for the store before it reads on."""
    monkeypatch.setattr(connection, "MAX_UNREAD", MIB)
    provider = Speaking(256 * MIB)
    async with serve(provider, "127.0.0.1", 0) as server, native() as upstream:
        port = server.sockets[0].getsockname()[1]
        to = Target(
            "m", "openai/gpt-wire", f"http://127.0.0.1:{port}/v1", KEY, most_bytes=512 * MIB
        )
        answer = await upstream.open(request(to))
        assert answer.first[0].type == "response.created"
        [lane] = upstream._pool._connections[0].lanes
        async with asyncio.timeout(HANG_SECONDS):
            while lane.is_leased:  # noqa: ASYNC110 - the connection's own task
                await asyncio.sleep(0)
        with pytest.raises(UpstreamError, match="lost"):
            await drafts_of(answer)
        async with asyncio.timeout(HANG_SECONDS):
            await provider.is_gone.wait()
    assert provider.sent < 200 * MIB
