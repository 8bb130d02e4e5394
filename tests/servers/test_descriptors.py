"""A server that may open no more files goes on with what it has."""

import asyncio
import contextlib
import json
import resource
import sys
from pathlib import Path

import pytest
from support.fleet import Bridge
from support.hang import HANG_SECONDS
from support.raw_client import TEXT, RawClient, frame, request

DEMO = {"name": "demo", "model": "demo/demo", "drop_params": True}
HEALTHZ = request("GET", "/healthz", {"Host": "localhost", "Connection": "close"})


def create(text):
    return frame(
        TEXT, json.dumps({"type": "response.create", "model": "demo", "input": text}).encode()
    )


def files_of(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def allow(pid, files):
    """The process may have so many files open; what it may have had before."""
    before, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, hard))
    return before


async def is_served(line):
    with contextlib.suppress(ConnectionError):
        await line.send(HEALTHZ)
        return b" 200 " in await line.rest()
    return False


@pytest.mark.catalogue("W15")
@pytest.mark.skipif(sys.platform != "linux", reason="sets another process's limit")
async def test_without_files_left_streams_go_on_and_newcomers_are_served_when_there_are_some():
    async with Bridge({"models": [DEMO]}) as bridge:
        await bridge.wait_ready()
        running = await RawClient.upgraded(bridge.url)
        await running.send(create("Count to 200."))
        await running.frames(3)
        logged = len(bridge.log())
        before = allow(bridge.pid, files_of(bridge.pid) + 4)
        newcomers = [await RawClient.open(bridge.url) for _ in range(40)]
        served = await asyncio.gather(*map(is_served, newcomers))
        assert served.count(False) >= 30
        kinds = []
        while not kinds or kinds[-1] != "response.completed":
            ((opcode, payload),) = await running.frames(1)
            kinds += [json.loads(payload)["type"]] if opcode == TEXT else []
        assert kinds.count("response.output_text.delta") > 150
        await running.send(create("And again?"))  # needs no file
        await running.frames(3)
        assert bridge.log()[logged:].count("\n") < 20
        for line in newcomers:
            line.close()
        allow(bridge.pid, before)
        async with asyncio.timeout(HANG_SECONDS):
            while not await is_served(await RawClient.open(bridge.url)):  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.05)
