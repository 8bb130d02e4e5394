"""The largest requests that may come, and what another client notices of each.

While one is served, another client asks `/healthz` again and again (``healthz``). Told are its
longest answer, and the bridge's longest turn of the event loop in CPU of that thread (``watched``):
a busy machine makes the answers slower, and not the turns. ``HEAVY='redis: *'`` measures some.
"""

from __future__ import annotations

import base64
import http.client
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from websockets.sync.client import connect

from tests.bench.field import Field, await_ready
from tests.bench.processes import START_SECONDS, Server, Worker

Json = dict[str, Any]

MIB = 2**20
LARGE = 20 * MIB
MANY = 120_000
WORDS = ("All work and no play makes Jack a dull boy. " * (LARGE // 44 + 1))[:LARGE]
ITEMS = [{"role": "user", "content": "hi"}] * MANY
PROPERTIES = {f"p{number}": {"type": "string"} for number in range(9_999)}
SCHEMA = {"type": "object", "properties": PROPERTIES}
IMAGE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * (15 * MIB // 256)).decode()
BODIES: dict[str, Json] = {
    "120,000 items": {"input": ITEMS},
    "a text of 20 MB": {"input": WORDS},
    "10,000 tools": {
        "input": "hi",
        "tools": [
            {"type": "function", "name": f"f{n}", "parameters": {"type": "object"}}
            for n in range(10_000)
        ],
    },
    "10,000 properties": {
        "input": "hi",
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
    },
    "an image of 20 MB": {
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}]
    },
}
PROVIDERS = {
    "chat": ("groq/m", "/v1", "managed"),
    "anthropic": ("anthropic/claude-m", "", "managed"),
    "gemini": ("gemini/gemini-m", "/v1beta", "managed"),
    "responses": ("openai/m", "/v1", "managed"),
    "socket": ("openai/m", "/v1", "native"),
}
CONFIG = """
[server]
port = 0
drain_seconds = 1
[limits]
queued_mib_per_connection = 64
creates_per_minute = 0
[store]
url = "{store}"
"""
ENTRY = """
[[models]]
name = "{name}"
model = "{model}"
api_base = "{base}"
api_key_env = "BENCH_API_KEY"
mode = "{mode}"
"""
ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One heavy request, and what others noticed."""

    name: str
    seconds: float
    healthz_ms: float  # the longest answer
    asks: int
    turn_ms: float  # the longest turn of the loop, in CPU of its thread
    place: str  # where it was in that turn
    collection_ms: float  # the longest pass of the garbage collector
    collector: str


class Client:
    """Asks one bridge. Whatever is not answered as it should be is an ``AssertionError``."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)

    def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The answer's body."""
        connection = http.client.HTTPConnection(self._place.netloc, timeout=120)
        try:
            connection.request(method, path, body or None, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == 200, told[:500]
            return told
        finally:
            connection.close()

    def create(self, **fields: Any) -> Json:
        """A response over HTTP."""
        made: Json = orjson.loads(self.call("POST", "/v1/responses", orjson.dumps(fields)))
        assert made["status"] == "completed", str(made)[:500]
        return made

    def turn(self, **fields: Any) -> None:
        """A response over a socket of its own."""
        with connect(
            f"ws://{self._place.netloc}/v1/responses", max_size=None, compression=None
        ) as socket:
            socket.send(orjson.dumps({"type": "response.create"} | fields).decode())
            while (event := orjson.loads(socket.recv()))["type"] not in ENDS:
                pass
            assert event["type"] == "response.completed", str(event)[:500]


Act = Callable[[Client], object]


def creates(name: str) -> Iterator[tuple[str, Act]]:
    """Every large create to one provider, over a socket and over HTTP."""
    for what, fields in BODIES.items():
        body = {"model": name} | fields
        yield f"{what}, socket", lambda client, body=body: client.turn(**body)  # type: ignore[misc]
        yield f"{what}, HTTP", lambda client, body=body: client.create(**body)  # type: ignore[misc]


def counts() -> Iterator[tuple[str, Act]]:
    """Token counts."""
    for what, fields in BODIES.items():
        text = orjson.dumps({"model": "chat"} | fields)
        yield (
            f"input_tokens: {what}",
            lambda client, text=text: client.call("POST", "/v1/responses/input_tokens", text),  # type: ignore[misc]
        )


def stored() -> Iterator[tuple[str, Act]]:
    """What is stored: gone on from, polled, replayed, listed."""
    kept: dict[str, Any] = {}

    def chain(client: Client) -> None:
        part = WORDS[: LARGE // 3]
        before = None
        for _ in range(3):
            before = client.create(model="chat", input=part, previous_response_id=before)["id"]
        kept["chain"] = before

    def answer(client: Client) -> None:
        kept["large"] = client.create(model="chat-large", input="hi")["id"]

    def converse(client: Client) -> None:
        kept["conversation"] = orjson.loads(client.call("POST", "/v1/conversations"))["id"]
        items = [{"role": "user", "content": WORDS[: 31 * MIB // 40]} for _ in range(20)]
        text = orjson.dumps({"items": items})
        for _ in range(2):
            client.call("POST", f"/v1/conversations/{kept['conversation']}/items", text)

    def items(client: Client) -> None:
        path = f"/v1/conversations/{kept['conversation']}/items?limit=100"
        after, has_more = "", True
        while has_more:
            page = orjson.loads(client.call("GET", path + after))
            after, has_more = f"&after={page['last_id']}", page["has_more"]

    def path(name: str, more: str = "") -> str:
        return f"/v1/responses/{kept[name]}{more}"

    yield "three turns of 7 MB are made", chain
    yield (
        "they are gone on from",
        lambda client: client.create(
            model="chat", input="on", previous_response_id=kept["chain"], store=False
        ),
    )
    yield "their input is listed", lambda client: client.call("GET", path("chain", "/input_items"))
    yield "an answer of 20 MB is made", answer
    yield "the same over a socket", lambda client: client.turn(model="chat-large", input="hi")
    yield "it is polled", lambda client: client.call("GET", path("large"))
    yield (
        "it is replayed",
        lambda client: client.call("GET", path("large", "?stream=true&starting_after=3")),
    )
    yield (
        "it is gone on from",
        lambda client: client.create(
            model="chat", input="on", previous_response_id=kept["large"], store=False
        ),
    )
    yield "it is deleted", lambda client: client.call("DELETE", path("large"))
    yield "a conversation of 31 MB is made", converse
    yield "its items are listed", items
    yield (
        "a response is made in it",
        lambda client: client.create(
            model="chat", input="on", conversation=kept["conversation"], store=False
        ),
    )
    body = orjson.dumps(
        {"model": "chat", "input": [*ITEMS[:100], {"role": "user", "content": WORDS}]}
    )
    yield (
        "20 MB are compacted",
        lambda client: client.call("POST", "/v1/responses/compact", body),
    )


def scenarios() -> Iterator[tuple[str, str, Act]]:
    """Store, name, what is done."""
    for name in PROVIDERS:
        for what, act in creates(name):
            yield "memory", f"{name}: {what}", act
    for what, act in counts():
        yield "memory", what, act
    for what, act in stored():
        yield "memory", what, act
    for what, act in creates("chat"):
        yield "redis", f"chat: {what}", act
    for what, act in stored():
        yield "redis", what, act


class Bench:
    """The bridge on one store, watched."""

    def __init__(self, folder: Path, store_name: str, store_url: str, upstream: str) -> None:
        self._record = folder / f"turns-{store_name}.jsonl"
        config = folder / f"heavy-{store_name}.toml"
        config.write_text(CONFIG.format(store=store_url) + "".join(_entries(upstream)))
        log = folder / f"heavy-{store_name}.log"
        serve = ("serve", "--config", str(config))
        self.server = Server(log, "tests.bench.watched", str(self._record), *serve)
        await_ready(self.server, time.monotonic() + START_SECONDS)
        self._client = Client(self.server.url)

    def measure(self, prober: Worker, name: str, act: Act) -> Seen:
        """Do it while another client asks."""
        prober.ask(do="begin", url=self.server.url)
        begin = time.monotonic_ns()
        act(self._client)
        seconds = (time.monotonic_ns() - begin) / 1e9
        time.sleep(0.3)  # what the bridge still does for it counts
        told = prober.ask(do="end")
        lines = [orjson.loads(line) for line in self._record.read_bytes().splitlines()]
        since = [line for line in lines if line["at"] >= begin]
        turn, collection = (_longest(since, kind) for kind in ("turn", "collection"))
        return Seen(
            *(name, seconds, told["longest_ms"], told["asks"]),
            *(turn["ms"], turn["where"], collection["ms"], collection["where"]),
        )


def _entries(upstream: str) -> Iterator[str]:
    for name, (model, path, mode) in PROVIDERS.items():
        for size in ("", "-large"):
            entry = {"name": name + size, "model": model + size, "mode": mode}
            yield ENTRY.format(base=upstream + path, **entry)


def _longest(lines: list[Json], kind: str) -> Json:
    found = [line for line in lines if line["kind"] == kind]
    return max(found, key=lambda line: line["ms"], default={"ms": 0.0, "where": ""})


def measured(folder: Path, store_url: str, upstream: str, only: str = "*") -> Iterator[Seen]:
    """Each of them, and first a client that asks for little."""
    prober = Worker("tests.bench.healthz")
    benches: dict[str, Bench] = {}
    try:
        for store, name, act in scenarios():
            if not fnmatch(f"{store}: {name}", only):
                continue
            if store not in benches:
                url = "memory://" if store == "memory" else store_url
                benches[store] = Bench(folder, store, url, upstream)
                quiet = lambda client: client.create(model="chat", input="hi")  # noqa: E731
                quiet(Client(benches[store].server.url))
                yield benches[store].measure(prober, f"{store}: a small create", quiet)
            yield benches[store].measure(prober, f"{store}: {name}", act)
    finally:
        prober.stop()
        for bench in benches.values():
            bench.server.stop()


def measure(on: Field) -> Json:
    """All of them, as text by name; a line for each goes to stderr with the places."""
    upstream = on.start("heavy-upstream", "tests.bench.heavy_upstream")
    told = {}
    for seen in measured(on.folder, on.store_url, upstream.url, os.environ.get("HEAVY", "*")):
        text = f"turn {seen.turn_ms:.0f} ms, /healthz {seen.healthz_ms:.0f} ms"
        collected = f", collector {seen.collection_ms:.0f} ms" if seen.collection_ms else ""
        told[seen.name] = text + collected
        sys.stderr.write(f"{seen.name}: {told[seen.name]} {seen.place} {seen.collector}\n")
    return told
