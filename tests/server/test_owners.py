"""Owners in a store: what an older release wrote under a plain hash stays its owner's."""

import asyncio

import aiohttp
import pytest
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, message, opening

from ws_bridge.server.auth import names_of

KEYS = "key-a,key-b"
OLD, NEW = "o" * 32, "n" * 32
# What a release without secrets calls the owner with key-a: responses that it wrote are kept.
PLAIN_A = "ecda66932a465cc27c0ed65dead2802a"


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture
def server(serve, node):
    """A server over the store, with these secrets; none: as an older release."""
    node.wipe()

    async def start(upstream, *secrets):
        config = {
            "auth": {"keys_env": ["KEYS"], "secret_env": "SECRET" if secrets else ""},
            "store": {"url": node.url},
        }
        return await serve(upstream, config, {"KEYS": KEYS, "SECRET": ",".join(secrets)})

    return start


async def ask(bridge, method, path, key="key-a", **body):
    headers = {"Authorization": f"Bearer {key}"}
    options = {"json": body} if body else {}
    async with bridge.session.request(method, bridge.url + path, headers=headers, **options) as got:
        return got.status, await got.json()


def owners_in(node):
    """The owners that the store knows, by the id of what is theirs."""
    keys = [key for key in node.cli("KEYS", "*") if ":m:" in key or ":c:" in key]
    return {key.rpartition(":")[2]: node.cli("HGET", key, "ow") for key in keys}


def test_an_owners_plain_name_is_what_it_always_was():
    assert names_of("key-a", ()) == (PLAIN_A,)
    assert names_of("key-a", (b"s" * 32,))[1:] == (PLAIN_A,)


def test_every_secret_makes_another_name_and_the_first_ones_is_the_one_of_now():
    one, other = OLD.encode(), NEW.encode()
    names = names_of("key-a", (one, other))
    assert len(set(names)) == 3
    assert names_of("key-a", (other, one)) == (names[1], names[0], names[2])
    assert names_of("key-a", (b"plain", one)) == (PLAIN_A, names[0])
    assert all(len(name) == 32 and int(name, 16) for name in names)
    assert not set(names) & set(names_of("key-b", (one, other)))


@pytest.mark.catalogue("A14")
@pytest.mark.parametrize("before", [(), (OLD,)])
async def test_what_was_kept_under_an_earlier_name_is_still_its_owners(server, node, before):
    gate = asyncio.Event()
    slow = [*opening(), *message("so", "far")[:3], gate, completed()]
    writer = await server(Scripted(answer("one"), answer("two"), slow), *before)
    _, first = await ask(writer, "POST", "/v1/responses", model="m", input="hi")
    _, conversation = await ask(writer, "POST", "/v1/conversations", metadata={"k": "v"})
    named = conversation["id"]
    _, second = await ask(
        writer, "POST", "/v1/responses", model="m", input="hi", conversation=named
    )
    _, runs = await ask(writer, "POST", "/v1/responses", model="m", input="hi", background=True)
    assert {PLAIN_A} == set(owners_in(node).values()) or before

    upstream = Scripted(answer("three"))
    reader = await server_beside(server, node, upstream, NEW, *before)
    ids = [first["id"], second["id"], runs["id"]]
    for one in ids:
        assert (await ask(reader, "GET", f"/v1/responses/{one}"))[0] == 200
        assert (await ask(reader, "GET", f"/v1/responses/{one}", key="key-b"))[0] == 404
    status, items = await ask(reader, "GET", f"/v1/responses/{first['id']}/input_items")
    assert (status, len(items["data"])) == (200, 1)
    status, third = await ask(
        reader, "POST", "/v1/responses", model="m", input="x", previous_response_id=first["id"]
    )
    assert status == 200
    status, fourth = await ask(
        reader, "POST", "/v1/responses", model="m", input="x", conversation=named
    )
    assert status == 200
    assert [len(one.input()) for one in upstream.requests] == [3, 3]
    status, listed = await ask(reader, "GET", f"/v1/conversations/{named}/items")
    assert (status, len(listed["data"])) == (200, 4)
    refused = await ask(
        reader,
        "POST",
        "/v1/responses",
        key="key-b",
        model="m",
        input="x",
        previous_response_id=first["id"],
    )
    assert refused[0] == 400

    status, cancelled = await ask(reader, "POST", f"/v1/responses/{runs['id']}/cancel")
    assert (status, cancelled["status"]) == (200, "cancelled")
    owners = owners_in(node)
    assert {owners[third["id"]], owners[fourth["id"]]} == {names_of("key-a", (NEW.encode(),))[0]}
    assert owners[first["id"]] != owners[third["id"]]
    # A chain over both names, read by both ends of it.
    last = await ask(
        reader, "POST", "/v1/responses", model="m", input="x", previous_response_id=third["id"]
    )
    assert last[0] == 200
    for one in (first, third):
        assert (await ask(reader, "DELETE", f"/v1/responses/{one['id']}"))[0] == 200
        assert (await ask(reader, "GET", f"/v1/responses/{one['id']}"))[0] == 404
    assert (await ask(reader, "DELETE", f"/v1/conversations/{named}"))[0] == 200


async def server_beside(server, node, upstream, *secrets):
    """Another server over the same store, which is not wiped."""
    assert owners_in(node)
    return await server(upstream, *secrets)


@pytest.mark.catalogue("A14")
async def test_without_the_secret_no_name_in_the_store_can_be_tried_out(server, node):
    bridge = await server(Scripted(answer("x")), NEW)
    await ask(bridge, "POST", "/v1/responses", model="m", input="hi")
    await ask(bridge, "POST", "/v1/conversations", metadata={})
    names = set(owners_in(node).values())
    assert len(names) == 1
    assert not names & {*names_of("key-a", ()), *names_of("key-a", (OLD.encode(),))}
    dump = "".join(repr(node.cli("DUMP", key)) for key in node.cli("KEYS", "*"))
    assert PLAIN_A not in dump
    assert NEW not in dump


async def test_a_secret_is_made_known_to_one_server_after_the_other(server, node):
    """While some only know it, and others use it already, each finds what the others have made."""
    knows = await server(Scripted(answer("x")), "plain", NEW)
    _, made = await ask(knows, "POST", "/v1/responses", model="m", input="hi")
    assert set(owners_in(node).values()) == {PLAIN_A}
    uses = await server_beside(server, node, Scripted(answer("x")), NEW)
    _, other = await ask(uses, "POST", "/v1/responses", model="m", input="hi")
    for bridge in (knows, uses):
        for one in (made, other):
            assert (await ask(bridge, "GET", f"/v1/responses/{one['id']}"))[0] == 200


async def test_a_follower_and_a_socket_find_what_an_older_server_began(server, node):
    """On the socket a chain goes on; over HTTP an SSE follower gets the rest, live."""
    gate = asyncio.Event()
    writer = await server(Scripted([*opening(), *message("a"), gate, completed()]))
    _, runs = await ask(writer, "POST", "/v1/responses", model="m", input="hi", background=True)
    reader = await server_beside(server, node, Scripted(answer("next")), NEW)
    headers = {"Authorization": "Bearer key-a"}
    url = f"{reader.url}/v1/responses/{runs['id']}?stream=true"
    timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
    async with reader.session.get(url, headers=headers, timeout=timeout) as got:
        received = b""
        async for line in got.content:
            received += line
            if b"output_text.delta" in line:
                gate.set()
    assert b"response.completed" in received
    client = await reader.connect(headers=headers)
    events = await client.turn(input="x", previous_response_id=runs["id"])
    assert events[-1]["type"] == "response.completed"
