"""What a provider gets back of each kind of answer, on every way from one turn to the next.

The rows, and what is expected of each, are in ``tests/histories``.
"""

import asyncio
import json

import pytest
from histories import dumps
from histories.play import ENVIRON, Stage, account, config, elsewhere, provider_as_proxy, ready
from histories.table import PROVIDERS, expected, rows
from store.dump import kept
from support.redis_servers import Node, valkey_binary

from ws_bridge.protocol.output.items import ITEMS
from ws_bridge.upstream.dialects.anthropic import hosted as anthropic
from ws_bridge.upstream.dialects.anthropic import own_blocks as anthropic_blocks
from ws_bridge.upstream.dialects.bedrock import hosted as bedrock
from ws_bridge.upstream.dialects.bedrock import own_blocks as bedrock_blocks
from ws_bridge.upstream.dialects.cohere.request import PLAN
from ws_bridge.upstream.dialects.gemini import hosted as gemini
from ws_bridge.upstream.dialects.gemini import own_parts as gemini_parts
from ws_bridge.upstream.dialects.openai_chat import hosted_calls, thoughts

# What the families' tables know, by the words that are in the wire.
CLIENTS_OWN = {
    *("apply_patch_call", "shell_call", "local_shell_call", "apply_patch_call_output"),
    "program_output",
}
KINDS = [
    *(("anthropic", name) for name in anthropic.BEGUN),
    *(("anthropic", kind) for kind in anthropic_blocks.NEEDED),
    ("anthropic", "caller"),
    *(("bedrock", name) for name in (bedrock.SEARCH, bedrock.CODE)),
    *(("bedrock", kind) for kind in bedrock_blocks._CHECKS if kind != bedrock_blocks.CITATIONS),
    *(("bedrock", kind) for kind in ("signature", "redactedContent", "citation")),
    *(("cohere", kind) for kind in (PLAN, "thinking", "citations")),
    *(("gemini", kind) for kind in gemini_parts.FORMS),
    # One of those that are shown alike.
    *(("gemini", kind) for kind in {row: kind for kind, row in gemini.ROWS.items()}.values()),
    *(("gemini", kind) for kind in ("groundingMetadata", "thought", "MCP")),
    *(("openai_chat", name) for name in (*thoughts.FIELDS, thoughts.DETAILS, thoughts.EXTRAS)),
    *(("openai_chat", name) for name in hosted_calls.STEPS if name != "fetch_url_content"),
    *(("openai_chat", name) for name in ("executed_tools", "search_results", "annotations")),
    *(("responses", name) for name in ITEMS if name not in CLIENTS_OWN),
]
# Pieces of what only a maker can read, in all the wires.
SECRETS = (
    *("wsr1.", "c2ln", "c2VjcmV0", "c2Vj", "dHdv", "dGhvdWdodA", "dGV4dA", "cGljdHVyZQ", "Y2FsbA"),
    *("srvtoolu_", "mcptoolu_", "container_1", "file_1", "tool_plan", "server_tool_use"),
    *("executableCode", "toolCall"),
)

each_family = pytest.mark.parametrize("family", PROVIDERS)


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary(), aof=True) as one:
        yield one


@pytest.fixture
async def provider(monkeypatch):
    async with provider_as_proxy(monkeypatch) as one:
        yield one


@pytest.fixture
def start(serve, node, provider):
    """Servers on the store, and the stage."""

    async def _start(family, count=1):
        own = [row for row in rows() if row.wire.family == family]
        servers = [await serve(None, config(own, node.url), ENVIRON) for _ in range(count)]
        await ready(*servers)
        return Stage(provider), own, servers

    return _start


@each_family
async def test_its_maker_gets_it_back_on_every_server_and_after_a_restart(start, node, family):
    stage, own, (one, two) = await start(family, 2)
    client = await one.connect()
    firsts, seen = {}, {}
    for row in own:
        first = firsts[str(row)] = await stage.first(client, row)
        seen[str(row)] = [
            await stage.on_socket(client, row, first),
            await stage.over_http(two, row, first),
        ]
    for server in (one, two):
        await server.stop()
    await asyncio.to_thread(node.restart)
    stage, own, [three] = await start(family)
    for row in own:
        seen[str(row)].append(await stage.over_http(three, row, firsts[str(row)]))
    assert seen == {name: [ways["chained"]] * 3 for name, ways in expected(family).items()}


@each_family
async def test_another_maker_gets_the_words_and_nothing_that_was_sealed(start, family):
    stage, own, (one, two) = await start(family, 2)
    client = await one.connect()
    # A bridge's own seal names its maker; whose a provider's is, a server knows that has seen it.
    known = one if family == "responses" else two
    seen = {}
    for row in own:
        first = await stage.first(client, row)
        seen[str(row)] = bodies = {}
        for way, other in (("account", account(row)), ("elsewhere", elsewhere(row))):
            bodies[way] = await stage.over_http(two, row, first, **other)
            bodies[f"{way}-resent"] = await stage.resent(known, row, first, **other)
        told = json.dumps(bodies)
        assert [secret for secret in SECRETS if secret in told] == []
    assert seen == {
        name: {way: body for way, body in ways.items() if way not in ("chained", "resent")}
        for name, ways in expected(family).items()
    }


@each_family
async def test_a_client_sends_it_back_itself_to_any_server(start, family):
    stage, own, (one, two) = await start(family, 2)
    client = await one.connect()
    seen = {}
    for row in own:
        first = await stage.first(client, row)
        seen[str(row)] = [
            await stage.resent(one, row, first, store=True),
            await stage.resent(two, row, first, store=False),
        ]
    assert seen == {name: [ways["resent"]] * 2 for name, ways in expected(family).items()}


@each_family
def test_every_answer_that_holds_more_than_words_has_its_row(family):
    names = [str(row) for row in rows() if row.wire.family == family]
    assert names == list(expected(family))


@each_family
def test_every_kind_that_a_dialect_knows_is_in_a_row(family):
    body = b"".join(row.wire.body for row in rows() if row.wire.family == family)
    known = [name for of, name in KINDS if of == family]
    assert known
    assert [name for name in known if f'"{name}"'.encode() not in body] == []


@pytest.mark.parametrize("release", dumps.names())
async def test_a_store_as_a_release_left_it_is_gone_on_with(serve, provider, release):
    """What it held, what its clients kept, and what it knew of the makers of items."""
    dump, stage = dumps.load(release), Stage(provider)
    own = [row for row in rows() if str(row) in dump["rows"]]
    assert [str(row) for row in own] == list(dump["rows"])
    seen, wanted = {}, {}
    with Node(valkey_binary()) as node:
        kept.put_in(node, dump["keys"])
        server = await serve(None, config(own, node.url), ENVIRON)
        await ready(server)
        for row in own:
            first = dump["rows"][str(row)]["first"]
            assert await server.get(f"/v1/responses/{first['id']}") == (200, first)
            wanted[str(row)] = expected(row.wire.family)[str(row)]
            seen[str(row)] = bodies = {
                "chained": await stage.over_http(server, row, first),
                "resent": await stage.resent(server, row, first),
            }
            for way, other in (("account", account(row)), ("elsewhere", elsewhere(row))):
                bodies[way] = await stage.over_http(server, row, first, **other)
            if referring := dump["rows"][str(row)].get("referring"):
                await check_references(stage, server, row, referring, bodies["resent"])
    assert seen == {name: {way: ways[way] for way in seen[name]} for name, ways in wanted.items()}


async def check_references(stage, server, row, referring, resent):
    """What an input named by ids goes to its maker as if it was sent, and sealed to nobody else."""
    turn = {"id": referring, "output": []}
    body = await stage.over_http(server, row, turn)
    [field] = body.keys() & {"messages", "contents", "input"}
    begun = resent[field][:-1]
    assert unmarked(begun) == unmarked(body[field][: len(begun)])
    for other in (account(row), elsewhere(row)):
        told = json.dumps(await stage.over_http(server, row, turn, **other))
        assert [secret for secret in SECRETS if secret in told] == []


def unmarked(messages):
    """The messages without marks for a cache, which stand elsewhere in a longer history."""
    return json.loads(json.dumps(messages).replace(', {"cachePoint": {"type": "default"}}', ""))


def test_there_is_a_dump():
    assert "db25e65" in dumps.names()
