"""docs/asyncapi.yaml as it is spoken: every frame of both sides on a real socket fits it."""

import asyncio
import json

from contract.validation import asyncapi_document, problems
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

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.steering import ACCEPTED, FAILED, PENDING

MESSAGES = asyncapi_document()["components"]["messages"]
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


class Talk:
    """A socket whose frames are held against the document."""

    def __init__(self, client) -> None:
        self._client = client

    async def send(self, kind, **fields):
        frame = {"type": kind, **fields}
        assert self._problems(frame) == []
        await self._client.ws.send_json(frame)

    async def create(self, **fields):
        await self.send("response.create", model="m", input="hi", **fields)

    async def until(self, *kinds):
        """The frame with which they end."""
        events = await self._client.until(*kinds)
        assert [found for event in events for found in self._problems(event)] == []
        return events[-1]

    async def refused(self, text):
        """The code of the error that some text gets."""
        await self._client.ws.send_str(text)
        return (await self.until("error"))["error"]["code"]

    def _problems(self, frame):
        schema = MESSAGES[frame["type"]]["payload"]
        return [*problems(frame, schema, asyncapi_document()["components"])]


def held(*end):
    """A response that waits in the middle of its message."""
    gate = asyncio.Event()
    first, *rest = message("Once ", "upon")[2:]
    return [*opening(), *message("Once ", "upon")[:2], first, gate, *rest, *end], gate


async def talk_with(serve, *scripts, **config):
    return Talk(await (await serve(Scripted(*scripts), config or None)).connect())


async def test_frames_and_errors_are_as_described(serve):
    talk = await talk_with(serve, answer("Hi"), [UpstreamError("No.", status=429, retry_after=2)])
    await talk.create(stream_id="main", store=False, stream=True)
    assert (await talk.until(*ENDS))["stream_id"] == "main"
    await talk.send("response.processed", response_id="resp_1")
    await talk.create()
    assert (await talk.until(*ENDS))["headers"] == {"retry-after": "2"}
    for text in ("{", "[]", "{}", '{"type": "response.inject"}'):
        assert await talk.refused(text) == "invalid_request_error"
    create = {"type": "response.create", "model": "m", "input": "hi"}
    for wrong, code in (
        ({"stream_id": ""}, "invalid_stream_id"),
        ({"background": True}, "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_not_found"),
        ({"model": "none", "stream_id": "other"}, "model_not_found"),
    ):
        assert await talk.refused(json.dumps(create | wrong)) == code


async def test_ends_that_a_client_asks_for_are_as_described(serve):
    cancelled, _ = held()
    interrupted, _ = held()
    talk = await talk_with(serve, cancelled, interrupted)
    await talk.create()
    await talk.until("response.output_text.delta")
    await talk.send("response.cancel")
    assert (await talk.until(*ENDS))["response"]["status"] == "cancelled"
    await talk.create(stream_id="main")
    begun = await talk.until("response.created")
    await talk.until("response.output_text.delta")
    await talk.send("response.interrupt", response_id=begun["response"]["id"], stream_id="main")
    assert (await talk.until(*ENDS))["type"] == "response.incomplete"


async def test_steering_is_as_described(serve):
    steered, gate = held(completed(done_item("Once upon")))
    calling = asyncio.Event()
    *before, end = tool_call()
    talk = await talk_with(serve, steered, answer("Short."), [*before, calling, end])
    await talk.create()
    begun = await talk.until("response.created")
    await talk.until("response.output_text.delta")
    target = begun["response"]["id"]
    message_of_user = {"role": "user", "content": [{"type": "input_text", "text": "Be short."}]}
    for given in ("Be short.", [message_of_user]):
        await talk.send("response.steer", previous_response_id=target, input=given)
        await talk.until(ACCEPTED)
    gate.set()
    await talk.until("response.incomplete")
    await talk.until("response.completed")
    await talk.send("response.steer", previous_response_id="resp_1", input="Too late.")
    assert (await talk.until(FAILED))["error"]["code"] == "response_not_found"
    await talk.create()
    begun = await talk.until("response.created")
    await talk.until("response.function_call_arguments.done")
    await talk.send("response.steer", previous_response_id=begun["response"]["id"], input="And?")
    await talk.until(ACCEPTED)
    calling.set()
    pending = await talk.until(PENDING)
    assert pending["required_input"][0]["call_id"] == call()["call_id"]
