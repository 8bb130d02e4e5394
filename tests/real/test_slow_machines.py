"""Servers on a small share of a core: late, never in vain (fault W21 for a start).

How long it takes is printed, and judged by nobody: the limits only end what hangs.
"""

import asyncio
import re
import sys
import time

import aiohttp
import pytest
from support import fleet
from support.cpu_shares import Starved, quota
from support.redis_servers import Node, valkey_binary

DEMO = {"name": "demo", "model": "demo/demo", "drop_params": True}
CREATE = {"model": "demo", "input": "hi"}
HOUR = 3600.0
STEP_SECONDS = 0.2
WORKERS = 4
# Stopping by turns is tried everywhere; a quota where there is one, which is what operators have.
WAYS = ["turns", "quota"] if (probe := quota(0.05)) else ["turns"]
if probe:
    probe.close()

pytestmark = pytest.mark.timeout(HOUR)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Of the servers' starts."""
    monkeypatch.setattr(fleet, "HANG_SECONDS", HOUR)


@pytest.fixture
def said(capsys):
    """A function that prints how long something took, past pytest."""
    began = time.monotonic()

    def say(what):
        with capsys.disabled():
            sys.stdout.write(f"\n  {what} after {time.monotonic() - began:.0f} s")

    return say


# On a fiftieth the first call of litellm takes longer than a start waits for it.
@pytest.mark.parametrize(("way", "parts"), [*((way, 20) for way in WAYS), (WAYS[-1], 50)])
async def test_a_server_on_a_twentieth_of_a_core_or_less_becomes_ready_and_answers(
    way, parts, said
):
    """Over HTTP and on a socket, and it ends well."""
    bridge = Starved(1 / parts, {"models": [DEMO]}, by_turns=way == "turns")
    async with bridge, client() as session:
        said(f"{bridge.how}: it listens")
        await bridge.wait_ready()
        said("it is ready")
        await answers(session, bridge)
        said("it has answered")
        await turn(session, bridge)
        said("it has answered on a socket")
        bridge.free()
        assert await bridge.terminate() == 0
        assert_no_failure(bridge)


@pytest.mark.parametrize("way", WAYS)
async def test_four_workers_on_a_fifth_of_a_core_become_ready_and_answer(way, said):
    """Each of them, at its first try."""
    with Node(valkey_binary()) as node:
        config = {
            "server": {"workers": WORKERS},
            "store": {"url": node.url},
            "models": [DEMO],
        }
        async with Starved(0.2, config, by_turns=way == "turns") as bridge:
            said(f"{bridge.how}: all listen")
            async with asyncio.timeout(HOUR):
                while bridge.log().count("INFO ws_bridge ready") < WORKERS:
                    assert_no_failure(bridge)
                    await asyncio.sleep(STEP_SECONDS)
            said("all are ready")
            answered = set()
            while len(answered) < WORKERS:
                async with client() as session:  # the kernel chooses a worker for each connection
                    async with session.get(bridge.url + "/metrics") as got:
                        (number,) = set(re.findall(r'worker="(\d+)"', await got.text()))
                    await answers(session, bridge)
                    answered.add(number)
            said("all have answered")
            bridge.free()
            assert await bridge.terminate() == 0
            assert_no_failure(bridge)
            assert bridge.log().count("worker_started") == WORKERS


def client():
    """It waits as long as it takes."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HOUR))


async def answers(session, bridge):
    async with session.post(bridge.url + "/v1/responses", json=CREATE) as got:
        said = await got.text()
        assert (got.status, '"status":"completed"' in said) == (200, True), said


async def turn(session, bridge):
    async with session.ws_connect(bridge.ws_url) as ws:
        await ws.send_json({"type": "response.create", **CREATE})
        kinds = []
        while not kinds or kinds[-1] not in ("response.completed", "response.failed", "error"):
            kinds.append((await ws.receive_json())["type"])
    assert kinds[-1] == "response.completed"


def assert_no_failure(bridge):
    assert " ERROR " not in bridge.log(), bridge.log()
    assert "Traceback" not in bridge.log(), bridge.log()
