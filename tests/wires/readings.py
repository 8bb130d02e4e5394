"""A wire read twice, by the bridge's reader and by litellm, in a form that can be compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from support.answers import events_of
from upstreams.raw import RawProvider, says
from wires import Wire

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.sequencer import end_for
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.errors import as_upstream_error, truncated

Json = dict[str, Any]
Reading = tuple[list[Draft], UpstreamError | None]

HELLO = {"type": "message", "role": "user", "content": "hi"}
ROUTES = {
    "anthropic": "anthropic/claude-1",
    "bedrock": "bedrock/converse/anthropic.claude-1",
    "cohere": "cohere_chat/command-1",
    "gemini": "gemini/gemini-1",
    "responses": "openai/gpt-1",
}
KINDS = {"bedrock": "application/vnd.amazon.eventstream"}
CALLS = ("function_call", "custom_tool_call")
INPUTS = ("arguments", "input")


def by_the_reader(wire: Wire, sizes: Iterable[int] = ()) -> Reading:
    """What the family's reader makes of the wire, in pieces of these sizes."""
    seals = MakerSeals("maker", lambda: [b"a key"])
    reader = FAMILIES[wire.family].reader(ReaderInput(seals=seals, provider=wire.provider))
    drafts: list[Draft] = []
    try:
        for piece in _pieces(wire.body, sizes):
            drafts += reader.feed(piece)
        while not reader.is_over:
            drafts += reader.finish()
    except UpstreamError as failure:
        return drafts, failure
    return drafts, None


def _pieces(body: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    yield body[at:]


async def all_by_litellm(wires: Iterable[Wire]) -> dict[Wire, Reading]:
    """What litellm makes of each wire, which a provider on loopback sends it."""
    from ws_bridge.upstream.litellm import client  # noqa: PLC0415 - takes seconds

    provider = RawProvider()
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    found = {}
    for wire in wires:
        kind = KINDS.get(wire.family, "text/event-stream")
        kind = "application/json" if wire.is_json else kind
        provider.scripts = [says(wire.body, headers=f"content-type: {kind}\r\n")]
        found[wire] = await _by_litellm(wire, base_url)
    await client.shutdown()
    server.close()
    return found


async def _by_litellm(wire: Wire, base_url: str) -> Reading:
    """As the bridge reads a provider that only litellm speaks to.

    A provider of Responses is read by litellm's own events, and not beside it.
    """
    from ws_bridge.upstream.litellm import client, models  # noqa: PLC0415
    from ws_bridge.upstream.litellm.sources import source_of  # noqa: PLC0415
    from ws_bridge.upstream.litellm.upstream import call_of  # noqa: PLC0415

    model = ROUTES.get(wire.family, f"{wire.provider}/m-1")
    target = Target("m", model, api_base=base_url, api_key="sk-x", retries=0)
    models.register([target])
    drafts: list[Draft] = []
    source = None
    try:
        call = call_of(Request(target, Chain(None, (HELLO,)), {}))
        opened, _ = await client.open_stream(call)
        source = source_of(opened, None, call.written.tools)
        while (batch := await source.read()) is not None:
            drafts += batch
            if batch and batch[-1].type in TERMINAL:
                return drafts, None
        raise truncated()  # noqa: TRY301 - as the bridge does
    except Exception as failure:  # noqa: BLE001 - litellm raises errors of many kinds
        return drafts, as_upstream_error(failure, model)
    finally:
        if source is not None:
            await source.close()


def compared(reading: Reading) -> Json:
    """The final response field by field, without what is minted."""
    drafts, failure = reading
    events = events_of(drafts)
    if failure is not None and not events:
        return {"refused": failure.status, "error": str(failure)}
    if failure is not None:
        events.append(end_for("resp_1", events, failure))
    response = fold(events)
    error = response.get("error") or {}
    return {
        "status": response["status"],
        "reason": (response.get("incomplete_details") or {}).get("reason"),
        "error": error.get("message"),
        "model": drafts[0].fields.get("response", {}).get("model"),
        "usage": response.get("usage"),
        **{name: read(response["output"]) for name, read in FIELDS.items()},
    }


def _texts(kind: str, field: str) -> Callable[[list[Json]], list[str]]:
    def read(output: list[Json]) -> list[str]:
        return [part[field] for part in _parts(output) if part["type"] == kind]

    return read


def _parts(output: list[Json]) -> Iterator[Json]:
    for item in output:
        if item["type"] == "message":
            yield from item["content"]


def _reasoning(output: list[Json]) -> list[str]:
    return [
        "".join(part["text"] for part in [*item["summary"], *item.get("content", ())])
        for item in output
        if item["type"] == "reasoning"
    ]


def _seals(output: list[Json]) -> list[bool]:
    """Whether there is one, thought by thought: what is in it is each maker's own."""
    thoughts = (item for item in output if item["type"] == "reasoning")
    return [bool(item.get("encrypted_content")) for item in thoughts]


def _calls(output: list[Json]) -> list[Json]:
    return [
        {key: item.get(key) for key in ("type", "call_id", "name", *INPUTS, "status")}
        for item in output
        if item["type"] in CALLS
    ]


def _hosted(output: list[Json]) -> list[Json]:
    known = {"message", "reasoning", *CALLS}
    return [
        {key: value for key, value in item.items() if key not in {"id", "container_id"}}
        for item in output
        if item["type"] not in known
    ]


FIELDS: dict[str, Callable[[list[Json]], Any]] = {
    "order": lambda output: [item["type"] for item in output],
    "text": _texts("output_text", "text"),
    "refusal": _texts("refusal", "refusal"),
    "reasoning": _reasoning,
    "seals": _seals,
    "calls": _calls,
    "hosted": _hosted,
    "annotations": lambda output: [part.get("annotations", []) for part in _parts(output)],
    "logprobs": lambda output: [part.get("logprobs", []) for part in _parts(output)],
}
