"""`/openapi.json` as it is served, and every route's answers as it describes them."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest
from contract.operations import OPERATIONS
from contract.validation import openapi_document, problems, problems_of_event
from support.scripted_upstream import Scripted, answer
from support.tcp_proxy import ReservedPort

from ws_bridge.errors import UpstreamError
from ws_bridge.server.http import openapi
from ws_bridge.server.http.openapi import FILE
from ws_bridge.upstream.errors import CODES

KEYED = {"auth": {"keys_env": ["KEYS"]}, "server": {"allowed_origins": ["http://a.example"]}}
ENVIRON = {"KEYS": "my-key"}
CREATE = {"model": "m", "input": "hi"}
ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
UNKNOWN = {"id": "resp_" + "0" * 48, "item": "msg_1", "name": "nothing.js"}


class Asker:
    """Asks a bridge, and holds each answer against the document. ``seen`` has what was answered."""

    def __init__(self, bridge) -> None:
        self.bridge = bridge
        self.seen: set[tuple[str, int]] = set()

    async def __call__(self, method: str, path: str, status: int, **options: Any) -> Any:
        """The body of an answer that is as described, and has this status."""
        options.setdefault("headers", {"Authorization": "Bearer my-key"})
        url = self.bridge.url + path
        async with self.bridge.session.request(method, url, **options) as got:
            body = await got.read()
        assert got.status == status, body
        self.check(method, path.partition("?")[0], got, body)
        return json.loads(body) if got.content_type == "application/json" else body

    def check(self, method: str, path: str, got: aiohttp.ClientResponse, body: bytes) -> None:
        document = openapi_document()
        described = operation_of(method, path)
        answers = described["responses"]
        found = answers.get(str(got.status)) or answers["default"]
        if "$ref" in found:
            found = document["components"]["responses"][found["$ref"].rpartition("/")[2]]
            code = json.loads(body)["error"]["code"]
            assert code in (None, *found["x-error-codes"])
        for name, header in found["headers"].items():
            shape = document["components"]["headers"][header["$ref"].rpartition("/")[2]]
            assert name in got.headers or not shape.get("required"), name
        content = found.get("content", {})
        assert bool(content) == bool(body)
        if body and "*/*" not in content:
            self.check_body(content[got.content_type]["schema"], got.content_type, body)
        self.seen.add((described["operationId"], got.status))

    def check_body(self, schema: dict[str, Any], kind: str, body: bytes) -> None:
        if kind == "application/json":
            components = openapi_document()["components"]
            assert [*problems(json.loads(body), schema, components)] == []
        if kind == "text/event-stream":
            lines = [line for line in body.split(b"\n") if line.startswith(b"data: {")]
            events = [json.loads(line.removeprefix(b"data: ")) for line in lines]
            assert [one for event in events for one in problems_of_event(event)] == []


def operation_of(method: str, path: str) -> dict[str, Any]:
    """The operation at a path: the one whose path has the fewest names in it."""
    fits = [
        (template.count("{"), methods[method.lower()])
        for template, methods in openapi_document()["paths"].items()
        if method.lower() in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    return min(fits, key=lambda one: one[0])[1]


@pytest.fixture
async def ask(serve):
    return Asker(await serve(Scripted(answer("Hi")), KEYED, ENVIRON))


async def test_the_document_needs_no_key_and_is_sent_once(ask):
    body = await ask("GET", "/openapi.json", 200, headers={})
    assert body == json.loads(FILE.read_bytes())
    url = ask.bridge.url + "/openapi.json"
    async with ask.bridge.session.get(url) as got:
        tag = got.headers["ETag"]
    await ask("GET", "/openapi.json", 304, headers={"If-None-Match": tag})


async def test_the_document_is_not_read_before_somebody_asks(serve, monkeypatch):
    bridge = await serve(Scripted(answer("Hi")))
    monkeypatch.setattr(openapi, "FILE", tmp := FILE.with_name("no such file"))
    assert not tmp.exists()
    async with bridge.session.get(bridge.url + "/openapi.json") as got:
        assert got.status == 500


async def test_every_route_answers_as_described(ask):
    made = await ask("POST", "/v1/responses", 200, json=CREATE)
    one = f"/v1/responses/{made['id']}"
    await ask("POST", "/v1/responses", 200, json={**CREATE, "stream": True})
    await ask("GET", one, 200)
    await ask("GET", f"{one}?wait=1&after=-1", 200)
    await ask("GET", f"{one}?stream=true&starting_after=1", 200)
    await ask("GET", f"{one}/input_items?limit=1&order=asc", 200)
    await ask("POST", f"{one}/cancel", 400)
    warm = await ask("POST", "/v1/responses", 200, json={**CREATE, "generate": False})
    await ask("DELETE", f"/v1/responses/{warm['id']}", 200)
    await ask("POST", "/v1/responses/input_tokens", 200, json=CREATE)
    await ask("POST", "/v1/responses/compact", 200, json=CREATE)
    await ask("GET", "/v1/models", 200)
    await ask("GET", "/v1/models/m", 200)
    used = await ask("GET", "/v1/usage?days=2", 200)
    assert used["total"]["responses"] > 0
    await converse(ask)
    await operate(ask)
    unseen = {one.name for one in OPERATIONS} - {name for name, status in ask.seen if status < 400}
    assert unseen == {"openSocket", "cancelResponse"}  # tests of their own, below


async def converse(ask: Asker) -> None:
    body = {"items": [ITEM], "metadata": {"a": "b"}}
    conversation = await ask("POST", "/v1/conversations", 200, json=body)
    one = f"/v1/conversations/{conversation['id']}"
    await ask("POST", "/v1/conversations", 200)
    await ask("GET", one, 200)
    await ask("POST", one, 200, json={"metadata": {}})
    added = await ask("POST", f"{one}/items", 200, json={"items": [ITEM]})
    await ask("GET", f"{one}/items", 200)
    item = f"{one}/items/{added['first_id']}"
    await ask("GET", item, 200)
    await ask("DELETE", item, 200)
    await ask("DELETE", one, 200)


async def operate(ask: Asker) -> None:
    await ask("GET", "/healthz", 200, headers={})
    await ask("GET", "/readyz", 200, headers={})
    await ask("GET", "/metrics", 200)
    await ask("GET", "/openapi.json", 200, headers={})
    await ask("GET", "/", 200, headers={})
    await ask("GET", "/static/chat.js", 200, headers={})


async def test_a_response_that_is_cancelled_is_as_described(serve):
    gate = asyncio.Event()
    ask = Asker(await serve(Scripted([*answer("Hi")[:2], gate]), KEYED, ENVIRON))
    made = await ask("POST", "/v1/responses", 200, json={**CREATE, "background": True})
    cancelled = await ask("POST", f"/v1/responses/{made['id']}/cancel", 200)
    assert cancelled["status"] == "cancelled"


async def test_a_socket_is_opened_as_described(ask):
    headers = {"Authorization": "Bearer my-key"}
    async with ask.bridge.session.ws_connect(
        ask.bridge.url + "/v1/responses", headers=headers
    ) as ws:
        ask.check("GET", "/v1/responses", ws._response, b"")
    await ask("GET", "/v1/responses", 426)
    assert ask.seen == {("openSocket", 101), ("openSocket", 426)}


@pytest.mark.parametrize(
    "operation", [one for one in OPERATIONS if not one.is_open], ids=lambda one: one.name
)
async def test_every_route_refuses_as_described(ask, operation):
    path = operation.path.format_map(UNKNOWN)
    await ask(operation.method, path, 401, headers={})
    origin = {"Authorization": "Bearer my-key", "Origin": "http://b.example"}
    await ask(operation.method, path, 403, headers=origin)
    await ask(operation.method, path + "?api_key=my-key", 400)
    if operation.body:
        await ask(operation.method, path, 400, data=b"{")
        await ask(operation.method, path, 417, data=b"{", headers=origin | {"Expect": "x"})
    if 404 in operation.errors:
        await ask(
            operation.method,
            path,
            404,
            json={"model": "none", "items": [ITEM], "input": "hi", "metadata": {}},
        )


async def test_a_file_that_the_page_has_not_is_refused_as_described(ask):
    await ask("GET", "/static/nothing.js", 404, headers={})


@pytest.mark.parametrize("status", [400, 408, 418, 429, 502, 504])
async def test_an_error_of_a_provider_is_as_described(serve, status):
    failing = Scripted([UpstreamError("No.", status=status, code=CODES.get(status))])
    ask = Asker(await serve(failing, KEYED, ENVIRON))
    for path in ("/v1/responses", "/v1/responses/compact"):
        await ask("POST", path, status, json=CREATE)


async def test_while_the_store_is_away_every_route_of_it_is_as_described(serve):
    port = ReservedPort()
    store = {"store": {"url": f"redis://127.0.0.1:{port.number}"}}
    ask = Asker(await serve(Scripted(answer("Hi")), KEYED | store, ENVIRON))
    stored = ("/v1/conversations", "/v1/responses/{id}")
    for operation in OPERATIONS:
        if operation.path.startswith(stored):
            body = {"items": [ITEM], "metadata": {}} if operation.body else None
            path = operation.path.format_map(UNKNOWN)
            await ask(operation.method, path, 503, json=body)
    await ask("GET", "/readyz", 503, headers={})
    port.release()


async def test_what_is_too_large_or_too_often_is_refused_as_described(serve):
    config = KEYED | {"limits": {"creates_per_minute": 2}}
    config["server"] = {**config["server"], "max_message_mib": 1}
    ask = Asker(await serve(Scripted(answer("Hi")), config, ENVIRON))
    await ask("POST", "/v1/responses", 413, json={**CREATE, "input": "x" * 2**20})
    keyed = {"Authorization": "Bearer my-key", "Idempotency-Key": "one"}
    await ask("POST", "/v1/responses", 200, json=CREATE, headers=keyed)
    await ask("POST", "/v1/responses", 422, json={**CREATE, "input": "other"}, headers=keyed)
    await ask("POST", "/v1/responses", 200, json=CREATE)
    await ask("POST", "/v1/responses", 429, json=CREATE)
