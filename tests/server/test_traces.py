"""The whole bridge with a collector: which spans there are, whose they are, and what is in them."""

import asyncio
import json
import logging

import pytest
from support.collector import Collector
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer
from upstreams import FakeProviders

CLIENT_KEY, PROVIDER_KEY = "sk-client-canary-1", "sk-operators-canary-2"
PROMPT = "canary-of-the-prompt"
ENVIRON = {"CLIENTS": CLIENT_KEY, "ONE": PROVIDER_KEY}

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
OTHER = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@pytest.fixture
def traced(serve, fake, collector):
    """A function that starts a bridge whose spans the collector gets."""
    fake.reset()

    async def start(*models, upstream=None, **sections):
        given = {"models": models} if models else {}
        given["telemetry"] = {"otlp_endpoint": collector.url}
        running = await serve(upstream, given | sections, ENVIRON)
        while (await running.get("/readyz"))[0] != 200:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.05)
        return running

    return start


@pytest.fixture
def entry(fake):
    """A function that makes an entry of the table, of a chat provider where nothing is said."""

    def make(name, model, path="/v1", **more):
        base = fake.base_url + path
        return {"name": name, "model": model, "api_base": base, "api_key_env": "ONE", **more}

    return make


def only(found):
    (one,) = found
    return one


def place_in(traceparent):
    """The ids of the trace and of the span."""
    return tuple(traceparent.split("-")[1:3])


def sent_heads(fake):
    """The heads of the requests that providers got, by the names of their headers in lower case."""
    heads = [one["headers"] for one in fake.log if isinstance(one["body"], dict)]
    return [{name.lower(): value for name, value in head.items()} for head in heads]


# What there is


async def test_a_create_is_a_span_and_its_provider_a_child(traced, entry, collector):
    bridge = await traced(entry("m", "groq/m-text"), auth={"keys_env": ["CLIENTS"]})
    client = await bridge.connect(headers={"Authorization": f"Bearer {CLIENT_KEY}"})
    events = await client.turn(input="hi")
    await bridge.stop()
    create, attempt = only(collector.of_kind("server")), only(collector.of_kind("client"))
    response = events[-1]["response"]
    assert create.name == "chat m"
    assert create.parent == ""
    assert create.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "groq",
        "gen_ai.request.model": "m",
        "gen_ai.response.id": response["id"],
        "gen_ai.response.model": "m-text",
        "gen_ai.usage.input_tokens": response["usage"]["input_tokens"],
        "gen_ai.usage.output_tokens": response["usage"]["output_tokens"],
        "ws_bridge.entry": "m",
        "ws_bridge.events": len(events),
        "ws_bridge.key": "CLIENTS",
        "ws_bridge.outcome": "completed",
        "ws_bridge.transport": "websocket",
        "ws_bridge.tried": ["groq/m-text:answers"],
    }
    assert (attempt.trace, attempt.parent) == create.place
    assert not attempt.has_remote_parent
    assert attempt.name == "chat m-text"
    host, port = attempt.attributes.pop("server.address"), attempt.attributes.pop("server.port")
    assert f"http://{host}:{port}/v1" == entry("", "")["api_base"]
    assert attempt.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "groq",
        "gen_ai.request.model": "m-text",
        "ws_bridge.entry": "m",
        "ws_bridge.outcome": "complete",
        "ws_bridge.transport": "http",
    }
    assert not create.is_error
    assert not attempt.is_error
    assert create.start <= attempt.start <= attempt.end <= create.end
    assert create.resource["service.name"] == "ws-bridge"


async def test_a_flush_is_a_span_of_its_own_with_links_to_the_creates_it_writes(traced, collector):
    """However many events there are."""
    gates = [asyncio.Event(), asyncio.Event()]
    scripts = []
    for gate in gates:
        opened, *rest = answer(*["word "] * 50)
        scripts.append([[opened], gate, *[[draft] for draft in rest]])
    bridge = await traced(upstream=Scripted(*scripts))
    clients = [await bridge.connect() for _ in gates]
    for client in clients:
        await client.create(input="hi")
        await client.until("response.created")
    for gate in gates:
        gate.set()
    for client in clients:
        await client.until("response.completed")
    kept = await clients[0].turn(input="not kept", store=False)
    await bridge.stop()
    creates, flushes = collector.of_kind("server"), collector.named("mirror flush")
    assert len(creates) == 3
    unstored = kept[-1]["response"]["id"]
    stored = [one.place for one in creates if one.attributes["gen_ai.response.id"] != unstored]
    linked = {link for flush in flushes for link in flush.links}
    assert linked == set(stored)
    assert {flush.parent for flush in flushes} == {""}
    assert {flush.kind for flush in flushes} == {"internal"}
    assert [one.attributes for one in flushes] == [
        {"ws_bridge.responses": len(one.links)} for one in flushes
    ]
    assert {flush.trace for flush in flushes} & {create.trace for create in creates} == set()
    # A hundred events each, written in a few flushes.
    assert len(collector.spans) == len(creates) + len(flushes)
    assert len(flushes) < 30


async def test_each_attempt_at_a_provider_is_a_span(traced, entry, collector):
    bridge = await traced(entry("m", "groq/m-flaky2", retries=2))
    client = await bridge.connect()
    await client.turn(input="hi")
    await bridge.stop()
    create, attempts = only(collector.of_kind("server")), collector.of_kind("client")
    assert [one.parent for one in attempts] == [create.id] * 3
    assert [one.is_error for one in attempts] == [True, True, False]
    outcomes = [one.attributes["ws_bridge.outcome"] for one in attempts]
    assert outcomes == ["failed", "failed", "complete"]
    failed = attempts[0].attributes
    assert (failed["ws_bridge.status"], failed["error.type"]) == (500, "server_error")
    assert attempts[0].end <= attempts[1].start


async def test_fallbacks_are_spans_and_a_target_that_rests_has_one_when_it_is_asked(
    traced, entry, collector
):
    """The first create fails at the first target, which rests then: the next is not asked of it."""
    first = entry("m", "groq/m-err500", retries=0, fallbacks=["spare"])
    bridge = await traced(first, entry("spare", "openai/gpt-text", mode="managed"))
    client = await bridge.connect()
    await client.turn(input="one")
    await client.turn(input="two")
    await bridge.stop()
    one, two = collector.of_kind("server")
    asked = [
        (span.parent, span.attributes["gen_ai.request.model"], span.is_error)
        for span in collector.of_kind("client")
    ]
    assert asked == [
        (one.id, "m-err500", True),
        (one.id, "gpt-text", False),
        (two.id, "gpt-text", False),
    ]
    assert one.attributes["ws_bridge.tried"] == ["groq/m-err500:500", "openai/gpt-text:answers"]
    assert one.attributes["gen_ai.provider.name"] == "openai"


@pytest.mark.parametrize("case", [("m-err400", "refused"), ("m-drop", "failed")])
async def test_what_fails_has_its_code_and_no_word_of_the_provider(traced, entry, collector, case):
    model, outcome = case
    bridge = await traced(entry("m", f"groq/{model}", retries=0))
    client = await bridge.connect()
    events = await client.turn(input="hi")
    await bridge.stop()
    create = only(collector.of_kind("server"))
    assert create.is_error
    assert create.attributes["ws_bridge.outcome"] == outcome
    error = events[-1].get("error") or events[-1]["response"]["error"]
    assert create.attributes["error.type"] == error["code"]
    assert only(collector.of_kind("client")).is_error


async def test_a_cancelled_create_is_no_error_and_its_attempt_is_left(traced, entry, collector):
    bridge = await traced(entry("m", "groq/m-gate"))
    client = await bridge.connect()
    await client.create(input="hi")
    created = (await client.until("response.output_text.delta"))[0]["response"]["id"]
    assert (await bridge.post(f"/v1/responses/{created}/cancel"))[0] == 200
    await client.until("response.failed")
    await bridge.stop()
    create, attempt = only(collector.of_kind("server")), only(collector.of_kind("client"))
    assert (create.attributes["ws_bridge.outcome"], create.is_error) == ("cancelled", False)
    assert (attempt.attributes["ws_bridge.outcome"], attempt.is_error) == ("abandoned", False)


async def test_a_create_that_is_refused_has_no_span(traced, collector):
    """It was not accepted: metrics and log have it."""
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    client = await bridge.connect()
    await client.turn(input="hi", previous_response_id="resp_unknown")
    await client.turn(input="hi", model="no-such-model")
    await client.turn(input="hi")
    await bridge.stop()
    assert len(collector.of_kind("server")) == 1


async def test_each_transport_is_named(traced, collector):
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    for more in ({}, {"stream": True}, {"background": True}):
        asked = {"model": "m", "input": "hi", **more}
        async with bridge.session.post(bridge.url + "/v1/responses", json=asked) as given:
            assert given.status == 200
            await given.read()
    await bridge.stop()
    found = [one.attributes["ws_bridge.transport"] for one in collector.of_kind("server")]
    assert found == ["http", "sse", "background"]


# Whose trace it is


@pytest.mark.parametrize("background", [False, True])
async def test_a_post_continues_the_trace_of_its_head(traced, collector, background):
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    heads = [{"traceparent": TRACEPARENT, "tracestate": "a=1,b=2"}, {}]
    for head in heads:  # over one connection: the next request has no part in it
        asked = {"model": "m", "input": "hi", "background": background}
        url = bridge.url + "/v1/responses"
        async with bridge.session.post(url, json=asked, headers=head) as given:
            assert given.status == 200
            await given.read()
    await bridge.stop()
    first, second = collector.of_kind("server")
    assert (first.trace, first.parent, first.state) == (TRACE, PARENT, "a=1,b=2")
    assert first.has_remote_parent
    assert second.trace != TRACE
    assert second.parent == ""


async def test_a_socket_continues_the_trace_of_its_upgrade_and_a_create_its_own(traced, collector):
    """Codex has a trace for each create, in `client_metadata`."""
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    client = await bridge.connect(headers={"traceparent": TRACEPARENT})
    own = {"ws_request_header_traceparent": OTHER, "ws_request_header_tracestate": "c=3"}
    await client.turn(input="one")
    await client.turn(input="two", client_metadata={**own, "session_id": "s"})
    await client.turn(input="three", client_metadata={"session_id": "s"})
    asked = {"model": "m", "input": "four", "client_metadata": own}  # it is a socket's only
    await bridge.post("/v1/responses", **asked)
    await bridge.stop()
    one, two, three, four = collector.of_kind("server")
    assert (one.trace, one.parent) == (TRACE, PARENT)
    assert (two.trace, two.parent, two.state) == ("1" * 32, "2" * 16, "c=3")
    assert (three.trace, three.parent) == (TRACE, PARENT)
    assert four.parent == ""


WRONG = (
    "",
    "00",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01-more",
    "\u00e9" * 55,
    "0" * 5000,
)


async def test_a_trace_that_cannot_be_read_is_none_and_the_create_is_served(traced, collector):
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    client = await bridge.connect()
    name, state = "ws_request_header_traceparent", "ws_request_header_tracestate"
    unread = [{name: given} for text in WRONG for given in (text, 5, [text], {"a": text})]
    for metadata in (*unread, *WRONG, None, [], 5):
        events = await client.turn(input="hi", client_metadata=metadata)
        assert events[-1]["type"] == "response.completed"
    for text in WRONG:
        await client.turn(input="last", client_metadata={name: TRACEPARENT, state: text})
    await bridge.stop()
    found = collector.of_kind("server")
    others, last = found[: -len(WRONG)], found[-len(WRONG) :]
    assert {one.parent for one in others} == {""}
    assert {(one.parent, one.state) for one in last} == {(PARENT, "")}


async def test_two_traceparents_are_none(traced, collector):
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    asked = {"json": {"model": "m", "input": "hi"}}
    heads = [("traceparent", TRACEPARENT), ("traceparent", OTHER)]
    async with bridge.session.post(bridge.url + "/v1/responses", headers=heads, **asked) as given:
        assert given.status == 200
    await bridge.stop()
    assert only(collector.of_kind("server")).parent == ""


async def test_a_client_that_does_not_sample_is_not_sampled(traced, collector):
    bridge = await traced(upstream=Scripted(answer("Hi.")))
    client = await bridge.connect(headers={"traceparent": TRACEPARENT[:-1] + "0"})
    await client.turn(input="hi")
    await bridge.stop()
    assert collector.spans == []


# What providers get of it

WAYS = {
    "chat": ("groq/m-text", {}),
    "responses": ("openai/gpt-text", {"mode": "managed"}),
    "anthropic": ("anthropic/claude-text", {"path": ""}),
    "litellm": ("openai/gpt-text", {"via": "litellm", "mode": "managed"}),
    "litellm-chat": ("groq/m-text", {"via": "litellm"}),
}


async def test_a_provider_gets_the_trace_only_where_its_entry_says_so(
    traced, entry, collector, fake
):
    """The entry's default is that it does not."""
    wanted = {"yes": {"pass_traceparent": True}, "no": {"pass_traceparent": False}, "default": {}}
    entries = [
        entry(f"{way}-{word}", model, **more, **passes)
        for way, (model, more) in WAYS.items()
        for word, passes in wanted.items()
    ]
    bridge = await traced(*entries)
    client = await bridge.connect(headers={"traceparent": TRACEPARENT, "tracestate": "a=1"})
    for one in entries:
        events = await client.turn(model=one["name"], input="hi")
        assert events[-1]["type"] == "response.completed"
    await bridge.stop()
    attempts, heads = collector.of_kind("client"), sent_heads(fake)
    for one, attempt, head in zip(entries, attempts, heads, strict=True):
        if one["name"].endswith("-yes"):
            assert place_in(head["traceparent"]) == (TRACE, attempt.id), one
            assert head["tracestate"] == "a=1"
        else:
            assert {"traceparent", "tracestate"} & set(head) == set(), one


async def test_a_target_that_passes_the_trace_on_is_asked_over_http(traced, entry, collector):
    """A provider's socket has one head for many creates; others are asked there first."""
    asked = entry("m", "openai/gpt-text", pass_traceparent=True)
    bridge = await traced(asked, entry("other", "openai/gpt-text"))
    client = await bridge.connect()
    for model in ("m", "other"):
        await client.turn(model=model, input="hi")
    await bridge.stop()
    found = [
        (one.attributes["ws_bridge.entry"], one.attributes["ws_bridge.transport"])
        for one in collector.of_kind("client")
    ]
    assert found == [("m", "http"), ("other", "websocket"), ("other", "http")]


async def test_each_attempt_has_its_own_place_in_what_its_provider_gets(
    traced, entry, collector, fake
):
    bridge = await traced(entry("m", "groq/m-flaky1", pass_traceparent=True))
    await (await bridge.connect()).turn(input="hi")
    await bridge.stop()
    attempts = collector.of_kind("client")
    got = [head["traceparent"] for head in sent_heads(fake)]
    assert [place_in(one) for one in got] == [one.place for one in attempts]
    assert len(attempts) == 2


async def test_a_providers_background_mode_is_one_attempt(traced, entry, collector, fake):
    model = entry("m", "openai/gpt-text", pass_traceparent=True)
    bridge = await traced(model, background={"native_models": ["m"]})
    _, created = await bridge.post("/v1/responses", model="m", input="hi", background=True)
    path = f"/v1/responses/{created['id']}"
    async with bridge.session.get(bridge.url + path + "?stream=true") as followed:
        await followed.read()
    await bridge.stop()
    create, attempt = only(collector.of_kind("server")), only(collector.of_kind("client"))
    assert attempt.parent == create.id
    assert attempt.attributes["ws_bridge.outcome"] == "complete"
    posted = next(one for one in fake.log if one["method"] == "POST")["headers"]
    head = {name.lower(): value for name, value in posted.items()}
    assert place_in(head["traceparent"]) == attempt.place


# What is in it, and what it costs


async def test_no_content_and_no_key_is_in_any_byte_that_is_sent(traced, entry, collector, fake):
    entries = (
        entry("m", "groq/m-err400", retries=0),
        entry("echo", "openai/gpt-echo", mode="managed"),
    )
    bridge = await traced(*entries, auth={"keys_env": ["CLIENTS"]})
    head = {"Authorization": f"Bearer {CLIENT_KEY}", "traceparent": TRACEPARENT}
    client = await bridge.connect(headers=head)
    asked = {"input": PROMPT, "instructions": PROMPT, "metadata": {"a": PROMPT}, "user": PROMPT}
    tools = [{"type": "function", "name": "f", "description": PROMPT, "parameters": {}}]
    for model in ("m", "echo"):
        await client.turn(model=model, tools=tools, client_metadata={"x": PROMPT}, **asked)
    await bridge.stop()
    assert len(collector.of_kind("server")) == 2
    sent = b"".join(collector.bodies) + json.dumps(collector.heads).encode()
    for canary in (PROMPT, CLIENT_KEY, PROVIDER_KEY, "Unsupported parameter"):
        assert canary.encode() not in sent
    assert PROMPT in json.dumps([one["body"] for one in fake.log])  # it was there to be sent


@pytest.mark.parametrize("status", [503, 400, "away", "silent"])
async def test_a_collector_that_takes_nothing_delays_no_response_and_no_stop(
    traced, collector, monkeypatch, caplog, status
):
    """The log has a line, however much is lost."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    if status == "silent":
        collector.gate.clear()
    elif status == "away":
        collector.__exit__()
    else:
        collector.status = status
    with caplog.at_level(logging.INFO):
        bridge = await traced(upstream=Scripted(answer("Hi.")))
        client = await bridge.connect()
        for _ in range(20):
            assert (await client.turn(input="hi"))[-1]["type"] == "response.completed"
        async with asyncio.timeout(HANG_SECONDS):
            await bridge.stop()
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    traces = [line for line in lines if line.startswith("spans_")]
    assert 1 <= len(traces) <= 2
    assert len({line.partition(" ")[0] for line in traces}) == len(traces)
    assert not [one for one in caplog.records if one.name.startswith("opentelemetry")]
    assert collector.spans == []
