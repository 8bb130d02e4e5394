"""Whatever the provider streams: valid, in order, and one end, on the socket and as SSE.

The test only reads; the tape checks every event that went by, and openai's two accumulators refuse
what does not fit together.
"""

from __future__ import annotations

import json

import pytest
from clients.reading import ENDS, WEATHER
from clients.servers import FAMILIES, Family
from clients.tape import DONE, Tape
from openai import APIStatusError, OpenAI
from openai.lib.responses_websocket import ResponsesWebSocketAccumulator

SCENARIOS = {
    "native": """
        text reasoning rawreasoning tools rtools refusal annot logprobs phase image custom x-ci mcp
        errevent errnested failedearly failed400 failed incomplete incompletecf queued cancelled
        badline nontype cleaneof zerobytes pre1drop jsonstream hugeheaders big2000
    """,
    "chat": """
        text reasoning reasoning-rfield reasoning-interleave reasoning-both rtools textools tools
        noidtool oneshottool noargtool refusal empty length cfilter logprobs annot images midmsgerr
        nofinish interleaveonly emptychoices nousage badline cleaneof zerobytes pre1drop big2000
    """,
    "claude": """
        text redacted thinking thinking-tool texttool tool noarg interleave thinking-interleave
        maxtok refusal miderr cite badline cleaneof zerobytes pre1drop
    """,
}
ALL = [
    pytest.param(family, scenario, id=family.model(scenario))
    for family in FAMILIES
    for scenario in SCENARIOS[family.name].split()
]


@pytest.mark.parametrize(("family", "scenario"), ALL)
def test_a_turn_on_the_socket_is_valid_and_ends_once(client: OpenAI, family: Family, scenario: str):
    accumulator = ResponsesWebSocketAccumulator()
    options = {"model": family.model(scenario), "tools": [WEATHER], "store": False}
    with client.responses.connect() as connection:
        connection.response.create(input="hi", **options)
        for event in connection:
            if event.type == "error":
                break
            accumulator.add_event(event)
            if event.type in ENDS:
                assert accumulator.get_final_response() == event.response
                break
        # Had the turn a second end, it would stand before this one's start.
        connection.response.create(input="hi", model=family.model("text"), store=False)
        assert connection.recv().type == "response.created"


@pytest.mark.parametrize(("family", "scenario"), ALL)
def test_a_stream_is_valid_and_what_get_reads_is_its_end(
    client: OpenAI, family: Family, scenario: str, tape: Tape
):
    try:
        with client.responses.stream(
            model=family.model(scenario), tools=[WEATHER], input="hi"
        ) as stream:
            stream.until_done()
    except APIStatusError:
        assert not tape.streams
        return
    *_, last, done = tape.streams[0].events
    assert done.data == DONE
    final = json.loads(last.data)["response"]
    assert client.responses.retrieve(final["id"]).to_dict(mode="json") == final
