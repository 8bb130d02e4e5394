"""A row of the table played on real servers: what its provider is asked, way by way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from upstreams.raw import RawProvider, says
from wires import Wire
from wires.readings import KINDS

from histories.table import ADDRESS, ELSEWHERE, NAMES, PATHS, WEATHER, Row, normal, wire_of

Json = dict[str, Any]

ENVIRON = {"OWN": "sk-own", "OTHER": "sk-other", "SECRET": "s" * 32}
ASKED = {"type": "message", "role": "user", "content": "hi"}
MORE = {"type": "message", "role": "user", "content": "and?"}
RESULTS = {"function_call": "sunny", "custom_tool_call": "done"}
OPTIONS: Json = {"max_output_tokens": 100}
# Of the process: the machine's own settings are none of the play's.
SURROUNDINGS = {"AWS_REGION": "eu-central-1", "no_proxy": "", "NO_PROXY": ""}


def config(rows: Iterable[Row], store_url: str) -> Json:
    """Each row's model under two accounts, and one model of each other family."""
    models = []
    for row in rows:
        entry = {"model": row.model, "api_base": row.base, "retries": 0, "mode": "managed"}
        models.append({**entry, "name": str(row), "api_key_env": "OWN"})
        models.append({**entry, "name": f"{row}-account", "api_key_env": "OTHER"})
    for family, model in {"openai_chat": "groq/m-1", "anthropic": NAMES["anthropic"]}.items():
        entry = {"model": model, "api_base": ADDRESS + PATHS.get(family, ""), "retries": 0}
        models.append({**entry, "name": f"elsewhere-{family}", "api_key_env": "OWN"})
    return {"models": models, "store": {"url": store_url}, "auth": {"secret_env": "SECRET"}}


def script(wire: Wire) -> Any:
    """The provider's answer."""
    kind = "application/json" if wire.is_json else KINDS.get(wire.family, "text/event-stream")
    return says(wire.body, headers=f"content-type: {kind}\r\n")


class Stage:
    """The provider, and the servers on one store; a row's first turn is asked on ``one``."""

    def __init__(self, provider: RawProvider) -> None:
        self.provider = provider

    async def first(self, client: Any, row: Row) -> Json:
        """The first turn, on a socket; its response."""
        self.answer(row.scripts)
        events = await client.turn(model=str(row), input=[ASKED], tools=row.tools, **OPTIONS)
        assert events[-1]["type"] in ("response.completed", "response.incomplete"), events[-1]
        return dict(events[-1]["response"])

    async def on_socket(self, client: Any, row: Row, first: Json) -> Json:
        """The body of the next turn on the same socket."""
        self.answer([wire_of(row.wire.family)])
        events = await client.turn(**self.next_of(row, first, previous_response_id=first["id"]))
        assert events[-1]["type"] == "response.completed", events[-1]
        return self._body()

    async def over_http(self, server: Any, row: Row, first: Json, **fields: Any) -> Json:
        """The body of the next turn, which names the response."""
        more = {"previous_response_id": first["id"], **fields}
        return await self._post(server, row, self.next_of(row, first, **more))

    async def resent(self, server: Any, row: Row, first: Json, **fields: Any) -> Json:
        """The body of the next turn, for which the client sends all items."""
        asked = self.next_of(row, first, **fields)
        asked["input"] = [ASKED, *goes_on(first["output"]), *asked["input"]]
        return await self._post(server, row, asked)

    def next_of(self, row: Row, first: Json, **fields: Any) -> Json:
        """The next create: what the calls brought, and more words."""
        outputs = [
            {
                "type": f"{item['type']}_output",
                "call_id": item["call_id"],
                "output": RESULTS[item["type"]],
            }
            for item in goes_on(first["output"])
            if item["type"] in RESULTS
            and not item["call_id"].startswith("xs_call_")  # the provider's own
        ]
        tools = {"tools": row.tools}
        return {"model": str(row), "input": [*outputs, MORE], **tools, **OPTIONS, **fields}

    async def _post(self, server: Any, row: Row, asked: Json) -> Json:
        other = ELSEWHERE[row.wire.family]
        is_elsewhere = asked["model"].startswith("elsewhere")
        self.answer([wire_of(other if is_elsewhere else row.wire.family)])
        status, body = await server.post("/v1/responses", **asked)
        assert status == 200, (str(row), body)
        return self._body()

    def answer(self, wires: Iterable[Wire]) -> None:
        """What the provider says to the next requests."""
        self.provider.requests.clear()
        self.provider.scripts = [script(wire) for wire in wires]

    def _body(self) -> Json:
        [(_, _, body)] = self.provider.requests
        return normal(json.loads(body))


def goes_on(output: Iterable[Json]) -> list[Json]:
    """The items without a call that was cut: nobody can answer that."""
    return [one for one in output if one["type"] not in RESULTS or one["status"] == "completed"]


def account(row: Row) -> Json:
    """What another account is asked with."""
    return {"model": f"{row}-account"}


def elsewhere(row: Row) -> Json:
    """What another provider is asked with: its own tools are not the row's."""
    return {"model": f"elsewhere-{ELSEWHERE[row.wire.family]}", "tools": [WEATHER]}


async def refer_to(stage: Stage, server: Any, row: Row, first: Json) -> Json:
    """A response of the same maker whose input names the items of the first one by their ids."""
    asked = stage.next_of(row, first)
    named = [{"type": "item_reference", "id": item["id"]} for item in goes_on(first["output"])]
    asked["input"] = [ASKED, *named, *asked["input"]]
    stage.answer([wire_of(row.wire.family)])
    status, response = await server.post("/v1/responses", **asked)
    assert status == 200, (str(row), response)
    return dict(response)


async def ready(*servers: Any) -> None:
    """Return when each server can begin a response."""
    for server in servers:
        while (await server.get("/readyz"))[0] != 200:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def provider_as_proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawProvider]:
    """A provider that is asked in place of all: it is the proxy of this process's environment."""
    one = RawProvider()
    server = await asyncio.start_server(one.accept, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name, value in {**SURROUNDINGS, "http_proxy": address}.items():
        monkeypatch.setenv(name, value)
    yield one
    server.close()
