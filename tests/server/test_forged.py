"""Seals and side data that are forged, foreign, cut or far too large: each is nothing.

The provider is sent what another account would be: the words. ``tests/histories`` has the rows.
"""

import base64
import json
import time

import pytest
from histories.play import ENVIRON, Stage, config, provider_as_proxy, ready
from histories.table import PROVIDERS, expected, kinds_in, rows
from store.dump.kept import client_of
from support.redis_servers import Node, valkey_binary

from ws_bridge.protocol.history import SEAL_MARK
from ws_bridge.store.redis.codec import decode_side_data, encode_side_data
from ws_bridge.store.redis.keys import keys_of
from ws_bridge.upstream.dialects.seals import MAX_SEAL, MakerSeals

BRIDGED = [family for family in PROVIDERS if family != "responses"]  # OpenAI's seals are its own
SEALED = [row for row in rows() if "reasoning" in kinds_in(row.wire)]
WITH_SIDE_DATA = [row for row in rows() if "side data" in kinds_in(row.wire)]
OTHER_SECRET = {**ENVIRON, "SECRET": "t" * 32}


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture
async def provider(monkeypatch):
    async with provider_as_proxy(monkeypatch) as one:
        yield one


@pytest.fixture
def start(serve, node):
    async def _start(own, environ=ENVIRON):
        server = await serve(None, config(own, node.url), environ)
        await ready(server)
        return server

    return _start


def unpacked(sealed):
    return bytearray(base64.urlsafe_b64decode(sealed.removeprefix(SEAL_MARK)))


def packed(raw):
    return SEAL_MARK + base64.urlsafe_b64encode(raw).decode()


def with_byte(place):
    def changed(sealed):
        raw = unpacked(sealed)
        raw[place] ^= 1
        return packed(raw)

    return changed


def values_of(sealed):
    """What is in a seal, after its signature and its maker: anybody can read that."""
    return json.loads(bytes(unpacked(sealed)[28:]))


def of_maker(sealed, *keys):
    """A seal of the same maker and the same values, signed by somebody else or by nobody."""
    seals = MakerSeals("", lambda: keys)
    seals._maker = bytes(unpacked(sealed)[16:28])
    return seals.seal(values_of(sealed))


FORGED = {
    "its signature": with_byte(0),
    "its maker": with_byte(20),
    "its values": with_byte(-3),
    "unsigned": of_maker,
    "of another secret": lambda sealed: of_maker(sealed, b"another secret"),
    "cut in its signature": lambda sealed: sealed[:20],
    "cut in its values": lambda sealed: sealed[:-8],
    "cut to its mark": lambda _: SEAL_MARK,
    "of a summary": lambda sealed: "wsb1." + sealed.removeprefix(SEAL_MARK),
    "beyond the bound": lambda sealed: sealed + "A" * MAX_SEAL,
}


def resealed(first, forge):
    output = [
        {**item, "encrypted_content": forge(item["encrypted_content"])}
        if item.get("encrypted_content")
        else item
        for item in first["output"]
    ]
    return {**first, "output": output}


@pytest.mark.parametrize("family", BRIDGED)
async def test_a_seal_that_is_not_ours_is_left_out(start, provider, family):
    """On the server that has made the right one, too."""
    own = [row for row in SEALED if row.wire.family == family]
    server, stage = await start(own), Stage(provider)
    client = await server.connect()
    found = 0
    for row in own:
        first = await stage.first(client, row)
        if not any("encrypted_content" in item for item in first["output"]):
            continue
        found += 1
        wanted = words_alone(expected(family)[str(row)])
        told = {name: forge for name, forge in FORGED.items() if found == 1 or "bound" not in name}
        for name, forge in told.items():
            body = await stage.resent(server, row, resealed(first, forge))
            assert (name, body) == (name, wanted)
    assert found


def words_alone(ways):
    """What a maker gets that cannot read the seals: as another account, which has another thing."""
    return ways["account-resent"]


@pytest.mark.parametrize("family", BRIDGED)
async def test_a_seal_of_a_server_with_another_secret_is_left_out(start, provider, family):
    own = [row for row in SEALED if row.wire.family == family]
    one, other, stage = await start(own), await start(own, OTHER_SECRET), Stage(provider)
    client = await one.connect()
    for row in own:
        first = await stage.first(client, row)
        assert await stage.resent(other, row, first) == words_alone(expected(family)[str(row)])


SIDE_DATA = {
    "no form at all": b"?",
    "nothing": b"z",
    "a list": encode_side_data([1]),
    "another field": encode_side_data({"unknown": [{"type": "text", "text": "forged"}]}),
    "blocks that nobody writes": encode_side_data({"blocks": [{"type": "forged", "a": "forged"}]}),
    "parts that nobody writes": encode_side_data({"parts": [{"forged": "forged"}]}),
    "content that nobody writes": encode_side_data({"content": [{"forged": {"a": "forged"}}]}),
    "notes that nobody writes": encode_side_data({"annotations": [{"type": "forged"}]}),
    "no lists": encode_side_data(
        dict.fromkeys(("blocks", "parts", "content", "annotations"), "forged")
    ),
}


@pytest.mark.parametrize("family", ["anthropic", "bedrock", "gemini", "openai_chat"])
async def test_side_data_that_was_spoiled_in_the_store_is_nothing(start, provider, node, family):
    own = [row for row in WITH_SIDE_DATA if row.wire.family == family]
    server, stage = await start(own), Stage(provider)
    client = await server.connect()
    with client_of(node) as store:
        for number, row in enumerate(own):
            first = await stage.first(client, row)
            whole = store.hget(keys_of(first["id"]).meta, "side")
            assert whole
            cases = {**SIDE_DATA, "cut": whole[: len(whole) // 2]}
            for name, spoiled in cases.items() if number == 0 else [("cut", cases["cut"])]:
                store.hset(keys_of(first["id"]).meta, "side", spoiled)
                body = await stage.over_http(server, row, first)
                assert (name, body) == (name, expected(family)[str(row)]["resent"])


async def test_a_container_that_has_expired_meanwhile_is_not_named(start, provider, node):
    [row] = [row for row in WITH_SIDE_DATA if str(row) == "anthropic-container"]
    server, stage = await start([row]), Stage(provider)
    first = await stage.first(await server.connect(), row)
    place = keys_of(first["id"]).meta
    with client_of(node) as store:
        kept = decode_side_data(store.hget(place, "side"))
        store.hset(place, "side", encode_side_data(kept | {"container_expires": time.time() - 1}))
    wanted = expected("anthropic")[str(row)]["chained"]
    assert wanted.pop("container") == kept["container"]
    assert await stage.over_http(server, row, first) == wanted
