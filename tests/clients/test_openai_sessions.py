"""openai's lanes: `AsyncResponsesWebSocketSession` and its sync twin, forks included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from clients.reading import call_output
from clients.servers import Family, Gate
from clients.tape import Tape
from openai import AsyncOpenAI, OpenAI
from openai.lib.responses_websocket import (
    AsyncResponsesWebSocketSession,
    ResponsesWebSocketError,
    ResponsesWebSocketLimits,
    ResponsesWebSocketSession,
)
from openai.lib.responses_websocket._session import AsyncResponsesWebSocketLane
from openai.types.responses import Response
from support.hang import HANG_SECONDS

LIMITS = ResponsesWebSocketLimits(
    max_lanes=20,
    max_events_per_lane=1024,  # more than a whole answer, so that nothing depends on who is quicker
    max_events=2048,
    max_bytes_per_lane=1 << 24,
    max_bytes=1 << 25,
)


@asynccontextmanager
async def lanes(client: AsyncOpenAI) -> AsyncIterator[AsyncResponsesWebSocketSession]:
    async with (
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        yield session


async def ask(lane: AsyncResponsesWebSocketLane, **create: Any) -> Response:
    await lane.send({"type": "response.create", "store": False, **create})
    response = await lane.get_final_response()
    assert response.status == "completed", response
    return response


async def test_sixteen_lanes_at_once_get_their_own_answers(
    aclient: AsyncOpenAI, gate: Callable[[str], Gate], tape: Tape
):
    """No answer goes on before all sixteen are asked for."""
    closed = gate("gate2-echo")
    sent = asyncio.Semaphore(0)
    tape.on_sent = sent.release
    async with lanes(aclient) as session, asyncio.TaskGroup() as group:
        turns = [
            group.create_task(
                ask(session.lane(f"lane-{n}"), model=closed.model, input=f"word w{n}w")
            )
            for n in range(16)
        ]
        for _ in turns:
            await sent.acquire()
        closed.release()
        answers = await asyncio.gather(*turns)
    words = [f"w{n}w" for n in range(16)]
    said = [[word for word in words if word in answer.output_text] for answer in answers]
    assert said == [[word] for word in words]
    assert len(tape.sockets) == 1


async def test_a_fork_and_its_source_go_their_own_ways(aclient: AsyncOpenAI, family: Family):
    """The source goes on as soon as the fork is in progress; both remember the parent."""
    model = family.model("echo")
    async with lanes(aclient) as session:
        source, fork = session.lane("source"), session.lane("fork")
        parent = await ask(source, model=model, input="word heron")
        await fork.send(
            {
                "type": "response.create",
                "store": False,
                "model": model,
                "input": "word osprey",
                "previous_response_id": parent.id,
            }
        )
        while (await fork.recv()).type != "response.in_progress":
            pass
        on = await ask(source, model=model, input="word kestrel", previous_response_id=parent.id)
        branch = await fork.get_final_response()
        after = await ask(fork, model=model, input="next", previous_response_id=branch.id)
    heard = [
        {word for word in ("heron", "osprey", "kestrel") if word in response.output_text}
        for response in (on, branch, after)
    ]
    assert heard == [{"heron", "kestrel"}, {"heron", "osprey"}, {"heron", "osprey"}]


async def test_a_failed_fork_leaves_the_parent_to_its_lane(aclient: AsyncOpenAI, family: Family):
    model = family.model("echo")
    async with lanes(aclient) as session:
        source, fork = session.lane("source"), session.lane("fork")
        parent = await ask(source, model=model, input="word heron")
        await fork.send(
            {
                "type": "response.create",
                "store": False,
                "model": model,
                "input": [call_output("call_never_made", "?")],
                "previous_response_id": parent.id,
            }
        )
        with pytest.raises(ResponsesWebSocketError):
            await fork.get_final_response()
        on = await ask(source, model=model, input="next", previous_response_id=parent.id)
    assert "heron" in on.output_text


async def test_an_error_reaches_its_own_lane_only(aclient: AsyncOpenAI, family: Family):
    async with lanes(aclient) as session:
        good, bad = session.lane("good"), session.lane("bad")
        await bad.send(
            {
                "type": "response.create",
                "model": family.model("text"),
                "input": "hi",
                "previous_response_id": "resp_unknown",
            }
        )
        answer = await ask(good, model=family.model("text"), input="hi")
        with pytest.raises(ResponsesWebSocketError) as refused:
            await bad.get_final_response()
    assert answer.output_text
    assert refused.value.event.error.code == "previous_response_not_found"
    assert refused.value.event.stream_id == "bad"


async def test_a_lane_is_warmed_up_before_its_first_turn(aclient: AsyncOpenAI, family: Family):
    model = family.model("echo")
    async with lanes(aclient) as session:
        lane = session.lane("warm")
        warm = await ask(lane, model=model, input="word heron", generate=False)
        after = await ask(lane, model=model, input="next", previous_response_id=warm.id)
    assert warm.output == []
    assert "heron" in after.output_text


def test_the_sync_session_has_the_same_lanes(client: OpenAI, family: Family):
    create = {"type": "response.create", "model": family.model("echo"), "store": False}
    with (
        client.responses.connect() as connection,
        ResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        one, two = session.lane("one"), session.default
        one.send({**create, "input": "word heron"})
        two.send({**create, "input": "word osprey"})
        first, second = (
            one.get_final_response(timeout=HANG_SECONDS),
            two.get_final_response(timeout=HANG_SECONDS),
        )
    assert "heron" in first.output_text
    assert "osprey" in second.output_text
    assert "osprey" not in first.output_text
