"""A wire read twice, by the bridge's reader and by litellm, in a form that can be compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from support.answers import events_of
from upstreams.raw import RawProvider, says

from wires import Wire
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.sequencer import end_for
from ws_bridge.protocol.tools import NO_TOOLS
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.errors import as_upstream_error, truncated

Json = dict[str, Any]
Reading = tuple[list[Draft], UpstreamError | None]

HELLO = {"role": "user", "content": "hi"}
ASKED = "asked"  # the model's name in the request: where an answer repeats it, it says nothing
ROUTES = {
    "anthropic": f"anthropic/{ASKED}",
    "bedrock": f"bedrock/converse/anthropic.{ASKED}",
    "cohere": f"cohere_chat/{ASKED}",
    "gemini": f"gemini/{ASKED}",
    "responses": f"openai/{ASKED}",
}
KINDS = {"bedrock": "application/vnd.amazon.eventstream"}
CALLS = ("function_call", "custom_tool_call")


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
    from ws_bridge.upstream.litellm.setup import litellm  # noqa: PLC0415 - takes seconds

    litellm.in_memory_llm_clients_cache.flush_cache()  # other tests have closed what it keeps
    provider = RawProvider()
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    found = {}
    for wire in wires:
        kind = KINDS.get(wire.family, "text/event-stream")
        kind = "application/json" if wire.is_json else kind
        provider.scripts = [says(_as_litellm_asks(wire), headers=f"content-type: {kind}\r\n")]
        found[wire] = await _by_litellm(wire, base_url)
    await client.shutdown()
    server.close()
    return found


def _as_litellm_asks(wire: Wire) -> bytes:
    """The body; of Cohere litellm does not ask for server-sent events, but for lines of JSON."""
    if wire.family == "cohere":
        return wire.body.replace(b"data: ", b"").replace(b"\n\n", b"\n")
    return wire.body


async def _by_litellm(wire: Wire, base_url: str) -> Reading:
    """What litellm makes of one wire; of Responses its own events, and not the reader beside it."""
    from ws_bridge.upstream.litellm.sources import Chunks, Events  # noqa: PLC0415 - takes seconds

    model = ROUTES.get(wire.family, f"{wire.provider}/{ASKED}")
    drafts: list[Draft] = []
    source = None
    try:
        opened = await _opened(wire, model, base_url)
        is_native = wire.family == "responses"
        source = Events(opened) if is_native else Chunks(opened, opened, NO_TOOLS)
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


async def _opened(wire: Wire, model: str, base_url: str) -> Any:
    from ws_bridge.upstream.litellm import client  # noqa: PLC0415
    from ws_bridge.upstream.litellm.setup import litellm  # noqa: PLC0415
    from ws_bridge.upstream.litellm.upstream import call_of  # noqa: PLC0415

    if wire.family == "responses":
        target = Target("m", model, api_base=base_url, api_key="sk-x")
        opened, _ = await client.open_stream(call_of(Request(target, Chain(None, (HELLO,)), {})))
        return opened
    return await litellm.acompletion(
        model=model,
        messages=[HELLO],
        api_base=base_url,
        api_key="sk-x",
        max_retries=0,
        stream=True,
        stream_options={"include_usage": True},
    )


def differences(wire: Wire, one: Reading, other: Reading) -> set[str]:
    """The fields of the final responses that are not alike."""
    this, that = _compared(wire, one), _compared(wire, other)
    if ("refused" in this) != ("refused" in that):
        return {"refused"}
    return {name for name in this | that if this[name] != that[name]}


def _compared(wire: Wire, reading: Reading) -> Json:
    """The final response field by field, without what is minted."""
    drafts, failure = reading
    events = events_of(drafts)
    if failure is not None and not events:
        return {"refused": failure.status, "error": str(failure)}
    if failure is not None:
        events.append(end_for("resp_1", events, failure))
    response = fold(events)
    output = [_bare(item, wire) for item in response["output"]]
    model = drafts[0].fields["response"].get("model")
    return {
        "status": response["status"],
        "reason": (response.get("incomplete_details") or {}).get("reason"),
        "error": (response.get("error") or {}).get("message"),
        "model": None if model and model.endswith(ASKED) else model,
        "usage": response.get("usage"),
        **{name: read(output) for name, read in FIELDS.items()},
    }


def _bare(item: Json, wire: Wire) -> Json:
    """An item without its id, its call's id if the wire has it, its arguments as they are meant."""
    bare = {key: value for key, value in item.items() if key not in {"id", "container_id"}}
    if bare.get("call_id") and bare["call_id"].encode() not in wire.body:
        bare["call_id"] = "minted"
    with suppress(KeyError, TypeError, ValueError):  # a cut call's are no JSON, a search's no text
        bare["arguments"] = json.loads(bare["arguments"])
    return bare


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


def _of(wanted: Callable[[str], bool]) -> Callable[[list[Json]], list[Json]]:
    return lambda output: [item for item in output if wanted(item["type"])]


FIELDS: dict[str, Callable[[list[Json]], Any]] = {
    "order": lambda output: [item["type"] for item in output],
    "text": _texts("output_text", "text"),
    "refusal": _texts("refusal", "refusal"),
    "reasoning": _reasoning,
    "seals": _seals,
    "calls": _of(lambda kind: kind in CALLS),
    "hosted": _of(lambda kind: kind not in {"message", "reasoning", *CALLS}),
    "annotations": lambda output: [part.get("annotations", []) for part in _parts(output)],
    "logprobs": lambda output: [part.get("logprobs", []) for part in _parts(output)],
}
