"""Workers are forked from a template: quickly, with little memory of their own, and apart."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from support.fleet import Fresh
from support.redis_servers import Node, valkey_binary
from support.workers import DEMO, ENDLESS, children, is_forked, lives, until, workers_of

PRIVATE_MIB = 90

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """On the path of the server's Python: what is put there is imported instead of litellm."""
    return tmp_path_factory.mktemp("path")


@pytest.fixture(scope="module")
def served(folder):
    with Node(valkey_binary()) as node:
        config = {
            "server": {"workers": 2},
            "store": {"url": node.url, "lease_seconds": 2},
            "models": [DEMO],
        }
        bridge = Fresh(config, {"PYTHONPATH": str(folder)})
        yield bridge
        bridge.close()


@pytest.fixture
async def bridge(served):
    if not served._is_alive():
        await served.start()
    await until(lambda: served.log().count("INFO ws_bridge ready") >= 2)
    yield served
    sys.stdout.write(served.log())  # shown with a test that fails


@pytest.fixture
def no_litellm(folder):
    """From now on litellm's import does not end; the file that is there when it has begun."""
    file, begun = folder / "litellm.py", folder / "begun"
    file.write_text(f"open({str(begun)!r}, 'w').close()\n{ENDLESS}")
    yield begun
    file.unlink()


def mib(pid, *fields):
    """The memory of a process, a sum of fields of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    figures = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    return sum(figures[field] for field in fields) / 1024


def name_of(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def template_of(bridge):
    """Its process id."""
    (found,) = set(children(bridge.pid)) - set(workers_of(bridge).values())
    return found


async def replaced(bridge):
    """Kill the first worker; the process id of its successor, which is ready."""
    killed, known = workers_of(bridge)[1], bridge.log().count("INFO ws_bridge ready")
    os.kill(killed, signal.SIGKILL)
    await until(lambda: bridge.log().count("INFO ws_bridge ready") > known)
    assert f"worker_ended number=1 pid={killed} signal=SIGKILL" in bridge.log()
    return workers_of(bridge)[1]


async def test_a_worker_has_little_memory_of_its_own(bridge):
    """What the template has loaded is there once; the supervisor has loaded nothing of it."""
    for number, pid in workers_of(bridge).items():
        assert name_of(pid) == f"ws-bridge:{number}"
        assert mib(pid, "Private_Clean", "Private_Dirty") < PRIVATE_MIB
    shared = mib(template_of(bridge), "Rss")
    assert sum(mib(pid, "Pss") for pid in children(bridge.pid)) < shared + 2 * PRIVATE_MIB
    assert mib(bridge.pid, "Rss") < PRIVATE_MIB / 2


@pytest.mark.usefixtures("no_litellm")
async def test_a_worker_that_was_killed_is_back_without_an_import(bridge):
    """One that imported litellm would never be ready."""
    assert is_forked(await replaced(bridge))


async def test_a_template_that_ends_is_replaced_and_workers_live_on(bridge):
    old, workers = template_of(bridge), workers_of(bridge)
    os.kill(old, signal.SIGKILL)
    await until(lambda: f"template_ended pid={old} signal=SIGKILL" in bridge.log())
    assert workers_of(bridge) == workers
    assert is_forked(await replaced(bridge))
    assert template_of(bridge) != old


async def test_workers_make_different_ids(bridge):
    """Of responses and of their items: nothing random is inherited from the template."""
    ids = []
    for _ in range(8):
        async with aiohttp.ClientSession() as session:  # the kernel chooses a worker for each
            asked = {"model": "demo", "input": "say hi"}
            async with session.post(bridge.url + "/v1/responses", json=asked) as got:
                made = await got.json()
        ids += [made["id"], *(item["id"] for item in made["output"])]
    assert len(ids) == len(set(ids)) > 8


async def test_the_template_ends_with_the_supervisor(bridge):
    template = template_of(bridge)
    await bridge.kill()
    await until(lambda: not lives(template))


async def test_a_template_ends_with_the_supervisor_while_it_loads(served, no_litellm):
    served._process = await asyncio.to_thread(served._spawn)
    await until(no_litellm.exists)
    (template,) = children(served.pid)
    await served.kill()
    await until(lambda: not lives(template))
