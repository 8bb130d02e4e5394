"""Several processes on one port: spread, replaced, ended, and never left behind.

All are real: `ws-bridge serve --workers 2` on a real store. Where a start must not get further, an
empty `litellm` stands before the real one on the path and never ends its import.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import generate_latest
from support.fleet import KEYS, Fresh, models_for
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.workers import (
    BROKEN,
    DEMO,
    ENDLESS,
    STEP_SECONDS,
    Watched,
    children,
    lives,
    until,
    workers_of,
)
from upstreams import FakeProviders

from ws_bridge.processes.supervisor import (
    LONGEST_PAUSE,
    TRIES,
    exit_reason,
    pause_after,
)
from ws_bridge.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as running:
        yield running


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


def config_of(url, models=(DEMO,), workers=2, **server):
    return {
        "server": {"workers": workers, "drain_seconds": 3600, **server},
        "store": {"url": url, "lease_seconds": 2},
        "models": list(models),
    }


@pytest.fixture(scope="module")
def served(node, fake):
    """A server of two workers for all tests; started again where a test has ended it."""
    bridge = Fresh(config_of(node.url, [DEMO, *models_for(fake)]))
    yield bridge
    bridge.close()


@pytest.fixture
async def bridge(served):
    if not served._is_alive():
        await served.start()
    yield served
    sys.stdout.write(served.log())  # shown with a test that fails


@pytest.fixture
async def client(bridge):
    async with Client(bridge) as client:
        await client.ready()
        yield client


@pytest.fixture
def litellm(tmp_path):
    """The environment of a server that imports something else instead of litellm."""

    def write(text):
        (tmp_path / "litellm.py").write_text(text)
        return {"PYTHONPATH": str(tmp_path)}

    return write


class Client:
    """Asks each time over a new connection: the kernel chooses the worker."""

    def __init__(self, bridge, *, keeps=False):
        self.bridge = bridge
        connector = aiohttp.TCPConnector(force_close=not keeps, limit=0)
        timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
        self.session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def get(self, path):
        async with self.session.get(self.bridge.url + path) as answer:
            return answer.status, await answer.text()

    async def worker(self):
        """Which worker answered."""
        _, text = await self.get("/metrics")
        (number,) = set(re.findall(r'worker="(\d+)"', text))
        return int(number)

    async def open(self):
        return await self.session.ws_connect(self.bridge.ws_url)

    async def ready(self):
        """Return when both workers can begin responses."""
        ready = set()
        async with asyncio.timeout(HANG_SECONDS):
            while len(ready) < 2:
                async with Client(self.bridge, keeps=True) as same:  # both are asked of one worker
                    number = await same.worker()
                    if (await same.get("/readyz"))[0] == 200:
                        ready.add(number)


async def begin(ws, model, **fields):
    """Start a turn; its id."""
    await ws.send_json({"type": "response.create", "model": model, "input": "hi", **fields})
    created = await ws.receive_json(timeout=HANG_SECONDS)
    assert created["type"] == "response.created", created
    return created["response"]["id"]


async def the_end(ws):
    while True:
        event = await ws.receive_json(timeout=HANG_SECONDS)
        if event["type"] in TERMINALS:
            return event


def leases(node):
    """How many responses a server has still to finish."""
    return sum(node.cli("ZCARD", key) for key in node.cli("KEYS", "wb1:*:l"))


def statuses(node):
    return [node.cli("HGET", key, "st") for key in node.cli("KEYS", "wb1:*:m:*")]


# What cannot be


async def refused(config, environ=None):
    """The error of a server that ends with exit code 2 instead of listening."""
    bridge = Fresh(config, environ)
    try:
        with pytest.raises(AssertionError, match="it ended with 2"):
            await bridge.start()
        return [line for line in bridge.log().splitlines() if " INFO " not in line]
    finally:
        bridge.close()


async def test_processes_without_a_store_they_can_share_are_refused():
    """One line has the reason and the remedy."""
    (line,) = await refused(config_of("memory://"))
    assert "key 'server.workers': 2 processes cannot share the store memory://" in line
    assert "set 'store.url' to a Redis or Valkey, or 'workers' to 1" in line


async def test_a_store_that_no_worker_can_use_ends_them_all_with_one_line():
    with Node(valkey_binary(), password="right") as node:  # noqa: S106 - a test's own
        (line,) = await refused(config_of(node.url.replace("right", "wrong")))
    assert line.startswith("ws-bridge: ")
    assert "store" in line


async def test_the_port_of_another_server_is_not_shared_with_it(bridge):
    """Neither by one with several processes, nor by one with one."""
    port = bridge.url.rpartition(":")[2]
    config = str(Path(bridge._folder.name, "config.toml"))
    for workers in ("1", "2"):
        flags = ("--config", config, "--port", port, "--workers", workers)
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ws_bridge", "serve", *flags],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | KEYS,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"127.0.0.1:{port} is in use" in ended.stderr


# Their life


async def test_two_workers_share_a_port_and_a_store(bridge, client):
    """The start-up lines are printed once; what one worker has made, the other can read."""
    assert bridge.log().count("model demo: on") == bridge.log().count("listening on")
    assert {await client.worker() for _ in range(40)} == {1, 2}
    async with await client.open() as ws:
        response_id = await begin(ws, "demo", input="count to 3")
        assert (await the_end(ws))["type"] == "response.completed"
    readers = set()
    while readers != {1, 2}:
        async with Client(bridge, keeps=True) as same:
            readers.add(await same.worker())
            status, text = await same.get(f"/v1/responses/{response_id}")
        assert (status, '"completed"' in text) == (200, True)


@pytest.mark.catalogue("W16")
async def test_a_killed_worker_harms_no_other_and_is_replaced(bridge, client, node, fake):
    """Its responses are taken over, and clients that connect meanwhile wait and are not refused.

    The other worker's stream has every event.
    """
    streams = await one_on_each_worker(client, "native-gate8-worker")
    victim, other = (streams[number] for number in (1, 2))
    pid = workers_of(bridge)[1]
    os.kill(pid, signal.SIGKILL)
    meanwhile = [asyncio.create_task(client.get("/healthz")) for _ in range(20)]
    fake.release("gpt-gate8-worker")
    ended = await other.read()
    assert ended[-1]["type"] == "response.completed"
    assert [event["sequence_number"] for event in ended] == list(range(len(ended)))
    assert {status for status, _ in await asyncio.gather(*meanwhile)} == {200}
    await until(lambda: workers_of(bridge).get(1, pid) != pid)
    assert f"worker_ended number=1 pid={pid} signal=SIGKILL" in bridge.log()
    status, text = await the_stored_end(client, victim.id)
    assert (status, '"failed"' in text) == (200, True)
    await until(lambda: leases(node) == 0)


class Stream:
    """A turn on a socket, and who serves it."""

    def __init__(self, ws, response_id):
        self.ws = ws
        self.id = response_id
        self.events = []

    async def read(self):
        while not self.events or self.events[-1]["type"] not in TERMINALS:
            self.events.append(await self.ws.receive_json(timeout=HANG_SECONDS))
        return self.events


async def one_on_each_worker(client, model):
    """A running turn on each worker, by its number: their metrics show which one has it."""
    streams = {}
    while len(streams) < 2:
        before = await busy(client)
        ws = await client.open()
        await ws.send_json({"type": "response.create", "model": model, "input": "hi"})
        stream = Stream(ws, "")
        while len(stream.events) < 7:  # up to the provider's gate
            stream.events.append(await ws.receive_json(timeout=HANG_SECONDS))
        stream.id = stream.events[0]["response"]["id"]
        after = await busy(client)
        (number,) = [each for each in after if after[each] > before[each]]
        if number in streams:
            await ws.send_json({"type": "response.cancel", "response_id": stream.id})
            await stream.read()
            await ws.close()
        else:
            streams[number] = stream
    return streams


async def busy(client):
    """How many responses each worker has."""
    found = {}
    while len(found) < 2:
        _, text = await client.get("/metrics")
        (logged,) = re.findall(r'ws_bridge_responses_running\{worker="(\d)"\} (\d+)', text)
        found[int(logged[0])] = int(logged[1])
    return found


async def the_stored_end(client, response_id):
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            status, text = await client.get(f"/v1/responses/{response_id}")
            if '"in_progress"' not in text:
                return status, text
            await asyncio.sleep(STEP_SECONDS)


async def test_a_worker_that_starts_while_the_store_is_away_is_as_ready_as_the_others():
    """It was never there for this process; the supervisor knows that it was there for another."""
    with Node(valkey_binary()) as lost:
        bridge = Fresh(config_of(lost.url))
        async with bridge, Client(bridge) as client:
            await client.ready()
            lost.kill()
            pid = workers_of(bridge)[1]
            os.kill(pid, signal.SIGKILL)
            await until(lambda: workers_of(bridge).get(1, pid) != pid)
            found = {}
            async with asyncio.timeout(HANG_SECONDS):
                while found.get(1, (503,))[0] != 200:
                    async with Client(bridge, keeps=True) as same:
                        found[await same.worker()] = await same.get("/readyz")
            assert json.loads(found[1][1]) == {"status": "ready", "missing": ["store"]}


async def test_a_worker_that_gets_a_sigterm_serves_until_its_successor_is_ready(
    bridge, client, fake
):
    """No client waits or is refused; what runs on the old one ends well."""
    streams = await one_on_each_worker(client, "native-gate8-renewed")
    old = workers_of(bridge)[1]
    os.kill(old, signal.SIGTERM)
    os.kill(old, signal.SIGTERM)  # a second one hurries nothing: it may be the whole group's
    await until(lambda: f"worker_relieved number=1 pid={old}" in bridge.log())
    known = bridge.log()
    while (await client.get("/readyz"))[0] == 200:  # until the old one, asked last, drains
        if "draining" in bridge.log()[len(known) :]:
            break
    await until(lambda: "draining" in bridge.log()[len(known) :])
    assert workers_of(bridge)[1] != old
    assert lives(old)
    fake.release("gpt-gate8-renewed")
    for stream in streams.values():
        assert (await stream.read())[-1]["type"] == "response.completed"
    await until(lambda: f"pid={old} code=0" in bridge.log())
    assert not lives(old)


async def test_workers_do_not_outlive_their_supervisor(bridge, client, node, fake):
    """They leave in order: what runs ends as failed, and no lease is left to run out."""
    streams = await one_on_each_worker(client, "native-gate8-orphan")
    pids = workers_of(bridge).values()
    await bridge.kill()
    for stream in streams.values():
        end = (await stream.read())[-1]
        assert (end["type"], "shut down" in str(end)) == ("response.failed", True)
    await until(lambda: not any(map(lives, pids)))
    assert leases(node) == 0
    assert "in_progress" not in statuses(node)
    fake.release("gpt-gate8-orphan")


@pytest.mark.catalogue("W12")
async def test_a_second_signal_waits_for_no_client(bridge, client, node, fake):
    """Running responses end as failed, on the socket and in the store; the exit is a good one."""
    streams = await one_on_each_worker(client, "native-gate8-hurried")
    known = len(bridge.log())
    os.kill(bridge.pid, signal.SIGTERM)
    await until(lambda: bridge.log().count("draining", known) == 2)
    assert len(workers_of(bridge)) == 2
    os.kill(bridge.pid, signal.SIGINT)
    for stream in streams.values():
        assert (await stream.read())[-1]["type"] == "response.failed"
    await until(lambda: not bridge._is_alive())
    assert bridge._process.exit_code == 0
    assert leases(node) == 0
    assert "in_progress" not in statuses(node)
    fake.release("gpt-gate8-hurried")


async def test_a_server_whose_import_raises_logs_one_line_and_ends(litellm):
    """Nothing else can be wrong with it: how long a start takes is no fault."""
    async with Fresh({"models": [DEMO]}, litellm(BROKEN)) as bridge:
        await until(lambda: not bridge._is_alive())
        lines = [line for line in bridge.log().splitlines() if " INFO " not in line]
    assert bridge._process.exit_code == 1
    logged = [line for line in lines if " ERROR " in line]
    assert [line.partition("reason=")[2] for line in logged] == [
        '"ImportError at litellm.py:1: it is broken"'
    ]
    assert "Traceback" not in "".join(lines)


async def test_workers_that_cannot_start_are_tried_so_often_and_then_given_up(node, litellm):
    """The exit code is 1, and the last error names the tries."""
    async with Fresh(config_of(node.url), litellm(BROKEN)) as bridge:
        await until(lambda: not bridge._is_alive())
        logged = bridge.log()
    assert bridge._process.exit_code == 1
    assert logged.count("no_worker_was_ever_ready") == 1
    for number in (1, 2):  # one may be tried more often while the other is late
        assert logged.count(f"worker_started number={number} ") >= TRIES
    assert f"no_worker_was_ever_ready tries={TRIES}: giving up" in logged
    assert "Traceback" not in logged


async def test_a_server_whose_workers_cannot_start_can_be_ended_well(node, litellm):
    async with Fresh(config_of(node.url), litellm(BROKEN)) as bridge:
        await until(lambda: "worker_ended number=1" in bridge.log())
        assert await bridge.terminate() == 0


async def test_pauses_grow_while_no_worker_was_ever_ready_up_to_the_last_try(
    caplog, litellm, monkeypatch
):
    caplog.set_level("INFO", "ws_bridge")
    monkeypatch.setenv("PYTHONPATH", litellm(BROKEN)["PYTHONPATH"])
    async with Watched(caplog) as watched:
        for count in range(1, TRIES):
            await watched.pauses(count)
            watched.end_pause()
        assert await watched.code() == 1
    assert watched.paused[: TRIES - 1] == [0.5, 1, 2, 4]
    assert len(watched.logged("worker_started")) == TRIES
    assert watched.logged("no_worker") == [f"no_worker_was_ever_ready tries={TRIES}: giving up"]


async def test_a_worker_that_was_ready_is_replaced_at_once_and_never_given_up(
    caplog, litellm, monkeypatch
):
    """Its successors pause while they are not ready, however many; then all is as before."""
    caplog.set_level("INFO", "ws_bridge")
    broken = litellm(BROKEN)["PYTHONPATH"]
    async with Watched(caplog) as watched:
        await watched.ready()
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", broken)
            await watched.kill(with_template=True)
            for count in range(1, TRIES + 2):
                await watched.pauses(count)
                assert len(watched.logged("worker_started")) == count + 1
                if count <= TRIES:
                    watched.end_pause()
        watched.end_pause()
        await watched.ready(await watched.kill())
        assert watched.paused == [0.5, 1, 2, 4, 8, 16]
        watched.stop_signals.signal_received()
        assert await watched.code() == 0
    assert watched.logged("no_worker") == []


def test_pauses_double_up_to_the_longest():
    assert [pause_after(misses) for misses in range(1, 8)] == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE]
    assert pause_after(10_000) == LONGEST_PAUSE


@pytest.mark.catalogue("W12")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_during_the_start_is_obeyed_at_once(node, litellm, number):
    """It waits for no import; `/healthz` answers beside it, and it is never called ready."""
    bridge = Fresh(config_of(node.url, workers=1), litellm(ENDLESS))
    async with bridge, Client(bridge) as client:
        assert (await client.get("/healthz"))[0] == 200
        assert (await client.get("/readyz"))[0] == 503
        os.kill(bridge.pid, number)
        await until(lambda: not bridge._is_alive())
        assert bridge._process.exit_code == 0
        assert "Traceback" not in bridge.log()
        assert children(bridge.pid) == []


@pytest.mark.catalogue("W12")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_while_the_template_loads_is_obeyed_at_once(node, litellm, number):
    bridge = Fresh(config_of(node.url), litellm(ENDLESS))
    try:
        bridge._process = await asyncio.to_thread(bridge._spawn)
        await until(lambda: children(bridge.pid))
        os.kill(bridge.pid, number)
        await until(lambda: not bridge._is_alive())
        assert (bridge._process.exit_code, "Traceback" in bridge.log()) == (0, False)
        assert children(bridge.pid) == []
    finally:
        bridge.close()


# The parts


def test_an_end_is_logged_with_its_code_or_its_signal():
    assert [exit_reason(code) for code in (0, 3, -9, -200)] == [
        "code=0",
        "code=3",
        "signal=SIGKILL",
        "signal=200",
    ]


async def test_a_workers_figures_carry_its_number_and_those_of_a_single_process_do_not():
    """Else one series would be of two processes, and counters would go backwards."""
    for worker, own in ((0, ""), (3, '{worker="3"}')):
        text = generate_latest(Metrics(worker)).decode()
        assert f"ws_bridge_events_total{own} 0.0" in text.splitlines()
        assert ("worker" in text) == bool(worker)
