"""Seals that clients send: good ones are summaries, forged ones 400, bombs nobody's trouble."""

import asyncio
import base64
import zlib

import pytest
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer

from ws_bridge.upstream.base import Request

SECRET = {"SECRET": "s" * 32}
SIGNING = {"auth": {"secret_env": "SECRET"}}
TOKENS = "/v1/responses/input_tokens"


def bomb(number: int = 0) -> dict[str, str]:
    """An unsigned seal of 1.4 kB that would unfold to a MiB."""
    packed = zlib.compress(b"a" * (2**20 - number), 9)
    sealed = "wsb1." + base64.urlsafe_b64encode(packed).decode()
    return {"type": "compaction", "id": "cmp_1", "encrypted_content": sealed}


def forged(item: dict[str, str]) -> dict[str, str]:
    sealed = item["encrypted_content"]
    return item | {"encrypted_content": sealed[:12] + sealed[12].swapcase() + sealed[13:]}


@pytest.fixture
def unfolded(monkeypatch) -> list[int]:
    """How much each unfolding in this process has made."""
    made: list[int] = []
    real = zlib.decompressobj

    class Counted:
        def __init__(self, *arguments):
            self._real = real(*arguments)

        def decompress(self, data, max_length=0):
            out = self._real.decompress(data, max_length)
            made.append(len(out))
            return out

        @property
        def eof(self):
            return self._real.eof

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    return made


class Counting(Scripted):
    """Counts tokens when it is let to."""

    def __init__(self, *scripts):
        super().__init__(*scripts)
        self.asked, self.may_count = asyncio.Event(), asyncio.Event()

    async def count_tokens(self, request: Request) -> int:
        self.asked.set()
        await self.may_count.wait()
        return await super().count_tokens(request)


async def compacted(bridge, text="I am Ada"):
    status, body = await bridge.post("/v1/responses/compact", model="m", input=text)
    assert status == 200
    return body["output"][0]


@pytest.mark.catalogue("A5")
async def test_ten_thousand_bombs_before_a_summary_cost_one_unfolding_and_nobody_waits(
    serve, unfolded
):
    upstream = Counting(answer("Ada."))
    bridge = await serve(upstream, SIGNING, SECRET)
    bombs = [bomb(number) for number in range(100)] * 100
    items = [*bombs, await compacted(bridge), {"role": "user", "content": "who?"}]
    asking = asyncio.create_task(bridge.post(TOKENS, model="m", input=items))
    async with asyncio.timeout(HANG_SECONDS):
        await upstream.asked.wait()
        assert (await bridge.get("/v1/models"))[0] == 200
        assert not asking.done()
        upstream.may_count.set()
        status, body = await asking
    assert (status, body["input_tokens"]) == (200, 2)  # the summary, and what is asked
    assert unfolded == [len("Ada.")]


@pytest.mark.catalogue("A5")
async def test_ten_thousand_bombs_alone_are_one_400(serve, unfolded):
    bridge = await serve(Scripted(answer("x")))
    async with asyncio.timeout(HANG_SECONDS):
        bombs = [bomb(number) for number in range(100)] * 100
        status, body = await bridge.post(TOKENS, model="m", input=bombs)
    assert (status, body["error"]["code"]) == (400, "invalid_encrypted_content")
    assert len(unfolded) == 1
    assert sum(unfolded) < 50_000


@pytest.mark.catalogue("A5")
async def test_a_forged_seal_comes_past_no_door(serve):
    upstream = Scripted(answer("Ada."))
    bridge = await serve(upstream, SIGNING, SECRET)
    sealed = await compacted(bridge)
    items = [forged(sealed), sealed, {"role": "user", "content": "who?"}]
    _, conversation = await bridge.post("/v1/conversations")
    kept = f"/v1/conversations/{conversation['id']}/items"
    refused = [
        await bridge.post(path, **{"model": "m", name: items, **more})
        for path, name, more in (
            (TOKENS, "input", {}),
            ("/v1/responses/compact", "input", {}),
            ("/v1/responses", "input", {}),
            ("/v1/responses", "input", {"background": True}),
            ("/v1/conversations", "items", {}),
            (kept, "items", {}),
        )
    ]
    error = {
        "message": "The encrypted content of a compaction item could not be verified.",
        "type": "invalid_request_error",
        "param": "input",
        "code": "invalid_encrypted_content",
    }
    expected = [(400, {"error": error})] * 4
    expected += [(400, {"error": error | {"param": "items"}})] * 2
    assert refused == expected
    client = await bridge.connect()
    [told] = await client.turn(input=items)
    assert (told["type"], told["status"]) == ("error", 400)
    assert told["error"]["code"] == "invalid_encrypted_content"
    assert len(upstream.requests) == 1  # the one that has made the seal
    assert (await client.turn(input=items[1:]))[-1]["type"] == "response.completed"
    assert len(upstream.requests[-1].input()) == 2


async def test_a_seal_outlives_its_server_and_its_secret(serve):
    upstream = Scripted(answer("Ada."))
    sealed = await compacted(await serve(upstream, SIGNING, SECRET))
    unsigned = await compacted(await serve(upstream))
    for config, environ in (
        ({}, {}),
        (SIGNING, {"SECRET": "t" * 32}),
        (SIGNING, {"SECRET": f"plain,{'s' * 32}"}),
        (SIGNING, {"SECRET": f"{'t' * 32},{'s' * 32}"}),
    ):
        bridge = await serve(upstream, config, environ)
        for item in (sealed, unsigned):
            status, body = await bridge.post(TOKENS, model="m", input=[item])
            assert (status, body["input_tokens"]) == (200, 1)
    bridge = await serve(upstream, SIGNING, {"SECRET": f"{'t' * 32},{'s' * 32}"})
    status, _ = await bridge.post(TOKENS, model="m", input=[forged(sealed)])
    assert status == 400


async def test_servers_of_one_store_know_each_others_seals_from_forged_ones(serve):
    upstream = Scripted(answer("Ada."))
    with Node(valkey_binary()) as node:
        config = {"store": {"url": f"redis://127.0.0.1:{node.port}"}}
        one, other = [await serve(upstream, config) for _ in range(2)]
        assert one.bridge._store.shared_key() == other.bridge._store.shared_key() != b""
        sealed = await compacted(one)
        assert (await other.post(TOKENS, model="m", input=[sealed]))[0] == 200
        assert (await other.post(TOKENS, model="m", input=[forged(sealed)]))[0] == 400


async def test_a_server_without_its_store_seals_and_opens_all_the_same(serve):
    upstream = Scripted(answer("Ada."))
    with Node(valkey_binary()) as node:
        config = {"store": {"url": f"redis://127.0.0.1:{node.port}"}}
        signed = await compacted(await serve(upstream, config))
        node.kill()
        bridge = await serve(upstream, config)
        assert bridge.bridge._store.shared_key() == b""
        for item in (signed, await compacted(bridge)):
            status, body = await bridge.post(TOKENS, model="m", input=[item])
            assert (status, body["input_tokens"]) == (200, 1)
