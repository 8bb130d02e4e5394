"""The fixed scenario of a dump: servers on one store, and all that a store can hold.

Of a first pair one server is asked to end, and the other takes over what it gives back. Of a second
pair one is frozen amid its work and never goes on; the other reads what there is, and is asked to
end.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from peers import Peer, Turn, next_of, read_to, until
from store.dump.field import ENVIRON, KEY, OTHER_KEY, TOOLS, at_provider, config_of
from store.dump.kept import client_of, take_out
from support.fleet import fleet
from support.redis_servers import Node, valkey_binary
from upstreams.sockets import FakeSockets

Json = dict[str, Any]

SHORT, LONG = 2, 600  # leases in seconds: something is to be taken over; nothing is to be
TEXT_DELTA = "response.output_text.delta"
LARGE = {
    "type": "message",
    "role": "user",
    "content": [
        {"type": "input_text", "text": "what is it? ü\u2028\n"},
        {"type": "input_image", "image_url": "data:image/png;base64," + "AAAA" * 2500},
    ],
}
FINISHED = {
    "native": """text reasoning rawreasoning rtools annot logprobs phase image custom -ci mcp
        refusal unknownev incomplete incompletecf queued failed failed400 errevent errnested""",
    "socket": "text reasoning rtools",
    "vllm": "text rtools",
    "chat": """text reasoning rtools textools refusal annot images length cfilter logprobs
        midmsgerr""",
    "sdk": "text tools",
    "anthropic": """text thinking redacted-thinking thinking-tool thinking-texttool cite interleave
        maxtok refusal miderr""",
    "gemini": "text think think-tool safety",
    "ollama": "text think tool",
    "falls": "err500",
}
# family: a scenario that thinks, where there is one, and one that calls tools.
CHAINS = {
    "native": ("reasoning", "rtools"),
    "socket": ("reasoning", "rtools"),
    "vllm": ("reasoning", "rtools"),
    "chat": ("reasoning", "rtools"),
    "sdk": ("text", "tools"),
    "anthropic": ("thinking", "thinking-tool"),
    "gemini": ("think", "think-tool"),
    "ollama": ("think", "tool"),
}


class Scene:
    """What was played so far: ``responses`` and ``conversations`` are the dump's manifest."""

    def __init__(self, fake: FakeSockets, node: Node) -> None:
        self.fake = fake
        self.node = node
        self.responses: list[Json] = []
        self.conversations: list[Json] = []
        self.here: Peer  # of the server that generates
        self.there: Peer
        self.other: Peer  # of the latter too, with another key

    def note(self, response_id: str, what: str, state: str = "ended", **more: Any) -> str:
        """Remember a response; what readers get of it is asked for at the end."""
        entry = {"id": response_id, "what": what, "state": state, "previous": None, **more}
        self.responses.append(entry)
        return response_id

    async def turn(self, what: str, model: str, peer: Peer | None = None, **fields: Any) -> str:
        """A whole turn; its id."""
        peer = peer or self.here
        fields = {"input": f"say {what}"} | fields
        heard = await peer.turn(model, **fields)
        assert "response" in heard.last, heard.last
        lane = {"lane": fields["stream_id"]} if "stream_id" in fields else {}
        owner = {"owner": OTHER_KEY} if peer is self.other else {}
        return self.note(heard.id, what, **_asked(model, fields), **lane, **owner)

    async def begin(self, peer: Peer, what: str, model: str, then: str, **fields: Any) -> Turn:
        """A turn that stands at its gate."""
        fields = {"input": f"say {what}"} | fields
        turn = await peer.begin(model, **fields)
        heard = await turn.read(until="response.created")
        await self.fake.reached(at_provider(model))
        self.note(heard.id, what, "running", then=then, **_asked(model, fields))
        return turn

    async def background(self, peer: Peer, what: str, model: str, then: str, **fields: Any) -> str:
        """A background response that was begun over HTTP."""
        fields = {"input": f"say {what}"} | fields
        status, body, _ = await peer.ask("POST", model=model, background=True, **fields)
        assert status == 200, body
        state = "running" if then else "ended"
        return self.note(body["id"], what, state, then=then, **_asked(model, fields))

    async def until_visible(self, reader: Peer, response_id: str, kind: str = TEXT_DELTA) -> None:
        """Return when the store has output of the response."""
        async with reader.following(response_id) as lines:
            await read_to(lines, kind)

    async def object(self, response_id: str) -> Json:
        """The response as it is now."""
        _, body = await self.here.get(response_id)
        return body


async def play(name: str) -> Json:
    """The dump of the code that runs this."""
    with FakeSockets() as fake, Node(valkey_binary(), aof=True) as node:
        scene = Scene(fake, node)
        async with _pair(scene, SHORT):
            await _handed_over(scene)
        async with _pair(scene, LONG):
            for act in ACTS:
                await act(scene)
            for entry in scene.responses:
                await _read(scene, entry)
            for entry in scene.conversations:
                await _read_conversation(scene, entry)
            await _given_back(scene)
        kept = {"responses": scene.responses, "conversations": scene.conversations}
        provider = fake.base_url.removeprefix("http://")
        return {"release": name, "provider": provider, **kept, "keys": take_out(node)}


@contextlib.asynccontextmanager
async def _pair(scene: Scene, lease_seconds: int) -> AsyncIterator[None]:
    config = config_of(scene.fake.base_url, scene.node.url, lease_seconds)
    async with fleet(2, config, ENVIRON) as (here, there), contextlib.AsyncExitStack() as ends:
        pairs = (here, KEY), (there, KEY), (there, OTHER_KEY)
        peers = [await ends.enter_async_context(Peer(*pair)) for pair in pairs]
        scene.here, scene.there, scene.other = peers
        yield


def _asked(model: str, fields: Json) -> Json:
    """The manifest's fields of a create."""
    previous, named = fields.get("previous_response_id"), fields.get("conversation")
    entry: Json = {"model": model, "input": fields["input"], "previous": previous}
    return entry | ({"conversation": named} if named else {})


def answers_to(response: Json) -> list[Json]:
    """The outputs of a response's calls, as the client's next input."""
    kinds = {"function_call": "the weather is fine", "custom_tool_call": "it has run"}
    return [
        {
            "type": f"{item['type']}_output",
            "call_id": item["call_id"],
            "output": kinds[item["type"]],
        }
        for item in response["output"]
        if item["type"] in kinds
    ]


async def _handed_over(scene: Scene) -> None:
    """A server goes: what was not seen yet is made by another, what was seen ends as failed."""
    goes, stays = scene.here, scene.there
    moved = await scene.background(goes, "handed over", "native-gate1-moved", "")
    seen = await scene.background(goes, "shut down", "native-gate8-shut", "")
    for model in ("native-gate1-moved", "native-gate8-shut"):
        await scene.fake.reached(at_provider(model))
    await scene.until_visible(stays, seen)
    assert await goes.bridge.terminate() == 0
    scene.fake.release(at_provider("native-gate1-moved"))
    assert (await stays.ended(moved))["status"] == "completed"
    assert (await stays.ended(seen))["status"] == "failed"


async def _finished(scene: Scene) -> None:
    """One turn of each scenario."""
    for family, scenarios in FINISHED.items():
        for scenario in scenarios.split():
            model = f"{family}-{scenario.strip('-') if scenario != '-ci' else 'x-ci'}"
            tools = {"tools": TOOLS} if "tool" in scenario else {}
            await scene.turn(model, model, **tools)
    await scene.turn("demo", "demo")
    await scene.turn("many entries of the log", "native-big1000")
    await scene.turn("a large input", "native-text", input=[LARGE])
    await scene.turn("lane", "chat-text", stream_id="side")
    await scene.turn("another key's", "chat-text", peer=scene.other)
    for model in ("native-text", "anthropic-thinking", "own-reasoning"):
        done = await scene.background(scene.here, f"background {model}", model, "")
        assert (await scene.here.ended(done))["status"] == "completed"


async def _cut_short(scene: Scene) -> None:
    """The store is away for more output than the backlog holds: the log declares a gap."""
    turn = await scene.begin(scene.here, "cut short", "native-gate6-big7000", "")
    response_id = turn.heard.id
    await scene.until_visible(scene.there, response_id)
    scene.node.shutdown()  # what is sent to one that only stands still is carried out later
    scene.fake.release(at_provider("native-gate6-big7000"))
    await turn.read()

    async def is_cut() -> bool:
        return f"mirror_cut id={response_id}" in scene.here.bridge.log()

    await until(is_cut)
    scene.node.start()
    scene.responses[-1]["state"] = "ended"
    assert (await scene.there.ended(response_id))["status"] == "completed"
    events = [json.loads(text) for text in await scene.there.events(response_id)]
    assert sum("gap" in event for event in events) == 1


async def _chains(scene: Scene) -> None:
    """Of each family, over families, with a summary, after a warm-up."""
    for family, (thinks, calls) in CHAINS.items():
        last = await scene.turn(f"{family} one", f"{family}-text")
        last = await scene.turn(f"{family} two", f"{family}-{thinks}", previous_response_id=last)
        called = await scene.turn(
            f"{family} three", f"{family}-{calls}", previous_response_id=last, tools=TOOLS
        )
        outputs = answers_to(await scene.object(called))
        assert outputs, called
        more = {"input": outputs, "previous_response_id": called, "tools": TOOLS}
        await scene.turn(f"{family} four", f"{family}-text", **more)
        await scene.turn(f"{family} fork", f"{family}-text", previous_response_id=last)

    before = None
    for family in (*CHAINS, "falls"):
        model = "falls-err500" if family == "falls" else f"{family}-{CHAINS[family][0]}"
        what = f"over {family}"
        before = await scene.turn(what, model, previous_response_id=before)

    for family in ("chat", "anthropic", "vllm"):
        first = await scene.turn(f"{family} before its summary", f"{family}-text")
        wanted = [{"type": "compaction", "compact_threshold": 1}]
        more = {"previous_response_id": first, "context_management": wanted}
        await scene.turn(f"{family} summary", f"{family}-text", **more)
    warm = await scene.turn("warm-up", "native-text", generate=False)
    await scene.turn("after a warm-up", "native-text", previous_response_id=warm)
    last = None
    for number in range(20):  # longer than what one record names of its ancestors
        last = await scene.turn(f"long {number}", "chat-empty", previous_response_id=last)


async def _conversations(scene: Scene) -> None:
    """With items of clients and of makers, one taken out; one deleted; one empty."""
    first = {"type": "message", "role": "user", "content": "a first item"}
    plain = {"role": "user", "content": "an item without a type"}
    named = {"type": "message", "id": "msg_mine", "role": "user", "content": "a named item"}
    full = await _converse(scene, "", items=[first, plain], metadata={"a": "b"})
    added = await _converse(scene, f"/{full['id']}/items", items=[named, named])
    taken_out = added["data"][1]["id"]
    await _converse(scene, f"/{full['id']}/items/{taken_out}", method="DELETE")
    await _converse(scene, f"/{full['id']}", metadata={"topic": "wéather", "n": "2"})
    inside = {"conversation": full["id"]}
    await scene.turn("in a conversation: native", "native-reasoning", **inside)
    await scene.turn("in a conversation: anthropic", "anthropic-thinking", **inside)
    called = await scene.turn("in a conversation: call", "native-rtools", tools=TOOLS, **inside)
    outputs = answers_to(await scene.object(called))
    last = await scene.turn("in a conversation: output", "native-text", input=outputs, **inside)
    await scene.turn("out of a conversation", "native-text", previous_response_id=last)
    scene.conversations.append({"id": full["id"], "what": "full"})

    empty = await _converse(scene, "")
    scene.conversations.append({"id": empty["id"], "what": "empty"})
    gone = await _converse(scene, "", items=[first])
    await _converse(scene, f"/{gone['id']}", method="DELETE")
    scene.conversations.append({"id": gone["id"], "what": "deleted"})
    busy = await _converse(scene, "", items=[first])
    scene.conversations.append({"id": busy["id"], "what": "busy"})


async def _converse(scene: Scene, path: str, method: str = "POST", **body: Any) -> Json:
    peer = scene.here
    url = f"{peer.bridge.url}/v1/conversations{path}"
    async with peer.session.request(method, url, json=body) as answer:
        entry: Json = await answer.json()
        assert answer.status == 200, entry
        return entry


async def _ended_by_clients(scene: Scene) -> None:
    """Cancelled, interrupted, deleted, from here and from another server."""
    here, there = scene.here, scene.there
    turn = await scene.begin(here, "cancelled", "chat-gate4-cancelled", "")
    await turn.read(until=TEXT_DELTA)
    status, _, _ = await there.ask("POST", f"/{turn.heard.id}/cancel")
    assert status == 200
    await turn.read()
    scene.responses[-1]["state"] = "ended"

    model = "anthropic-gate11-texttool-interrupted"
    turn = await scene.begin(here, "interrupted", model, "", tools=TOOLS)
    await turn.read(until="response.output_item.done")
    await turn.say(type="response.interrupt", response_id=turn.heard.id)
    await turn.read()
    scene.responses[-1]["state"] = "ended"

    for model in ("native-text", "anthropic-thinking"):
        deleted = await scene.turn(f"deleted {model}", model)
        assert (await there.ask("DELETE", f"/{deleted}"))[0] == 200
        scene.responses[-1]["state"] = "deleted"
    turn = await scene.begin(here, "deleted amid its stream", "native-gate6-deleted", "")
    assert (await there.ask("DELETE", f"/{turn.heard.id}"))[0] == 200
    await turn.read()
    scene.responses[-1]["state"] = "deleted"


async def _running(scene: Scene) -> None:
    """What stands at its gate on the second server, and what is to become of it."""
    here, there = scene.here, scene.there
    chain = next(entry["id"] for entry in scene.responses if entry["what"] == "native four")
    for family, gate in (("native", 8), ("chat", 4), ("anthropic", 8), ("gemini", 3)):
        more = {"previous_response_id": chain} if family == "native" else {}
        what = f"running {family}"
        turn = await scene.begin(here, what, f"{family}-gate{gate}-run", "failed", **more)
        await scene.until_visible(there, turn.heard.id)
    seen = await scene.background(here, "seen", "chat-gate4-seen", "failed")
    await scene.until_visible(there, seen)
    busy = scene.conversations[-1]["id"]
    more = {"conversation": busy}
    await scene.background(here, "again", "native-gate1-again", "completed", **more)
    await scene.background(here, "own", "own-gate-own", "completed")
    own = scene.responses[-1]
    await scene.background(here, "own, forgotten", "own-gate-forgotten", "failed")
    forgotten = scene.responses[-1]
    for entry in scene.responses[-4:]:
        await scene.fake.reached(at_provider(entry["model"]))
    for entry in (own, forgotten):  # the provider's id was written before
        await scene.until_visible(there, entry["id"], "response.in_progress")
        entry["at_provider"] = _upstream_id(scene, entry["model"])
    await scene.background(here, "cancel wanted", "native-gate1-unwanted", "cancelled")
    await scene.fake.reached(at_provider("native-gate1-unwanted"))


def _upstream_id(scene: Scene, model: str) -> str:
    """The provider's id of the one background response of a model."""
    made = scene.fake._background.items()
    [found] = [key for key, one in made if one["final"]["model"].startswith(at_provider(model))]
    return found


async def _frozen(scene: Scene) -> None:
    """The second server stands still; the end of one of its responses is wanted meanwhile."""
    scene.here.bridge.freeze()
    unwanted = scene.responses[-1]
    status, _, _ = await scene.there.ask("POST", f"/{unwanted['id']}/cancel")
    assert status == 200


async def _given_back(scene: Scene) -> None:
    """The other server is asked to end, with a response of which nothing was seen."""
    peer = scene.there
    await scene.background(peer, "given back", "native-gate1-back", "completed")
    await scene.fake.reached(at_provider("native-gate1-back"))
    assert await peer.bridge.terminate() == 0


ACTS = (_finished, _cut_short, _chains, _conversations, _ended_by_clients, _running, _frozen)


async def _read(scene: Scene, entry: Json) -> None:
    """What readers get of a response now, byte for byte."""
    reader = scene.other if entry.get("owner") == OTHER_KEY else scene.there
    if entry["state"] == "deleted":
        assert (await reader.get(entry["id"]))[0] == 404
        return
    entry["body"] = await raw(reader, f"/v1/responses/{entry['id']}")
    status = json.loads(entry["body"])["status"]
    assert (status in ("queued", "in_progress")) == (entry["state"] == "running"), entry
    path = f"/v1/responses/{entry['id']}/input_items?order=asc&limit=100"
    entry["input_items"] = await raw(reader, path)
    if entry["state"] == "ended":
        events = await reader.events(entry["id"])
    else:
        async with reader.following(entry["id"]) as lines:
            events = await next_of(lines, _count(scene, entry["id"]))
    entry["events"] = [event.decode() for event in events]


def _count(scene: Scene, response_id: str) -> int:
    """How many events of a running response the store has."""
    with client_of(scene.node) as client:
        [meta] = client.scan_iter(f"wb1:*:m:{response_id}", count=1000)
        return int(client.hget(meta, "n") or -1) + 1


async def _read_conversation(scene: Scene, entry: Json) -> None:
    reader, path = scene.there, f"/v1/conversations/{entry['id']}"
    if entry["what"] != "deleted":
        entry["body"] = await raw(reader, path)
        entry["items"] = await raw(reader, f"{path}/items?order=asc&limit=100")


async def raw(peer: Peer, path: str) -> str:
    """The body of a GET that succeeds."""
    async with peer.session.get(peer.bridge.url + path) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        return body.decode()
