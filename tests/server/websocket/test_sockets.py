"""The socket, end to end over a real connection, with a scripted upstream."""

import asyncio
import json

import pytest
from aiohttp import WSMsgType
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from support.scripted_upstream import (
    Scripted,
    answer,
    call,
    completed,
    done_item,
    message,
    opening,
    tool_call,
)

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.server.websocket import sockets

TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")


def text_of(event):
    return event["response"]["output"][0]["content"][0]["text"]


async def test_a_turn_streams_from_created_to_completed(serve):
    bridge = await serve(Scripted(answer("Hel", "lo")))
    client = await bridge.connect()
    events = await client.turn(input="hi")
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert text_of(events[-1]) == "Hello"
    assert all("stream_id" not in event for event in events)


async def test_a_named_lane_is_on_every_frame(serve):
    bridge = await serve(Scripted(answer("Hi")))
    client = await bridge.connect()
    events = await client.turn(input="hi", stream_id="main")
    assert {event["stream_id"] for event in events} == {"main"}


async def test_the_next_turn_sees_the_whole_history(serve):
    upstream = Scripted(answer("one"), answer("two"))
    client = await (await serve(upstream)).connect()
    first = (await client.turn(input="hi", store=False))[-1]["response"]
    await client.turn(input="more", store=False, previous_response_id=first["id"])
    history = upstream.requests[1].input()
    assert [item["role"] for item in history] == ["user", "assistant", "user"]
    assert history[1]["content"][0]["text"] == "one"


async def test_store_false_is_unknown_on_another_socket_and_over_http(serve):
    bridge = await serve(Scripted(answer("x")))
    first = (await (await bridge.connect()).turn(input="hi", store=False))[-1]["response"]
    other = await bridge.connect()
    [error] = await other.turn(input="more", previous_response_id=first["id"])
    assert error == {
        "type": "error",
        "status": 400,
        "error": {
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": f"Previous response with id '{first['id']}' not found.",
            "param": "previous_response_id",
        },
    }
    assert (await bridge.get(f"/v1/responses/{first['id']}"))[0] == 404


async def test_a_stored_chain_goes_on_from_another_socket_and_another_provider(serve):
    upstream = Scripted(answer("x"))
    bridge = await serve(upstream)
    first = (await (await bridge.connect()).turn(input="hi"))[-1]["response"]
    other = await bridge.connect()
    events = await other.turn(input="more", model="claude-x", previous_response_id=first["id"])
    assert events[-1]["type"] == "response.completed"
    assert [item["role"] for item in upstream.requests[1].input()] == ["user", "assistant", "user"]
    assert "id" not in upstream.requests[1].input()[1]


async def test_a_failed_continuation_evicts_its_parent_on_its_lane_only(serve):
    """The Open Responses suite's turns: ok, unknown call, then the first id is not found."""
    bridge = await serve(Scripted(answer("x")))
    client = await bridge.connect()
    first = (await client.turn(input="hi", store=False))[-1]["response"]["id"]
    orphan = [{"type": "function_call_output", "call_id": "call_none", "output": "1"}]
    [fork] = await client.turn(
        input=orphan, store=False, previous_response_id=first, stream_id="fork"
    )
    assert fork["error"]["param"] == "input"
    assert fork["stream_id"] == "fork"
    ok = await client.turn(input="still there", store=False, previous_response_id=first)
    assert ok[-1]["type"] == "response.completed"
    [refused] = await client.turn(input=orphan, store=False, previous_response_id=first)
    assert refused["error"]["message"] == (
        "No tool call found for function call output with call_id call_none."
    )
    [gone] = await client.turn(input="hi", store=False, previous_response_id=first)
    assert gone["error"]["code"] == "previous_response_not_found"


async def test_a_tool_loop_goes_through_the_history(serve):
    upstream = Scripted(tool_call(call_id="call_7"), answer("sunny"))
    client = await (await serve(upstream)).connect()
    first = (await client.turn(input="weather?", store=False))[-1]["response"]
    output = {"type": "function_call_output", "call_id": "call_7", "output": "22 C"}
    events = await client.turn(input=[output], store=False, previous_response_id=first["id"])
    assert text_of(events[-1]) == "sunny"
    kinds = [item["type"] for item in upstream.requests[1].input()]
    assert kinds == ["message", "function_call", "function_call_output"]


async def test_a_call_without_its_output_is_refused_with_openais_message(serve):
    client = await (await serve(Scripted(tool_call(call_id="call_7")))).connect()
    first = (await client.turn(input="weather?"))[-1]["response"]
    [error] = await client.turn(input="never mind", previous_response_id=first["id"])
    assert error["error"]["message"] == "No tool output found for function call call_7."


async def test_a_warm_up_answers_at_once_and_its_input_is_history(serve):
    upstream = Scripted(answer("x"))
    client = await (await serve(upstream)).connect()
    warm = await client.turn(input="be nice", generate=False, store=False)
    kinds = [event["type"] for event in warm]
    assert kinds == ["response.created", "response.in_progress", "response.completed"]
    assert warm[-1]["response"]["output"] == []
    assert warm[-1]["response"]["usage"]["total_tokens"] == 0
    assert upstream.requests == []
    await client.turn(input="hi", store=False, previous_response_id=warm[-1]["response"]["id"])
    assert [item["content"] for item in upstream.requests[0].input()] == ["be nice", "hi"]


async def test_lanes_run_side_by_side_and_a_lane_is_fifo(serve):
    gate = asyncio.Event()
    upstream = Scripted(
        [*opening(), gate, *message("slow"), completed(done_item("slow"))], answer()
    )
    client = await (await serve(upstream)).connect()
    await client.create(input="1", stream_id="a")
    await client.until("response.in_progress")
    await client.create(input="2", stream_id="a")
    on_b = await client.turn(input="3", stream_id="b")
    assert {event["stream_id"] for event in on_b} == {"b"}
    gate.set()
    first = await client.until("response.completed")
    second = await client.until("response.completed")
    assert text_of(first[-1]) == "slow"
    assert {event["stream_id"] for event in first + second} == {"a"}
    assert [request.input()[0]["content"] for request in upstream.requests] == ["1", "3", "2"]


async def test_cancel_ends_with_one_failed_event_of_status_cancelled(serve):
    upstream = Scripted([*opening(), *message("par")[:3], asyncio.Event()])
    client = await (await serve(upstream)).connect()
    await client.create(input="hi")
    created = await client.event()
    await client.until("response.output_text.delta")
    await client.ws.send_json({"type": "response.cancel", "response_id": created["response"]["id"]})
    [last] = await client.until(*TERMINALS)
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "cancelled"
    assert last["response"]["output"] == []
    assert last["response"]["error"] is None
    assert (upstream.closed, upstream.open_now) == (1, 0)


async def test_interrupt_keeps_finished_items_and_the_chain(serve):
    finished = message("whole")
    unfinished = message("half", index=1, item_id="msg_2")[:3]
    upstream = Scripted([*opening(), *finished, *unfinished, asyncio.Event()], answer("next"))
    client = await (await serve(upstream)).connect()
    await client.create(input="hi", store=False)
    events = await client.until("response.output_item.done")
    await client.until("response.output_text.delta")
    await client.ws.send_json({"type": "response.interrupt", "mode": "discard_partial_items"})
    last = (await client.until(*TERMINALS))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "interrupted"}
    assert last["response"]["end_turn"] is False
    assert [text_of(last)] == ["whole"]
    chained = await client.turn(
        input="go on", store=False, previous_response_id=events[0]["response"]["id"]
    )
    assert text_of(chained[-1]) == "next"


async def test_cancel_of_nothing_and_processed_are_answered_with_silence(serve):
    client = await (await serve(Scripted(answer("x")))).connect()
    await client.ws.send_json({"type": "response.cancel"})
    await client.ws.send_json({"type": "response.processed", "response_id": "resp_1"})
    assert (await client.turn(input="hi"))[0]["type"] == "response.created"


BAD_FRAMES = {
    "not JSON": "{",
    "empty": "",
    "null": "null",
    "array": "[]",
    "number": "17",
    "text": '"x"',
    "NaN": '{"type": NaN}',
    "20,000 brackets": "[" * 20_000,
    "no type": "{}",
    "type is a number": '{"type": 1}',
    "unknown type": '{"type": "response.explode"}',
    "model is a number": '{"type": "response.create", "model": 1, "input": "x"}',
    "no model": '{"type": "response.create", "input": "x"}',
    "unknown model": '{"type": "response.create", "model": "nope", "input": "x"}',
    "model that is off": '{"type": "response.create", "model": "off", "input": "x"}',
    "input is a number": '{"type": "response.create", "model": "m", "input": 1}',
    "items are numbers": '{"type": "response.create", "model": "m", "input": [1]}',
    "background": '{"type":"response.create","model":"m","input":"x","background":true}',
    "empty lane": '{"type":"response.create","model":"m","input":"x","stream_id":""}',
    "lane with spaces": '{"type":"response.create","model":"m","input":"x","stream_id":"a b"}',
    "lane too long": json.dumps(
        {"type": "response.create", "model": "m", "input": "x", "stream_id": "a" * 257}
    ),
    "lane is a number": '{"type":"response.create","model":"m","input":"x","stream_id":1}',
    "20 MiB of junk": "x" * (20 * 2**20),
}


@pytest.mark.catalogue("B12")
@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_is_one_clear_error_and_the_socket_lives_on(serve, frame):
    client = await (await serve(Scripted(answer("ok")))).connect()
    await client.ws.send_str(frame)
    error = await client.event()
    assert error["type"] == "error"
    assert isinstance(error["status"], int)
    assert error["error"]["code"]
    assert error["error"]["message"]
    assert text_of((await client.turn(input="hi"))[-1]) == "ok"


@pytest.mark.catalogue("B12")
async def test_so_many_bad_frames_in_a_row_are_answered_and_then_the_socket_is_closed(serve):
    """Binary ones count; after a good one the count starts again; other sockets notice nothing."""
    bridge = await serve(Scripted(answer("ok")), {"limits": {"bad_frames": 3}})
    client, other = await bridge.connect(), await bridge.connect()
    for _ in range(3):
        for send in (client.ws.send_str("{"), client.ws.send_bytes(b"{")):
            await send
            assert (await client.event())["type"] == "error"
        await client.ws.send_json({"type": "response.processed", "response_id": "resp_1"})
    for _ in range(3):
        await client.ws.send_str("{")
        assert (await client.event())["type"] == "error"
    end = await client.ws.receive(20)
    assert (end.type, end.data, end.extra) == (WSMsgType.CLOSE, 1008, "too many bad frames")
    assert text_of((await other.turn(input="hi"))[-1]) == "ok"


@pytest.mark.catalogue("B12")
@pytest.mark.parametrize(
    ("limits", "field", "message"),
    [
        ({"json_depth": 5}, [[[[["x"]]]]], "The request is nested more than 5 levels deep."),
        ({"json_keys": 9}, dict.fromkeys("abcdefghij"), "An object of the request has more than 9"),
        ({}, [[]] * 500_000, "The {what} has more than 500000 values."),
    ],
)
async def test_json_beyond_a_limit_is_one_error_over_socket_and_http(serve, limits, field, message):
    bridge = await serve(Scripted(answer("ok")), {"limits": limits})
    client = await bridge.connect()
    [error] = await client.turn(input="x", text={"x": field})
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"].startswith(message.format(what="message"))
    assert text_of((await client.turn(input="hi"))[-1]) == "ok"
    status, body = await bridge.post("/v1/responses", model="m", input="x", text={"x": field})
    assert status == 400
    assert body["error"]["message"].startswith(message.format(what="request body"))


@pytest.mark.catalogue("B11")
async def test_a_binary_message_is_one_error(serve):
    client = await (await serve(Scripted(answer("ok")))).connect()
    await client.ws.send_bytes(b"\x00\xff")
    assert (await client.event())["type"] == "error"
    assert text_of((await client.turn(input="hi"))[-1]) == "ok"


async def test_a_request_of_20_mib_is_served(serve):
    upstream = Scripted(answer("ok"))
    client = await (await serve(upstream)).connect()
    image = "data:image/png;base64," + "A" * (20 * 2**20)
    part = {"type": "input_image", "image_url": image}
    events = await client.turn(input=[{"role": "user", "content": [part]}])
    assert text_of(events[-1]) == "ok"
    assert upstream.requests[0].input()[0]["content"] == [part]


async def test_an_error_before_created_is_one_frame_and_after_it_one_failed_event(serve):
    refused = UpstreamError("Rate limit reached.", status=429, code=None, retry_after=7)
    broken = UpstreamError("The connection broke.")
    upstream = Scripted([refused], [*opening(), *message("par")[:3], broken], answer("ok"))
    client = await (await serve(upstream)).connect()
    [error] = await client.turn(input="1")
    assert error["status"] == 429
    assert error["headers"] == error["error"]["headers"] == {"retry-after": "7"}
    events = await client.turn(input="2")
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {
        "code": "server_error",
        "message": "The connection broke.",
    }
    assert text_of(events[-1]) == "par"
    assert text_of((await client.turn(input="3"))[-1]) == "ok"


async def test_an_end_without_a_terminal_event_is_a_failure(serve):
    client = await (await serve(Scripted([*opening(), *message("x")]))).connect()
    last = (await client.turn(input="hi"))[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")


@pytest.mark.catalogue("W20")
async def test_a_bug_in_an_upstream_gives_the_client_no_detail(serve):
    def crash(_request):
        yield from opening()
        raise ZeroDivisionError("/secret/path")

    client = await (await serve(Scripted(crash, answer("ok")))).connect()
    last = (await client.turn(input="hi"))[-1]
    assert last["type"] == "response.failed"
    assert "secret" not in json.dumps(last)
    assert text_of((await client.turn(input="hi"))[-1]) == "ok"


async def test_a_stored_response_outlives_its_client(serve):
    gate = asyncio.Event()
    upstream = Scripted([*opening(), gate, *message("late"), completed(done_item("late"))])
    bridge = await serve(upstream)
    client = await bridge.connect()
    await client.create(input="hi")
    created = await client.event()
    await client.ws.close()
    gate.set()
    path = f"/v1/responses/{created['response']['id']}"
    async with bridge.session.get(bridge.url + path + "?stream=true") as answer_:
        text = await answer_.text()
    assert text.endswith("data: [DONE]\n\n")
    status, response = await bridge.get(path)
    assert (status, response["status"]) == (200, "completed")
    assert response["output"][0]["content"][0]["text"] == "late"


async def test_closing_a_socket_cancels_what_is_not_stored(serve):
    gone = asyncio.Event()

    class Watched(Scripted):
        async def open(self, request):
            answer = await super().open(request)
            answer.on_close(lambda _: gone.set())
            return answer

    bridge = await serve(Watched([*opening(), asyncio.Event()]))
    client = await bridge.connect()
    await client.create(input="hi", store=False)
    await client.event()
    await client.ws.close()
    await asyncio.wait_for(gone.wait(), HANG_SECONDS)


async def test_the_socket_gets_created_soon_even_from_a_silent_provider(serve):
    """And something now and then while nothing comes: the data keepalive."""
    waits: list[tuple[float, asyncio.Event]] = []
    monotonic = [0.0]

    async def sleep(seconds: float) -> None:
        turned = asyncio.Event()
        waits.append((seconds, turned))
        await turned.wait()

    async def turn(seconds: float) -> None:
        while not any(each == seconds for each, _ in waits):  # noqa: ASYNC110 - it is the loop
            await asyncio.sleep(0)
        monotonic[0] += seconds
        for each, turned in waits:
            if each == seconds:
                turned.set()
        waits[:] = [wait for wait in waits if wait[0] != seconds]

    gate = asyncio.Event()
    clock = Clock(monotonic=lambda: monotonic[0], sleep=sleep)
    script = [gate, *answer("x")]
    server = {"created_after_seconds": 2, "data_keepalive_seconds": 30}
    bridge = await serve(Scripted(script), {"server": server}, clock=clock)
    client = await bridge.connect()
    await client.create(input="hi")
    await turn(2.0)
    assert [event["type"] for event in await client.until("response.in_progress")] == [
        "response.created",
        "response.in_progress",
    ]
    await turn(30.0)
    keepalive = await client.event()
    assert (keepalive["type"], keepalive["sequence_number"]) == ("response.in_progress", 2)
    gate.set()
    rest = await client.until("response.completed")
    assert [event["sequence_number"] for event in rest] == list(range(3, 3 + len(rest)))
    assert rest[0]["type"] == "response.output_item.added"


@pytest.mark.catalogue("C19")
async def test_a_connection_of_its_age_ends_between_turns(serve):
    hands, gate = FakeClock(), asyncio.Event()
    upstream = Scripted([*opening(), gate, *message("x"), completed(done_item("x"))])
    client = await (await serve(upstream, clock=hands.clock())).connect()
    await client.create(input="hi")
    await client.until("response.in_progress")
    await client.create(input="waits")
    hands.advance(3599)
    hands.advance(1)
    await client.ws.send_str("{")
    await client.event()
    gate.set()
    assert (await client.until("response.completed"))[-1]["response"]["status"] == "completed"
    refused, limit = await client.event(), await client.event()
    assert refused == limit
    assert limit["error"] == {
        "type": "invalid_request_error",
        "code": "websocket_connection_limit_reached",
        "message": "Responses websocket connection limit reached (60 minutes). "
        "Create a new websocket connection to continue.",
    }
    assert (await client.ws.receive()).type is WSMsgType.CLOSE
    assert client.ws.close_code == 1001


async def test_the_query_names_a_default_model_and_unknown_fields_are_ignored(serve):
    upstream = Scripted(answer("x"))
    bridge = await serve(upstream)
    ws = await bridge.session.ws_connect(bridge.url + "/v1/responses?model=m&api-version=1")
    forbidden = {"api_base": "http://evil", "api_key": "k", "mock_response": "x", "stream": True}
    await ws.send_json({"type": "response.create", "input": "hi", "stream": True, **forbidden})
    assert (await ws.receive_json())["response"]["model"] == "gpt-scripted"
    assert not forbidden.keys() & upstream.requests[0].options.keys()


async def test_whatever_ids_a_provider_sends_the_bridge_keeps_its_own(serve):
    response = {"id": "resp_theirs", "store": True, "previous_response_id": "resp_x"}
    script = [Draft("response.created", {"response": response}), *message("x"), completed(call())]
    client = await (await serve(Scripted(script))).connect()
    events = await client.turn(input="hi", store=False)
    snapshots = [event["response"] for event in events if "response" in event]
    assert len({snapshot["id"] for snapshot in snapshots}) == 1
    assert "resp_theirs" not in json.dumps(events)
    assert {snapshot["store"] for snapshot in snapshots} == {False}


@pytest.mark.catalogue("A7")
async def test_turns_to_go_on_from_are_kept_within_bytes_and_gone_with_the_connection(serve):
    """Unstored ones are nowhere else: 24 of 20 MiB were kept, for there were not too many."""
    bridge = await serve(Scripted(answer("x")), {"limits": {"cached_mib_per_connection": 1}})
    cache = bridge.bridge._sockets.cache
    client = await bridge.connect()
    made = []
    for number in range(8):
        turn = await client.turn(input="x" * 300_000, store=False, stream_id=f"lane-{number}")
        made.append(turn[-1]["response"]["id"])
        assert cache.size <= 2**20
    assert cache.size > 2**19
    for response_id, kind in ((made[0], "error"), (made[-1], "response.completed")):
        turn = await client.turn(
            input="go on", store=False, stream_id="lane-0", previous_response_id=response_id
        )
        assert turn[-1]["type"] == kind
    assert turn[-1]["response"]["previous_response_id"] == made[-1]
    await client.ws.close()
    async with asyncio.timeout(HANG_SECONDS):
        while cache.size:  # noqa: ASYNC110 - the server's end of it
            await asyncio.sleep(0)


@pytest.mark.catalogue("A7")
async def test_a_chain_that_outgrows_its_bytes_starts_again_and_harms_no_other(serve):
    bridge = await serve(Scripted(answer("x")), {"limits": {"cached_mib_per_connection": 1}})
    client, other = await bridge.connect(), await bridge.connect()
    kept = (await other.turn(input="hi", store=False))[-1]["response"]["id"]
    kinds, previous = [], None
    for _ in range(5):
        turn = await client.turn(input="x" * 300_000, store=False, previous_response_id=previous)
        kinds.append(turn[-1]["type"])
        previous = turn[-1]["response"]["id"] if "response" in turn[-1] else None
    assert kinds == [*["response.completed"] * 4, "error"]
    assert turn[-1]["error"]["code"] == "previous_response_not_found"
    assert (await client.turn(input="anew", store=False))[-1]["type"] == "response.completed"
    turn = await other.turn(input="go on", store=False, previous_response_id=kept)
    assert turn[-1]["type"] == "response.completed"


async def test_a_bug_of_the_receiving_side_closes_the_socket_and_is_no_http_among_the_frames(
    serve, monkeypatch, caplog
):
    def crash(*_):
        raise LookupError

    client = await (await serve(Scripted(answer("ok")))).connect()
    monkeypatch.setattr(sockets, "read_frame", crash)
    await client.create(input="hi")
    closed = await client.ws.receive(timeout=HANG_SECONDS)
    assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 1011, "internal error")
    assert [line.message for line in caplog.records if line.levelname == "ERROR"] == [
        "socket_crashed"
    ]
