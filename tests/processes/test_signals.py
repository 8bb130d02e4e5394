"""What signals ask for: to leave, to stop, to wait for nothing."""

import asyncio
import os
import signal
import subprocess
import sys

import aiohttp
import pytest
from support.fake_clock import FakeClock
from support.fleet import Bridge
from support.redis_servers import Node, valkey_binary
from support.workers import DEMO, until, workers_of

from ws_bridge.processes.signals import StopSignals, lame_duck, wait_until_any


def state(signals):
    return signals.leave.is_set(), signals.stop.is_set(), signals.force.is_set()


async def test_the_first_signal_of_a_terminal_stops_and_the_second_forces():
    signals = StopSignals()
    signals.signal_received()
    assert state(signals) == (False, True, False)
    signals.signal_received()
    assert state(signals) == (False, True, True)
    await wait_until_any(asyncio.Event(), signals.stop)


@pytest.mark.parametrize("second", ["leave_received", "signal_received"])
async def test_a_sigterm_asks_to_leave_and_the_next_signal_forces(second):
    signals = StopSignals()
    signals.leave_received()
    assert state(signals) == (True, False, False)
    getattr(signals, second)()
    assert state(signals) == (True, True, True)


async def test_a_lame_duck_stops_when_its_time_is_over_or_it_is_forced():
    for end in ("time", "force"):
        clock, signals = FakeClock(), StopSignals()
        leaving = asyncio.create_task(lame_duck(signals, lambda: 5, clock.clock()))
        signals.leave_received()
        await until(lambda: clock.sleepers)  # noqa: B023 - awaited in the loop
        clock.advance(4.9)
        assert state(signals) == (True, False, False)
        if end == "time":
            clock.advance(0.1)
        else:
            signals.leave_received()
        await leaving
        assert state(signals) == (True, True, end == "force")


@pytest.mark.parametrize("seconds", [0, 5])
async def test_without_a_time_or_after_a_stop_nothing_is_waited_for(seconds):
    signals = StopSignals()
    signals.leave_received() if seconds == 0 else signals.signal_received()
    await lame_duck(signals, lambda: seconds, FakeClock().clock())
    assert signals.stop.is_set()


EARLY = """
import asyncio, os, signal
from ws_bridge.processes import signals
signals.exit_on_signal()
os.kill(os.getpid(), signal.SIGHUP)
async def main():
    caught = signals.catch_signals()
    print(caught.hangup.is_set(), caught.leave.is_set(), caught.stop.is_set())
    caught.hangup.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    await caught.hangup.wait()
asyncio.run(main())
"""


def test_a_hangup_before_there_is_a_loop_is_remembered_and_ends_nothing():
    ended = subprocess.run(  # noqa: S603 - this file
        [sys.executable, "-c", EARLY], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "True False False\n")


async def status(bridge, path, **more):
    async with (
        aiohttp.ClientSession() as session,
        session.request("POST" if more else "GET", bridge.url + path, **more) as got,
    ):
        return got.status


@pytest.mark.catalogue("W12")
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_leaves_says_so_and_serves_who_comes_all_the_same(workers):
    """A worker that is replaced meanwhile says the same; the second signal ends it."""
    with Node(valkey_binary()) as node:
        config = {
            "server": {"workers": workers, "lame_duck_seconds": 3600},
            "store": {"url": node.url},
            "models": [DEMO],
        }
        async with Bridge(config) as bridge:
            await until(lambda: bridge.log().count("INFO ws_bridge ready") == workers)
            os.kill(bridge.pid, signal.SIGTERM)
            await until(lambda: "lame_duck seconds=3600" in bridge.log())
            if workers > 1:
                os.kill(workers_of(bridge)[1], signal.SIGKILL)
                await until(lambda: bridge.log().count("INFO ws_bridge ready") == 3)
            for _ in range(4):
                assert await status(bridge, "/readyz") == 503
                assert await status(bridge, "/healthz") == 200
            asked = {"model": "demo", "input": "say hi"}
            assert await status(bridge, "/v1/responses", json=asked) == 200
            assert await bridge.terminate() == 0
            assert "Traceback" not in bridge.log()
            sys.stdout.write(bridge.log())


async def test_a_terminal_waits_for_no_balancer():
    async with Bridge({"server": {"lame_duck_seconds": 3600}, "models": [DEMO]}) as bridge:
        await bridge.wait_ready()
        os.kill(bridge.pid, signal.SIGINT)
        await until(lambda: not bridge._is_alive())
        assert bridge._process.exit_code == 0
