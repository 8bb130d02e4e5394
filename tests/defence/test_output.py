"""A provider whose objects are not what they should be: the bridge's fields stay the bridge's.

Over HTTP by way of litellm, and over the provider's own WebSocket.
"""

import asyncio
import json
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from defence.test_heavy import MANY_OF, calls, check

KEY = "sk-of-the-operator"
WAYS = ("managed", "native")
DEEP = json.loads('{"a":' * 300 + "1" + "}" * 300)
DEEPER = json.loads("[" * 900 + "]" * 900)
LIFECYCLE = ("created", "in_progress", "completed", "incomplete", "failed")

# What the bridge owns of a response object; a provider that says otherwise is not heard.
THEIRS = {
    "object": "chat.completion",
    "created_at": 7,
    "background": True,
    "store": False,
    "previous_response_id": "resp_theirs0",
    "conversation": {"id": "conv_theirs"},
    "instructions": "Say what I say.",
    "metadata": {"theirs": "yes"},
    "tools": [{"type": "theirs"}],
    "user": "theirs",
}


@dataclass
class Provider:
    """What it says of each response beside the plain truth, and what it was asked."""

    url: str = ""
    response: dict = field(default_factory=dict)  # over the fields of each response object
    output: object = None  # of the last one
    items: list = field(default_factory=list)  # told as done before that
    text: object = None  # writes an event
    asked: list = field(default_factory=list)

    def events(self):
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "x", "annotations": []}],
        }
        base = {
            "id": f"resp_theirs{len(self.asked)}",
            "object": "response",
            "created_at": 7,
            "model": "gpt-x",
        }
        base |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "store": True}
        base |= {"background": False, "instructions": None, "metadata": {}, "user": None}
        base |= {"previous_response_id": self.asked[-1].get("previous_response_id")}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        output = [message] if self.output is None else self.output
        begun = base | {"status": "in_progress", "output": [], "usage": None} | self.response
        ended = base | {"usage": usage} | self.response | {"status": "completed", "output": output}
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        for index, item in enumerate(self.items):
            for kind in ("added", "done"):
                yield {"type": f"response.output_item.{kind}", "output_index": index, "item": item}
        yield {"type": "response.completed", "response": ended}

    def lines(self):
        name = self.asked[-1].get("stream_id")
        lane = {"stream_id": name} if name else {}
        write = self.text or json.dumps
        for number, event in enumerate(self.events()):
            yield event["type"], write(event | {"sequence_number": number} | lane)


@pytest.fixture
async def provider():
    async def answer(request):
        found.asked.append(await request.json())
        out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await out.prepare(request)
        for kind, text in found.lines():
            await out.write(f"event: {kind}\ndata: {text}\n\n".encode())
        return out

    async def socket(request):
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            found.asked.append(json.loads(message.data))
            for _, text in found.lines():
                await ws.send_str(text)
        return ws

    found = Provider()
    app = web.Application()
    app.router.add_post("/v1/responses", answer)
    app.router.add_get("/v1/responses", socket)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield found
    await runner.cleanup()


@pytest.fixture(params=WAYS)
async def bridge(request, provider, serve):  # which ends before the provider does
    entry = {"name": "m", "model": "openai/gpt-x", "api_base": provider.url, "api_key_env": "K"}
    running = await serve(
        None,
        {"models": [entry | {"mode": request.param, "retries": 0, "stall_seconds": 5}]},
        {"K": KEY},
    )
    async with asyncio.timeout(120):
        await running.bridge.ready.wait()
    return running


def objects(events):
    """The response objects that a client was told."""
    return [event["response"] for event in events if "response" in event]


async def goes_on(bridge, client, events):
    """The turn can be read back, listed and gone on from, here and elsewhere."""
    known = events[-1]["response"]["id"]
    status, kept = await bridge.get(f"/v1/responses/{known}")
    assert (status, kept) == (200, events[-1]["response"])
    for other in (client, await bridge.connect()):
        last = (await other.turn(input="on", previous_response_id=known))[-1]
        assert last["type"] == "response.completed", last
        path = f"/v1/responses/{last['response']['id']}/input_items"
        assert (await bridge.get(path))[0] == 200


def tracebacks(caplog):
    return [record.getMessage() for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("names", [[name] for name in THEIRS] + [list(THEIRS)], ids=",".join)
@pytest.mark.catalogue("A11")
async def test_what_is_the_bridges_is_not_the_providers_to_say(bridge, provider, caplog, names):
    provider.response = {name: THEIRS[name] for name in names}
    ours = {"metadata": {"ours": "yes"}, "instructions": "ours", "user": "us"}
    client = await bridge.connect()
    first = await client.turn(input="hi", **ours)
    parent = first[-1]["response"]["id"]
    for events, previous in (
        (first, None),
        (await client.turn(input="on", previous_response_id=parent, **ours), parent),
    ):
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        for told in objects(events):
            assert told["id"].startswith("resp_")
            assert told["object"] == "response"
            assert told["created_at"] > 7
            expected = {"background": False, "store": True, "previous_response_id": previous}
            assert {**told, **expected, **ours, "tools": []} == told
            assert "conversation" not in told
    assert "theirs" not in json.dumps(objects(first))
    await goes_on(bridge, client, first)
    assert tracebacks(caplog) == []


@pytest.mark.catalogue("A11")
async def test_a_conversation_stays_the_clients(bridge, provider):
    provider.response = {"conversation": {"id": "conv_theirs"}, "store": False}
    _, made = await bridge.post("/v1/conversations")
    client = await bridge.connect()
    for _ in range(2):
        events = await client.turn(input="hi", conversation=made["id"])
        assert [one["conversation"] for one in objects(events)] == [{"id": made["id"]}] * 3
    _, items = await bridge.get(f"/v1/conversations/{made['id']}/items")
    assert len(items["data"]) == 4


OUTPUTS = {
    "numbers": [1, {"type": 5}],
    "no list": 5,
    "a word": "abc",
    "an object": {"type": "message"},
    "lists": [[], [[]]],
    "null": [None],
    "a type of a list": [{"type": []}],
    "an id of an object": [{"type": "message", "id": {}, "role": "assistant", "content": []}],
    "a call of a number": [{"type": "function_call", "call_id": 7, "name": "f", "arguments": ""}],
    "content of numbers": [{"type": "message", "role": "assistant", "content": [1]}],
    "a number of a content": [{"type": "message", "role": "assistant", "content": 7}],
    "parts of no type": [{"type": "message", "role": "assistant", "content": [{"type": {}}]}],
    "a text of a number": [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": 1}]}
    ],
    "a summary of words": [{"type": "reasoning", "summary": ["x"]}],
    "no bottom": [{"type": "message", "role": "assistant", "content": [], "more": DEEP}],
    "no bottom at all": [{"type": "x", "more": DEEPER}],
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.catalogue("A11")
async def test_an_output_that_is_none_breaks_no_turn(bridge, provider, caplog, output):
    """What is no item is left out, or the response fails; the next turn works in any case."""
    provider.output = output
    client = await bridge.connect()
    events = await client.turn(input="hi")
    provider.output = None
    if events[-1]["type"] == "response.completed":
        assert all(isinstance(item, dict) for item in events[-1]["response"]["output"])
        await goes_on(bridge, client, events)
    else:
        assert events[-1]["type"] in ("response.failed", "error"), events
    assert (await client.turn(input="hi"))[-1]["type"] == "response.completed"
    assert tracebacks(caplog) == []


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.catalogue("A11")
async def test_an_item_that_is_none_is_not_told(bridge, provider, caplog, output):
    provider.items = output if isinstance(output, list) else [output]
    client = await bridge.connect()
    events = await client.turn(input="hi")
    items = [event["item"] for event in events if "item" in event]
    assert all(isinstance(item, dict) and isinstance(item["type"], str) for item in items)
    if events[-1]["type"] == "response.completed":
        await goes_on(bridge, client, events)
    assert tracebacks(caplog) == []


FIELDS = {
    "model": 5,
    "usage": "many",
    "error": "bad",
    "incomplete_details": [1],
    "temperature": {"a": 1},
    "parallel_tool_calls": "yes",
    "tool_choice": 7,
    "text": "x",
    "reasoning": [],
    "completed_at": "soon",
    "theirs": DEEP,
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.catalogue("A11")
async def test_a_field_of_a_wrong_type_breaks_nothing(bridge, provider, caplog, name):
    provider.response = {name: FIELDS[name]}
    client = await bridge.connect()
    events = await client.turn(input="hi")
    if events[-1]["type"] == "response.completed":
        assert events[-1]["response"].get(name) != FIELDS[name]
        await goes_on(bridge, client, events)
    else:
        assert events[-1]["type"] in ("response.failed", "error"), events
    assert tracebacks(caplog) == []


TRICKS = {
    "a key twice": lambda text: text.replace(
        '"status":', '"store": false, "store": false, "status":'
    ),
    "another spelling": lambda text: text.replace('"store":', '"st\\u006fre":'),
    "a number twice": lambda text: text.replace('{"type":', '{"sequence_number": 3, "type":', 1),
    "a number in another spelling": lambda text: text.replace(
        '{"type":', '{"sequence_n\\u0075mber": 99, "type":', 1
    ),
    "a lane in another spelling": lambda text: text[:-1] + ', "stream_\\u0069d": "theirs"}',
}


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
@pytest.mark.catalogue("A11")
async def test_no_spelling_hides_a_field(bridge, provider, trick):
    provider.response = {"store": False}
    provider.items = [{"type": "message", "id": "msg_1", "role": "assistant", "content": []}]
    provider.text = lambda event: trick(json.dumps(event))
    client = await bridge.connect()
    events = await client.turn(input="hi")
    if events[-1]["type"] == "response.completed":
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert {event.get("stream_id") for event in events} == {None}
        assert [told["store"] for told in objects(events)] == [True] * len(objects(events))


@pytest.mark.parametrize("bridge", ["native"], indirect=True)
@pytest.mark.parametrize("fields", MANY_OF.values(), ids=MANY_OF)
@pytest.mark.catalogue("A8")
async def test_what_many_items_are_sent_as_is_not_made_on_the_loop(bridge, fields):
    """Over its own WebSocket; by way of litellm what that does itself is done in the loop."""
    client = await bridge.connect()
    text = json.dumps({"type": "response.create", "model": "m", "store": False, **fields})
    with calls() as counted:
        await client.ws.send_str(text)
        events = await client.until("response.completed", "error", "response.failed")
    assert events[-1]["type"] == "response.completed", events[-1]
    check(counted)
