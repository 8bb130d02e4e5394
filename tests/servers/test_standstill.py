"""A server that stands still, is starved, or has lost everything but its address."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from peers import CLIENT_KEYS, Peer, at_provider, config_of, expire, next_of, text_of
from support.fleet import ROOT, Bridge, at_once, toml
from support.hang import HANG_SECONDS
from support.tcp_proxy import Proxy

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


CROWD = 60
SHORT_LEASE = 2
BEFORE_THE_END = "native-gate12-crowd-big4"


@contextlib.asynccontextmanager
async def patient_pair(fake, node):
    """Two servers of their own, whose ends wait for the store as long as they do by default.

    Between the first one and the store is a line.
    """
    async with Proxy(node.port) as line, contextlib.AsyncExitStack() as ends:
        peers = []
        for port in (line.port, node.port):
            config = config_of(fake, f"redis://127.0.0.1:{port}")
            config["limits"] = {"running_per_key": CROWD}
            del config["store"]["end_waits_seconds"]
            config["store"]["lease_seconds"] = SHORT_LEASE
            bridge = await ends.enter_async_context(Bridge(config, CLIENT_KEYS))
            peers.append(await ends.enter_async_context(Peer(bridge)))
        for peer in peers:
            await peer.bridge.wait_ready()
        yield *peers, line


@pytest.mark.catalogue("A1")
async def test_a_crowd_on_a_server_frozen_beyond_its_lease_hears_of_one_end_only(fake, node):
    """All ends are on their way to the store when it is stopped, and arrive when it goes on."""
    async with patient_pair(fake, node) as (here, there, line):
        turns = [await here.begin(BEFORE_THE_END) for _ in range(CROWD)]
        for turn in turns:
            await turn.read(until="response.output_item.done")
        line.freeze()
        fake.release(at_provider(BEFORE_THE_END))
        await until_sent(fake)
        assert await here.status("/healthz") == 200
        here.bridge.freeze()
        try:
            ended = [await there.ended(turn.heard.id) for turn in turns]
        finally:
            line.thaw()
            here.bridge.thaw()
        heard = [await turn.read() for turn in turns]
        assert {response["status"] for response in ended} == {"failed"}
        assert [one.last["type"] for one in heard] == ["response.failed"] * CROWD
        for one, response in zip(heard, ended, strict=True):
            assert "taken over" in one.last["response"]["error"]["message"]
            assert await here.get(one.id) == await there.get(one.id) == (200, response)
        assert "end_unconfirmed" not in here.bridge.log()


@pytest.mark.catalogue("A2")
async def test_a_server_that_is_cut_off_tells_no_end_but_its_stream_goes_on(fake, node):
    """What another server ends meanwhile fails on the socket; what comes back in time completes."""
    async with patient_pair(fake, node) as (here, there, line):
        taken, kept = [await here.begin("native-gate8-cut-big40") for _ in range(2)]
        for turn in (taken, kept):
            await turn.read(until=7)
        line.refuse()
        fake.release(at_provider("native-gate8-cut-big40"))
        for turn in (taken, kept):  # nobody waits for the store but the end
            await turn.read(until="response.output_item.done")
        response = await there.ended(taken.heard.id)
        await line.accept()
        heard = await taken.read()
        assert (heard.last["type"], response["status"]) == ("response.failed", "failed")
        assert "taken over" in heard.last["response"]["error"]["message"]


async def until_sent(fake):
    """Return when the providers have said all they had to say."""
    async with asyncio.timeout(60):
        while fake.live["open"]:  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)


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
    config.write_text(toml(at_once({"models": [{"name": "demo", "model": "demo/demo"}]})))
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
