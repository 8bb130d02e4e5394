"""`response.steer`, end to end over a real connection, with a scripted upstream."""

import asyncio
import json

import pytest
from aiohttp import WSMsgType
from support.scripted_upstream import (
    Scripted,
    ScriptedAnswer,
    answer,
    call,
    completed,
    done_item,
    message,
    opening,
    tool_call,
)

from ws_bridge.errors import UpstreamError

TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
ACCEPTED, PENDING, FAILED = (f"response.steer.{kind}" for kind in ("accepted", "pending", "failed"))
SUCCESSOR_FAILED = "successor_creation_failed"


def texts(items):
    """The text of each message or output, whatever its form."""
    return [_text(item.get("content") or item.get("output") or item["type"]) for item in items]


def _text(content):
    return content if isinstance(content, str) else content[0]["text"]


def held(*deltas):
    """A whole text response that waits in the middle of its message."""
    gate = asyncio.Event()
    first, *rest = message(*deltas)[2:]
    text = "".join(deltas)
    script = [*opening(), *message(*deltas)[:2], first, gate, *rest, completed(done_item(text))]
    return script, gate


async def begin(client, until="response.output_text.delta", **fields):
    """A create that has come so far; the response's id."""
    await client.create(input="hi", **fields)
    events = await client.until(until)
    return events[0]["response"]["id"]


async def steer(client, target, given="Keep it short."):
    frame = {"type": "response.steer", "previous_response_id": target, "input": given}
    await client.ws.send_json(frame)


async def accepted(client, target, given="Keep it short."):
    """A steer that is accepted at once; its id."""
    await steer(client, target, given)
    event = await client.event()
    assert (event["type"], event["steer"]["previous_response_id"]) == (ACCEPTED, target)
    return event["steer"]["id"]


async def events_of(bridge, response_id):
    """What a follower reads of a response that has ended."""
    url = f"{bridge.url}/v1/responses/{response_id}?stream=true"
    async with bridge.session.get(url) as log:
        lines = (await log.text()).splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    return [json.loads(line) for line in data]


async def test_a_steered_answer_ends_after_its_item_and_a_successor_goes_on(serve):
    script, gate = held("Once ", "upon")
    upstream = Scripted(script, answer("Short."))
    bridge = await serve(upstream)
    client = await bridge.connect()
    await client.create(input="hi", instructions="Be nice.", temperature=0.5)
    events = await client.until("response.output_text.delta")
    target = events[0]["response"]["id"]
    await steer(client, target)
    events.append(await client.event())
    assert events[-1]["type"] == ACCEPTED
    gate.set()
    events += await client.until(*TERMINALS)
    ended = events[-1]["response"]
    assert (events[-1]["type"], ended["status"]) == ("response.incomplete", "incomplete")
    assert ended["incomplete_details"] == {"reason": "steered"}
    assert texts(ended["output"]) == ["Once upon"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))

    after = await client.until(*TERMINALS)
    successor = after[-1]["response"]
    assert (after[0]["type"], after[0]["sequence_number"]) == ("response.created", 0)
    assert (successor["status"], texts(successor["output"])) == ("completed", ["Short."])
    assert successor["previous_response_id"] == target
    assert (successor["instructions"], successor["temperature"]) == ("Be nice.", 0.5)
    assert texts(upstream.requests[1].input()) == ["hi", "Once upon", "Keep it short."]
    assert upstream.requests[1].options["instructions"] == "Be nice."

    assert (await bridge.get(f"/v1/responses/{target}"))[1] == ended
    items = (await bridge.get(f"/v1/responses/{successor['id']}/input_items?order=asc"))[1]
    assert texts(items["data"]) == ["hi", "Once upon", "Keep it short."]
    assert await events_of(bridge, target) == events
    assert await events_of(bridge, successor["id"]) == after


async def test_steers_go_on_together_in_their_order(serve):
    script, gate = held("x")
    upstream = Scripted(script, answer("y"))
    client = await (await serve(upstream)).connect()
    target = await begin(client)
    ids = {await accepted(client, target, text) for text in ("1", "2", "3")}
    assert len(ids) == 3
    gate.set()
    await client.until("response.incomplete")
    await client.until("response.completed")
    assert texts(upstream.requests[1].input()) == ["hi", "x", "1", "2", "3"]
    assert len(upstream.requests) == 2


async def test_images_and_files_can_be_steered(serve):
    script, gate = held("x")
    upstream = Scripted(script, answer("y"))
    client = await (await serve(upstream)).connect()
    target = await begin(client)
    parts = [{"type": "input_image", "image_url": "data:,"}, {"type": "input_text", "text": "So."}]
    await accepted(client, target, [{"role": "user", "content": parts}])
    gate.set()
    await client.until("response.completed")
    assert upstream.requests[1].input()[-1] == {
        "type": "message",
        "role": "user",
        "content": parts,
    }


@pytest.mark.parametrize("finished", [[], message("whole")])
async def test_where_no_item_is_half_sent_the_answer_ends_at_once(serve, finished):
    """In the silence before the first item, and in the one between two."""
    upstream = Scripted([*opening(), *finished, asyncio.Event()], answer("y"))
    client = await (await serve(upstream)).connect()
    last = "response.output_item.done" if finished else "response.in_progress"
    target = await begin(client, until=last)
    await accepted(client, target)
    [ended] = await client.until(*TERMINALS)
    assert ended["response"]["incomplete_details"] == {"reason": "steered"}
    assert texts(ended["response"]["output"]) == (["whole"] if finished else [])
    assert (await client.until(*TERMINALS))[-1]["type"] == "response.completed"
    assert (upstream.closed, upstream.open_now) == (1, 0)


async def test_an_item_that_begins_right_after_the_good_place_is_never_sent(serve):
    """What a provider sends in one piece comes faster than any cancel."""
    more = message("b", index=1, item_id="msg_2")
    gate = asyncio.Event()
    first = message("a")
    script = [*opening(), *first[:3], gate, *first[3:], *more, completed()]
    client = await (await serve(Scripted(script, answer("y")))).connect()
    target = await begin(client)
    await accepted(client, target)
    gate.set()
    events = await client.until(*TERMINALS)
    assert events[-1]["response"]["incomplete_details"] == {"reason": "steered"}
    assert {event.get("output_index", 0) for event in events} == {0}
    assert texts(events[-1]["response"]["output"]) == ["a"]


@pytest.mark.parametrize("lane", [{}, {"stream_id": "main"}])
async def test_a_steer_stays_on_its_lane_and_goes_before_what_waits_there(serve, lane):
    script, gate = held("x")
    other, other_gate = held("other")
    upstream = Scripted(script, other, answer("steered"), answer("waited"))
    client = await (await serve(upstream)).connect()
    target = await begin(client, **lane)
    await begin(client, stream_id="other")
    await client.create(input="waits", **lane)
    await accepted(client, target)
    gate.set()
    events = await client.until("response.incomplete")
    for text in ("steered", "waited"):
        turn = await client.until(*TERMINALS)
        assert texts(turn[-1]["response"]["output"]) == [text]
        events += turn
    assert {event.get("stream_id") for event in events} == {lane.get("stream_id")}
    assert texts(upstream.requests[3].input()) == ["waits"]
    other_gate.set()
    last = (await client.until(*TERMINALS))[-1]
    assert (last["stream_id"], last["type"]) == ("other", "response.completed")


@pytest.mark.parametrize("lane", [{}, {"stream_id": "main"}])
async def test_a_target_that_had_completed_stays_so_and_the_successor_follows(serve, lane):
    """The client reads so slowly that the steer comes when all was published, but not all sent."""
    large = ["x" * 2**20] * 4  # the events repeat it: five times as much
    upstream = Scripted(answer(*large), answer("y"))
    bridge = await serve(upstream)
    client = await bridge.connect()
    await client.create(input="hi", **lane)
    target = (await client.event())["response"]["id"]
    async with bridge.session.get(f"{bridge.url}/v1/responses/{target}?stream=true") as log:
        await log.read()  # to its end
    await steer(client, target)
    events = await client.until("response.completed")
    reply = await client.event()
    assert reply["type"] == ACCEPTED
    assert reply["sequence_number"] == events[-1]["sequence_number"] + 1
    assert reply.get("stream_id") == lane.get("stream_id")
    after = await client.until(*TERMINALS)
    assert after[-1]["response"]["previous_response_id"] == target
    assert texts(upstream.requests[1].input())[-1] == "Keep it short."
    assert (await bridge.get(f"/v1/responses/{target}"))[1]["status"] == "completed"


async def test_a_successor_can_be_steered_again(serve):
    (one, gate), (two, again) = held("one"), held("two")
    upstream = Scripted(one, two, answer("three"))
    client = await (await serve(upstream)).connect()
    target = await begin(client)
    await accepted(client, target, "first")
    gate.set()
    await client.until("response.incomplete")
    successor = (await client.until("response.output_text.delta"))[0]["response"]["id"]
    await accepted(client, successor, "second")
    again.set()
    await client.until("response.incomplete")
    assert texts((await client.until(*TERMINALS))[-1]["response"]["output"]) == ["three"]
    assert texts(upstream.requests[2].input()) == ["hi", "one", "first", "two", "second"]


async def test_what_is_not_stored_is_steered_all_the_same(serve):
    script, gate = held("x")
    bridge = await serve(Scripted(script, answer("y"), answer("z")))
    client = await bridge.connect()
    target = await begin(client, store=False)
    await accepted(client, target)
    gate.set()
    await client.until("response.incomplete")
    successor = (await client.until("response.completed"))[-1]["response"]
    assert successor["store"] is False
    for response_id in (target, successor["id"]):
        assert (await bridge.get(f"/v1/responses/{response_id}"))[0] == 404
        chained = await client.turn(input="on", store=False, previous_response_id=response_id)
        assert chained[-1]["type"] == "response.completed"


# Calls that the client answers


@pytest.mark.parametrize("lane", [{}, {"stream_id": "main"}])
async def test_after_a_call_the_steers_wait_for_the_create_that_brings_its_output(serve, lane):
    gate = asyncio.Event()
    script = tool_call(call_id="call_7")
    upstream = Scripted([*script[:4], gate, *script[4:]], answer("other"), answer("sunny"))
    client = await (await serve(upstream)).connect()
    target = await begin(client, until="response.function_call_arguments.delta", **lane)
    ids = [await accepted(client, target, text) for text in ("1", "2")]
    gate.set()
    ended = (await client.until(*TERMINALS))[-1]
    assert ended["type"] == "response.completed"
    stub = {"type": "function_call_output", "call_id": "call_7", "name": "get_weather"}
    for place, steer_id in enumerate(ids, 1):
        assert await client.event() == {
            "type": PENDING,
            "sequence_number": ended["sequence_number"] + place,
            **lane,
            "steer": {"id": steer_id, "previous_response_id": target},
            "reason": "waiting_for_required_input",
            "required_input": [stub],
        }
    await client.turn(input="something else", **lane)
    output = {**stub, "output": "22 C"}
    turn = await client.turn(
        input=[output, {"role": "user", "content": "And?"}], previous_response_id=target, **lane
    )
    assert texts(turn[-1]["response"]["output"]) == ["sunny"]
    reply = texts(upstream.requests[2].input())
    assert reply == ["hi", "function_call", "22 C", "1", "2", "And?"]


async def test_between_two_calls_and_after_one_the_answer_goes_on(serve):
    """Its calls would have no outputs in the successor's history."""
    gate = asyncio.Event()
    script = tool_call()
    whole = [*script[:-1], gate, *message("So.", index=1), completed(call(), done_item("So."))]
    client = await (await serve(Scripted(whole))).connect()
    target = await begin(client, until="response.output_item.done")
    await accepted(client, target)
    gate.set()
    assert (await client.until(*TERMINALS))[-1]["type"] == "response.completed"
    assert (await client.event())["type"] == PENDING


async def test_nothing_is_pending_when_the_outputs_are_here_already(serve):
    gate = asyncio.Event()
    script = tool_call(call_id="call_7")
    upstream = Scripted([*script[:-1], gate, script[-1]], answer("sunny"))
    client = await (await serve(upstream)).connect()
    target = await begin(client, until="response.output_item.done")
    await accepted(client, target)
    output = {"type": "function_call_output", "call_id": "call_7", "output": "22 C"}
    await client.create(input=[output], previous_response_id=target)
    await client.ws.send_str("{")  # its answer comes when the create was received
    assert (await client.event())["type"] == "error"
    gate.set()
    events = await client.until("response.completed") + await client.until("response.completed")
    assert PENDING not in {event["type"] for event in events}
    assert texts(upstream.requests[1].input())[-2:] == ["22 C", "Keep it short."]


# Stopping


@pytest.mark.parametrize("lane", [{}, {"stream_id": "main"}])
async def test_a_cancel_of_a_steered_response_hands_the_steers_back(serve, lane):
    script, _ = held("x")
    upstream = Scripted(script, answer("y"))
    client = await (await serve(upstream)).connect()
    target = await begin(client, **lane)
    steer_id = await accepted(client, target)
    await client.ws.send_json({"type": "response.cancel", "response_id": target})
    ended = (await client.until(*TERMINALS))[-1]
    assert ended["response"]["status"] == "cancelled"
    assert await client.event() == {
        "type": FAILED,
        "sequence_number": ended["sequence_number"] + 1,
        **lane,
        "error": {
            "type": "invalid_request_error",
            "code": "response_not_active",
            "message": "The response takes no more steering input.",
        },
        "steer": {"previous_response_id": target, "input": "Keep it short.", "id": steer_id},
    }
    assert (await client.turn(input="next"))[-1]["type"] == "response.completed"
    assert len(upstream.requests) == 2


async def test_a_cancel_counts_while_the_steered_response_still_ends(serve):
    """Its provider takes long to close; no successor is wanted any more."""
    closing, left = asyncio.Event(), asyncio.Event()

    class SlowAnswer(ScriptedAnswer):
        async def close(self, *how, **more):
            closing.set()
            await left.wait()
            await super().close(*how, **more)

    class Slow(Scripted):
        def make(self, request, steps):
            return SlowAnswer(self, request, steps)

    upstream = Slow([*opening(), asyncio.Event()], answer("y"))
    client = await (await serve(upstream)).connect()
    target = await begin(client, until="response.in_progress")
    await accepted(client, target)
    await closing.wait()
    await client.ws.send_json({"type": "response.cancel"})
    await client.ws.send_str("{")
    assert (await client.event())["type"] == "error"
    left.set()
    assert (await client.until(*TERMINALS))[-1]["response"]["status"] == "cancelled"
    assert (await client.event())["error"]["code"] == "response_not_active"
    assert len(upstream.requests) == 1


async def test_an_interrupt_of_a_steered_response_ends_it_now_and_the_successor_follows(serve):
    script, _ = held("half")
    upstream = Scripted(script, answer("y"))
    client = await (await serve(upstream)).connect()
    target = await begin(client)
    await accepted(client, target)
    await client.ws.send_json({"type": "response.interrupt", "response_id": target})
    ended = (await client.until(*TERMINALS))[-1]["response"]
    assert ended["incomplete_details"] == {"reason": "interrupted"}
    assert ended["output"] == []
    assert (await client.until(*TERMINALS))[-1]["response"]["previous_response_id"] == target
    assert texts(upstream.requests[1].input()) == ["hi", "Keep it short."]


async def test_a_client_that_is_gone_has_no_successor(serve):
    script, gate = held("x")
    upstream = Scripted(script, answer("y"))
    bridge = await serve(upstream)
    client = await bridge.connect()
    target = await begin(client)
    await accepted(client, target)
    await client.ws.close()
    gate.set()
    assert (await events_of(bridge, target))[-1]["response"]["status"] == "incomplete"
    other = await bridge.connect()
    await steer(other, target)
    assert (await other.event())["error"]["code"] == "response_not_found"
    assert (await other.turn(input="on", previous_response_id=target))[-1]["type"] in TERMINALS
    assert texts(upstream.requests[1].input()) == ["hi", "x", "on"]
    assert len(upstream.requests) == 2


# What comes back


@pytest.mark.parametrize("lane", [{}, {"stream_id": "main"}])
async def test_a_successor_that_is_refused_hands_the_steers_back_and_its_parent_stays(serve, lane):
    script, gate = held("x")
    refused = UpstreamError("Rate limit reached.", status=429, code=None, retry_after=7)
    upstream = Scripted(script, [refused], answer("y"))
    client = await (await serve(upstream)).connect()
    target = await begin(client, store=False, **lane)
    ids = [await accepted(client, target, text) for text in ("1", "2")]
    gate.set()
    ended = (await client.until(*TERMINALS))[-1]
    for place, (steer_id, text) in enumerate(zip(ids, ("1", "2"), strict=True), 1):
        failed = await client.event()
        assert (failed["type"], failed["error"]["code"]) == (FAILED, SUCCESSOR_FAILED)
        assert failed["sequence_number"] == ended["sequence_number"] + place
        assert failed["steer"] == {"previous_response_id": target, "input": text, "id": steer_id}
        assert failed.get("stream_id") == lane.get("stream_id")
    again = await client.turn(input="1", store=False, previous_response_id=target, **lane)
    assert again[-1]["type"] == "response.completed"
    assert texts(upstream.requests[2].input()) == ["hi", "x", "1"]


async def test_a_successor_that_fails_after_its_created_has_taken_the_steers(serve):
    script, gate = held("x")
    broken = [*opening(), *message("y")[:3], UpstreamError("The connection broke.")]
    client = await (await serve(Scripted(script, broken, answer("z")))).connect()
    await accepted(client, await begin(client))
    gate.set()
    await client.until("response.incomplete")
    assert (await client.until(*TERMINALS))[-1]["type"] == "response.failed"
    events = await client.turn(input="next")
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")


async def test_a_target_that_fails_hands_its_steers_back(serve):
    script, gate = held("x")
    script = [*script[: script.index(gate) + 1], UpstreamError("The connection broke.")]
    client = await (await serve(Scripted(script, answer("z")))).connect()
    steer_id = await accepted(client, await begin(client))
    gate.set()
    assert (await client.until(*TERMINALS))[-1]["type"] == "response.failed"
    failed = await client.event()
    assert (failed["error"]["code"], failed["steer"]["id"]) == ("response_not_active", steer_id)
    assert (await client.turn(input="next"))[-1]["type"] == "response.completed"


async def test_a_drain_hands_the_steers_back_and_takes_no_more(serve):
    script, gate = held("x")
    upstream = Scripted(script, answer("y"))
    bridge = await serve(upstream)
    bridge.bridge.force.clear()
    client = await bridge.connect()
    target = await begin(client)
    steer_id = await accepted(client, target, "1")
    ending = asyncio.create_task(bridge.bridge.app.shutdown())
    await client.create(input="late", stream_id="b")
    assert (await client.event())["error"]["code"] == "server_draining"
    await steer(client, target, "2")
    refused = await client.event()
    assert (refused["type"], refused["error"]["code"]) == (FAILED, SUCCESSOR_FAILED)
    assert "id" not in refused["steer"]
    gate.set()
    ended = (await client.until(*TERMINALS))[-1]["response"]
    assert ended["incomplete_details"] == {"reason": "steered"}
    failed = await client.event()
    assert failed["error"]["code"] == SUCCESSOR_FAILED
    assert failed["steer"] == {"previous_response_id": target, "input": "1", "id": steer_id}
    assert (await client.ws.receive()).type is WSMsgType.CLOSE
    assert client.ws.close_code == 1012
    await ending
    assert len(upstream.requests) == 1


async def test_a_refused_steer_of_a_running_response_is_an_event_of_its_log(serve):
    script, gate = held("x")
    bridge = await serve(Scripted(script))
    client = await bridge.connect()
    await client.create(input="hi")
    events = await client.until("response.output_text.delta")
    target = events[0]["response"]["id"]
    await steer(client, target, [])
    events.append(await client.event())
    assert (events[-1]["type"], events[-1]["error"]["code"]) == (FAILED, "invalid_input")
    gate.set()
    events += await client.until(*TERMINALS)
    assert events[-1]["type"] == "response.completed"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert await events_of(bridge, target) == events


async def test_warm_ups_and_unknown_and_ended_responses_are_refused(serve):
    client = await (await serve(Scripted(answer("x")))).connect()
    first = (await client.turn(input="hi"))[-1]
    for target, code in (
        (first["response"]["id"], "response_already_completed"),
        ("resp_unknown", "response_not_found"),
        ("", "invalid_input"),
    ):
        await steer(client, target)
        failed = await client.event()
        assert (failed["type"], failed["error"]["code"]) == (FAILED, code)
        assert failed["steer"] == {"previous_response_id": target, "input": "Keep it short."}


async def test_what_compacts_itself_or_is_bound_to_a_conversation_is_not_steered(serve):
    script, gate = held("x")
    bridge = await serve(Scripted(script, script))
    conversation = (await bridge.post("/v1/conversations", metadata={}))[1]["id"]
    client = await bridge.connect()
    for lane, options in (
        ("a", {"context_management": [{"type": "compaction", "compact_threshold": 100_000}]}),
        ("b", {"conversation": conversation}),
    ):
        target = await begin(client, stream_id=lane, **options)
        await steer(client, target)
        failed = await client.event()
        assert failed["error"]["code"] == "steering_not_supported"
        assert failed["stream_id"] == lane
    gate.set()
    ends = [(await client.until(*TERMINALS))[-1]["type"] for _ in range(2)]
    assert ends == ["response.completed"] * 2


ODD = {
    "a target that is a list": '{"previous_response_id":[],"input":"x"}',
    "a target that is an object": '{"previous_response_id":{},"input":"x"}',
    "no target": '{"input":"x"}',
    "no input": '{"previous_response_id":"TARGET"}',
    "a part whose type is a list": (
        '{"previous_response_id":"TARGET","input":[{"role":"user","content":[{"type":[]}]}]}'
    ),
    "a bottomless input": '{"previous_response_id":"TARGET","input":' + "[" * 900 + "]" * 900 + "}",
    "a bottomless target": '{"input":"x","previous_response_id":' + "[" * 900 + "]" * 900 + "}",
    "a bottomless field": '{"previous_response_id":"TARGET","x":' + "[" * 900 + "]" * 900 + "}",
}


@pytest.mark.parametrize("frame", ODD.values(), ids=ODD.keys())
async def test_an_odd_steer_is_refused_and_the_socket_and_the_response_live_on(serve, frame):
    script, gate = held("x")
    client = await (await serve(Scripted(script))).connect()
    target = await begin(client)
    await client.ws.send_str('{"type":"response.steer",' + frame.replace("TARGET", target)[1:])
    failed = await client.event()
    assert (failed["type"], failed["error"]["code"]) == (FAILED, "invalid_input")
    assert isinstance(failed["steer"]["previous_response_id"], str)
    assert failed["steer"]["input"] is not None
    gate.set()
    assert (await client.until(*TERMINALS))[-1]["type"] == "response.completed"
