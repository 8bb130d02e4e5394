"""What was refused: counted at once, logged once a second for each reason."""

import asyncio
import logging

import pytest
from support.fake_clock import let_others_run

from ws_bridge.logs import CALLER, Caller
from ws_bridge.server.refusal_log import PAUSE_SECONDS, RefusalLog


@pytest.fixture
def counted():
    return []


@pytest.fixture
def refusal_log(counted, caplog):
    caplog.set_level(logging.INFO, "ws_bridge")
    return RefusalLog(counted.append)


async def pass_pause():
    asyncio.get_running_loop().turn(PAUSE_SECONDS)
    await let_others_run()


async def test_the_first_of_a_reason_is_logged_at_once(refusal_log, counted, caplog):
    refusal_log.refused(401, "invalid_api_key")
    refusal_log.refused(404, "model_not_found")
    assert caplog.messages == [
        "request_refused status=401 code=invalid_api_key count=1",
        "request_refused status=404 code=model_not_found count=1",
    ]
    assert counted == ["invalid_api_key", "model_not_found"]


async def test_a_flood_is_one_line_a_second_with_the_number_and_the_last_caller(
    refusal_log, counted, caplog
):
    for second in range(3):
        for number in range(100):
            token = CALLER.set(Caller(f"req_{second}_{number}", "192.0.2.1"))
            refusal_log.refused(401, "invalid_api_key")
            CALLER.reset(token)
        await pass_pause()
    assert caplog.messages == [
        "request_refused status=401 code=invalid_api_key count=1",
        "request_refused status=401 code=invalid_api_key count=99",
        "request_refused status=401 code=invalid_api_key count=100",
        "request_refused status=401 code=invalid_api_key count=100",
    ]
    assert len(counted) == 300


async def test_after_a_quiet_second_the_next_is_a_first_one(refusal_log, caplog):
    for _ in range(2):
        refusal_log.refused(404, "not_found")
        await pass_pause()
    assert caplog.messages == ["request_refused status=404 code=not_found count=1"] * 2
