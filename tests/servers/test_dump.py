"""A server of today on a store as a past release left it: read, replayed, gone on with, taken over.

The providers listen elsewhere than when the dump was made, so their address in it is replaced; all
else is as that release wrote it.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from peers import Peer, text_of
from store.dump import kept
from store.dump.field import (
    ENVIRON,
    FAMILIES,
    OTHER_KEY,
    TOOLS,
    asked,
    at_provider,
    config_of,
    in_order,
)
from store.dump.old_reader import unseal
from store.dump.scenario import answers_to, raw
from support.fleet import Bridge
from support.redis_servers import Node, valkey_binary
from upstreams.responses import final_response
from upstreams.sockets import FakeSockets

from ws_bridge.protocol.compaction import HEADING

Json = dict[str, Any]

LEASE_SECONDS = 2
ENDS = ("completed", "incomplete")
HELLO = "Hello, world! This is a test."


@dataclass
class Found:
    """What was loaded, and who reads it."""

    fake: FakeSockets
    bridge: Bridge
    dump: Json

    def responses(self, state: str) -> list[Json]:
        return [told for told in self.dump["responses"] if told["state"] == state]

    def response(self, what: str) -> Json:
        return next(told for told in self.dump["responses"] if told["what"] == what)

    def by_id(self, response_id: str) -> Json:
        return next(told for told in self.dump["responses"] if told["id"] == response_id)

    def lineage(self, told: Json) -> list[Json]:
        """The chain that ends with a response, the oldest first."""
        before = self.lineage(self.by_id(told["previous"])) if told["previous"] else []
        return [*before, told]


@pytest.fixture(scope="module", params=kept.names())
def found(request) -> Iterator[Found]:
    dump = kept.load(request.param)
    with contextlib.ExitStack() as ends:
        fake, node = ends.enter_context(FakeSockets()), ends.enter_context(Node(valkey_binary()))
        for told in dump["responses"]:
            prepare(fake, told)
        kept.put_in(node, dump["keys"], (dump["provider"], fake.base_url.removeprefix("http://")))
        kept.let_leases_run_out(node)
        bridge = Bridge(config_of(fake.base_url, node.url, LEASE_SECONDS), ENVIRON)
        ends.callback(bridge.close)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, bridge.start()).result()
        yield Found(fake, bridge, dump)


def prepare(fake: FakeSockets, told: Json) -> None:
    """Nothing waits at a gate any more, and the provider knows what it was making by itself."""
    if told["state"] == "running":
        fake.release(at_provider(told["model"]))
    if told["what"] == "own":
        model = at_provider(told["model"])
        final = final_response(model, {"input": told["input"]}, told["at_provider"])
        fake._background[told["at_provider"]] = {"final": final, "polls": 0, "cancelled": False}


@pytest.fixture
async def peer(found) -> AsyncIterator[Peer]:
    await found.bridge.wait_ready()
    async with Peer(found.bridge) as one:
        yield one


def outputs_of(told: Json) -> list[Json]:
    return json.loads(told["body"])["output"]


def said_in(items: list[Json] | str) -> list[str]:
    """What a provider must be told of items, whatever its dialect."""
    words = []
    for item in [{"content": items}] if isinstance(items, str) else items:
        kind = item.get("type", "message")
        if kind == "function_call":
            words.append(item["name"])
        elif kind == "function_call_output":
            words.append(item["output"])
        elif kind == "message":
            parts = item["content"]
            parts = [{"text": parts}] if isinstance(parts, str) else parts
            words += [part["text"] for part in parts if "text" in part]
    return words


def words_of(lineage: list[Json]) -> list[str]:
    both = ((said_in(told["input"]), said_in(outputs_of(told))) for told in lineage)
    return [word for asked_and_said in both for words in asked_and_said for word in words]


def seals_of(items: list[Json]) -> list[str]:
    """What only its maker can read, as that is told it: a signature, a text of its own."""
    seals = []
    for item in items:
        sealed = item.get("encrypted_content")
        if item["type"] == "reasoning" and sealed:
            blocks = json.loads(sealed) if sealed.startswith("[") else [{"data": sealed}]
            seals += [block.get("signature") or block["data"] for block in blocks]
        elif "__thought__" in item.get("call_id", ""):
            seals.append(item["call_id"].rpartition("__")[2])
    return seals


def maker_of(told: Json) -> str:
    """The family that answered."""
    family = told["model"].partition("-")[0]
    return {"falls": "anthropic", "own": "native"}.get(family, family)


async def test_what_has_ended_reads_as_it_did_byte_for_byte(found, peer):
    """The object, its whole log, a part of its log, and what it was asked."""
    async with Peer(found.bridge, OTHER_KEY) as other:
        for told in found.responses("ended"):
            reader = other if told.get("owner") == OTHER_KEY else peer
            path = f"/v1/responses/{told['id']}"
            assert told["body"] == await raw(reader, path)
            items = await raw(reader, f"{path}/input_items?order=asc&limit=100")
            assert told["input_items"] == items
            log = [text.encode() for text in told["events"]]
            assert log == await reader.events(told["id"])
            middle = len(log) // 2
            number = json.loads(log[middle])["sequence_number"]
            assert log[middle + 1 :] == await reader.events(told["id"], number)
            stranger = peer if reader is other else other
            assert (await stranger.get(told["id"]))[0] == 404


async def test_what_was_deleted_stays_gone(found, peer):
    for told in found.responses("deleted"):
        assert (await peer.get(told["id"]))[0] == 404
        assert (await peer.ask("DELETE", f"/{told['id']}"))[0] == 404
        refused = await peer.turn("native-text", previous_response_id=told["id"])
        assert refused.last["error"]["code"] == "previous_response_not_found"
    for told in found.dump["conversations"]:
        if told["what"] == "deleted":
            url = f"{peer.bridge.url}/v1/conversations/{told['id']}"
            async with peer.session.get(url) as answer:
                assert answer.status == 404


def may_go_on(found: Found) -> list[Json]:
    """What has ended so that a chain goes on from it, but for the demo, which asks no provider."""
    return [
        told
        for told in found.responses("ended")
        if json.loads(told["body"])["status"] in ENDS
        and told["what"] != "demo"
        and "owner" not in told
    ]


async def test_every_chain_goes_on_and_its_provider_is_told_all_of_it(found, peer):
    """From each response, by the family that made it; what was sealed reaches its maker."""
    families = set()
    for number, told in enumerate(may_go_on(found)):
        family = maker_of(told)
        model = f"{family}-text-on-{number}"
        new = [*answers_to(json.loads(told["body"])), {"role": "user", "content": "and then?"}]
        more = {"previous_response_id": told["id"], "input": new, "tools": TOOLS}
        heard = await peer.turn(model, **more)
        assert heard.last["type"] == "response.completed", (told["what"], heard.last)
        [request] = asked(found.fake, model)
        if not any(word in told["what"] for word in ("summary", "conversation")):
            words = [*words_of(found.lineage(told)), *said_in(new)]
            assert in_order(words, request), (told["what"], words, request)
            families.add(family)
        assert in_order(seals_of(outputs_of(told)), request), (told["what"], request)
    assert families == {*FAMILIES} - {"own", "falls"}


CHAINS = ("native three", "chat three", "anthropic three", "gemini three", "over gemini")
PROVIDERS = ("native", "chat", "anthropic", "gemini")
BODIES = Path(__file__).parent / "dump_bodies.json"


async def test_chains_go_on_in_each_dialect_and_the_provider_s_body_is_whole(found, peer):
    """Of each family, and over all of them: with its own provider, and with every other one."""
    seen = {}
    for what in CHAINS:
        told = found.response(what)
        new = [*answers_to(json.loads(told["body"])), {"role": "user", "content": "and then?"}]
        for family in PROVIDERS:
            model = f"{family}-text-whole-{what.replace(' ', '-')}"
            more = {"previous_response_id": told["id"], "input": new, "tools": TOOLS}
            heard = await peer.turn(model, **more)
            assert heard.last["type"] == "response.completed", (what, heard.last)
            [seen[f"{what}, then {family}"]] = asked(found.fake, model)
    assert seen == json.loads(BODIES.read_text(encoding="utf-8"))


async def test_no_chain_goes_on_from_what_has_failed(found, peer):
    for told in found.responses("ended"):
        if json.loads(told["body"])["status"] not in ENDS:
            refused = await peer.turn("native-text", previous_response_id=told["id"])
            assert refused.last["error"]["code"] == "previous_response_not_found"


async def test_a_chain_goes_on_with_every_other_family(found, peer):
    """Words cross, what is sealed does not."""
    told = found.response("over falls")
    sealed = {"native": "EqQBsig==", "anthropic": "gAAAAencFINAL"}
    for family in FAMILIES.keys() - {"own", "falls"}:
        model = f"{family}-text-crossing-{family}"
        heard = await peer.turn(model, previous_response_id=told["id"], input="and then?")
        assert heard.last["type"] == "response.completed"
        [request] = asked(found.fake, model)
        assert in_order([*words_of(found.lineage(told)), "and then?"], request)
        assert not in_order([sealed.get(family, "EqQBsig==")], request)


async def test_seals_that_clients_kept_are_taken_back(found, peer):
    """By a client that keeps its own history, from a server that has never seen it."""
    with_seals = [told for told in may_go_on(found) if seals_of(outputs_of(told))]
    assert {maker_of(told) for told in with_seals} >= {"native", "anthropic", "gemini"}
    for number, told in enumerate(with_seals):
        output = outputs_of(told)
        new = [*answers_to({"output": output}), {"role": "user", "content": "and then?"}]
        model = f"{maker_of(told)}-text-kept-{number}"
        history = [{"role": "user", "content": "at first"}, *output, *new]
        heard = await peer.turn(model, input=history, tools=TOOLS, store=False)
        assert heard.last["type"] == "response.completed", (told["what"], heard.last)
        [request] = asked(found.fake, model)
        assert in_order(["at first", *seals_of(output), "and then?"], request)


async def test_a_sealed_summary_stands_for_what_came_before_it(found, peer):
    """On its chain, and sent by a client; the bridge made the seal, so that any family is told."""
    summaries = [told for told in may_go_on(found) if unseal((outputs_of(told) or [{}])[0])]
    assert {maker_of(told) for told in summaries} == {"chat", "anthropic", "vllm"}
    for told in summaries:
        [item, *_] = outputs_of(told)
        summary = HEADING + unseal(item)
        first = found.lineage(told)[0]["input"]
        for family in FAMILIES.keys() - {"own", "falls"}:
            model = f"{family}-text-{family}-after-{maker_of(told)}"
            await peer.turn(model, previous_response_id=told["id"], input="and then?")
            kept_by_client = [item, {"role": "user", "content": "and then?"}]
            await peer.turn(model, input=kept_by_client, store=False)
            requests = asked(found.fake, model)
            assert len(requests) == 2
            for request in requests:
                assert in_order([summary, "and then?"], request)
                assert not in_order([first], request)


async def test_conversations_read_as_they_did_and_go_on(found, peer):
    for told in found.dump["conversations"]:
        if told["what"] not in ("full", "empty"):
            continue
        path = f"/v1/conversations/{told['id']}"
        assert told["body"] == await raw(peer, path)
        listing = f"{path}/items?order=asc&limit=100"
        assert told["items"] == await raw(peer, listing)
        before = json.loads(told["items"])["data"]
        model = f"native-text-in-{told['what']}"
        heard = await peer.turn(model, conversation=told["id"], input="and then?")
        assert heard.last["type"] == "response.completed"
        [request] = asked(found.fake, model)
        assert in_order([*said_in(before), "and then?"], request)
        assert not in_order(["EqQBsig=="], request)
        after = json.loads(await raw(peer, listing))["data"]
        assert before == after[: len(before)]
        assert [*said_in(before), "and then?", HELLO] == said_in(after)


async def test_what_ran_is_taken_over_and_ends_by_the_rules(found, peer):
    """With the numbers and bytes that readers have seen already."""
    for told in found.responses("running"):
        response = await peer.ended(told["id"])
        assert (told["what"], response["status"]) == (told["what"], told["then"])
        log = await peer.events(told["id"])
        seen = [text.encode() for text in told.get("events", ())]
        assert seen == log[: len(seen)]
        events = [json.loads(line) for line in log]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["response"] == response
        said = "".join(event.get("delta", "") for event in events)
        if told["then"] == "failed":
            assert response["error"]["code"] == "server_error"
            assert text_of(response) == said
        creates = asked(found.fake, told["model"])
        assert len(creates) == (told["what"] in ("again", "given back")), told["what"]
        if told["then"] == "completed":
            assert text_of(response) == said == HELLO
    busy = next(one for one in found.dump["conversations"] if one["what"] == "busy")
    items = json.loads(await raw(peer, f"/v1/conversations/{busy['id']}/items?order=asc"))["data"]
    assert said_in(items) == ["a first item", "say again", HELLO]
