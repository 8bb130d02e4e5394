"""A server that stands still, is starved, or has lost everything but its address."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from fleet import ROOT, toml
from hang import HANG_SECONDS
from peers import at_provider, expire, next_of, text_of

STREAMS = 8


async def begin(peer, fake, model):
    """So many turns before their gate, and a socket on which nothing happens."""
    idle = await peer.begin("native-text")
    await idle.read()
    turns = [await peer.begin(model) for _ in range(STREAMS)]
    for turn in turns:
        await turn.read(until=5)
    await fake.reached(at_provider(model))
    return idle, turns


async def all_is_well(pair, idle, turns, known):
    """Every turn is whole, everywhere the same; nobody took anything over; sockets go on."""
    for turn in turns:
        heard = await turn.read()
        numbers = [json.loads(text)["sequence_number"] for text in heard.texts]
        assert numbers == list(range(len(numbers)))
        assert heard.last["type"] == "response.completed"
        for peer in pair:
            assert await peer.get(heard.id) == (200, heard.last["response"])
            assert await peer.events(heard.id) == heard.texts
    for peer, start in zip(pair, known, strict=True):
        assert "taken_over" not in peer.bridge.log()[start:]
    last = idle.heard.last
    await idle.say(
        type="response.create",
        model="native-echo",
        input="still there?",
        previous_response_id=last["response"]["id"],
    )
    count = len(idle.heard.texts)
    while not (len(idle.heard.texts) > count and idle.heard.is_over):
        idle.heard.add((await idle._socket.receive(timeout=HANG_SECONDS)).data.encode())
    assert text_of(last["response"]) in text_of(idle.heard.last["response"])


@pytest.mark.catalogue("W14")
async def test_a_server_that_stands_still_for_less_than_a_lease_loses_nothing(pair, fake):
    """The providers say all that they have meanwhile."""
    here, _ = pair
    known = [len(peer.bridge.log()) for peer in pair]
    idle, turns = await begin(here, fake, "native-gate8-standstill")
    here.bridge.freeze()
    try:
        finished = fake.live["finished"] + len(turns)
        fake.release(at_provider("native-gate8-standstill"))
        await fake.until(lambda: fake.live["finished"] >= finished)
    finally:
        here.bridge.thaw()
    await all_is_well(pair, idle, turns, known)


TURN_NS, MOST_TURNS = 1_000_000, 25


def time_of(pid):
    """Nanoseconds that the process's main thread has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@pytest.mark.catalogue("W21")
async def test_a_server_that_gets_a_fifth_of_its_time_is_only_late(pair, fake):
    """From its first word to its last."""
    here, _ = pair
    model = "native-gate8-slow-starved-big40"
    known = [len(peer.bridge.log()) for peer in pair]
    idle, turns = await begin(here, fake, model)
    fake.release(at_provider(model))
    reading = [asyncio.create_task(turn.read()) for turn in turns]
    while not all(task.done() for task in reading):
        here.bridge.freeze()
        await asyncio.sleep(0.08)
        before = time_of(here.bridge.pid)
        here.bridge.thaw()
        for _ in range(MOST_TURNS):  # on a machine that others use it may not get any at once
            await asyncio.sleep(0.02)
            if time_of(here.bridge.pid) - before >= TURN_NS:
                break
    await asyncio.gather(*reading)
    await all_is_well(pair, idle, turns, known)


@pytest.mark.catalogue("W2")
async def test_a_server_that_comes_back_alone_ends_what_it_had_begun(pair, node):
    here, there = pair
    turn = await here.begin("native-gate8-alone")
    heard = await turn.read(until=7)
    async with there.following(heard.id) as lines:
        assert await next_of(lines, 7) == heard.texts
    there.bridge.freeze()  # so that nobody else is there
    try:
        await here.bridge.kill()
        await here.bridge.start()
        expire(node, heard.id)
        response = await here.ended(heard.id)
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        log = await here.events(heard.id)
    finally:
        there.bridge.thaw()
    assert log[:-1] == heard.texts
    said = "".join(json.loads(line).get("delta", "") for line in log)
    assert said == text_of(response)
    for peer in pair:
        assert await peer.get(heard.id) == (200, response)
        assert await peer.events(heard.id) == log


@pytest.mark.catalogue("W17")
async def test_a_server_whose_log_has_no_room_serves(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "config.toml"
    config.write_text(toml({"models": [{"name": "demo", "model": "demo/demo"}]}))
    command = [sys.executable, "-m", "ws_bridge", "serve", "--config", config, "--port", str(port)]
    with open("/dev/full", "w") as full, (tmp_path / "out").open("w") as out:  # noqa: PTH123, ASYNC230 - a device
        server = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=full)  # noqa: S603, ASYNC220 - ours
    try:
        async with (
            asyncio.timeout(HANG_SECONDS),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            while not await is_ready(session):  # noqa: ASYNC110 - asks a server
                await asyncio.sleep(0.05)
            for _ in range(3):
                body = {"model": "demo", "input": "hi"}
                async with session.post("/v1/responses", json=body) as got:
                    assert (got.status, (await got.json())["status"]) == (200, "completed")
                async with session.post("/v1/responses", data=b"{") as got:
                    assert got.status == 400
        server.terminate()
        assert await asyncio.to_thread(server.wait, HANG_SECONDS) == 0
    finally:
        server.kill()
        server.wait()


async def is_ready(session):
    try:
        async with session.get("/readyz") as got:
            return got.status == 200
    except aiohttp.ClientError:
        return False
