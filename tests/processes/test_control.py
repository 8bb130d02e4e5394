"""A server that runs reads its configuration again: by SIGHUP and by `ws-bridge reload`."""

import asyncio
import os
import re
import signal
import stat
import sys

import aiohttp
import pytest
from support.fleet import Bridge, Fresh
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.workers import DEMO, ENDLESS, until, workers_of

from ws_bridge import cli
from ws_bridge.processes import control

SECOND = {**DEMO, "name": "second"}
THIRD = {**DEMO, "name": "third"}


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as running:
        yield running


@pytest.fixture(params=[1, 2])
async def bridge(request, node, tmp_path):
    """A server of one or two processes, with a control socket; all of them are ready."""
    one = Bridge()
    one.rewrite(config_of(node, tmp_path, workers=request.param))
    async with one:
        await until(lambda: one.log().count("INFO ws_bridge ready") == request.param)
        yield one
        sys.stdout.write(one.log())


def config_of(node, tmp_path, models=(DEMO,), **server):
    return {
        "server": {"control_socket": str(tmp_path / "control"), **server},
        "store": {"url": node.url},
        "models": list(models),
    }


async def models(bridge):
    """The sets of models that the processes serve: the kernel chooses one for each connection."""
    found = set()
    for _ in range(12):
        async with (
            aiohttp.ClientSession() as session,
            session.get(bridge.url + "/v1/models") as got,
        ):
            found.add(tuple(sorted(one["id"] for one in (await got.json())["data"])))
    return found


def reload(bridge):
    """What `ws-bridge reload` returns."""
    return asyncio.to_thread(cli.main, ["reload", "--config", str(bridge.config_file)])


async def test_a_server_reloads_and_says_what_came_of_it(bridge, node, tmp_path, capsys):
    """All its processes have the new settings, or none of them; what cannot change is named."""
    workers = bridge._config["server"]["workers"]

    def config(*more, **server):
        return config_of(node, tmp_path, [DEMO, *more], workers=workers, **server)

    assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o600
    bridge.rewrite(config(SECOND))
    assert await reload(bridge) == 0
    assert capsys.readouterr() == ("reloaded generation=2\n", "")
    assert await models(bridge) == {("demo", "second")}

    bridge.rewrite(config(THIRD, drain_seconds=-1))
    assert await reload(bridge) == 1
    out, err = capsys.readouterr()
    assert (out, "refused" in err, "key 'server.drain_seconds'" in err) == ("", True, True)
    assert await models(bridge) == {("demo", "second")}
    (line,) = [line for line in bridge.log().splitlines() if "reload_refused" in line]
    assert "key 'server.drain_seconds'" in line

    # Refused by what serves, not by what reads.
    bridge.rewrite(config(THIRD, tls_cert="no", tls_key="no"))
    assert await reload(bridge) == 0
    assert "without server.tls_cert, server.tls_key" in capsys.readouterr().out
    assert await models(bridge) == {("demo", "third")}

    bridge.rewrite(config_of(node, tmp_path, [DEMO], workers=workers + 1))
    os.kill(bridge.pid, signal.SIGHUP)
    await until(lambda: "reloaded generation=4" in bridge.log())
    assert "WARNING ws_bridge reload_ignores keys=server.workers" in bridge.log()
    assert await models(bridge) == {("demo",)}
    assert "Traceback" not in bridge.log()


async def test_a_worker_that_starts_later_has_the_newest_settings(node, tmp_path):
    """A hangup of its own is not the server's."""
    bridge = Bridge()
    bridge.rewrite(config_of(node, tmp_path, workers=2))
    async with bridge:
        await until(lambda: len(workers_of(bridge)) == 2)
        for pid in workers_of(bridge).values():
            await until(lambda: bridge.log().count("INFO ws_bridge ready") == 2)
            os.kill(pid, signal.SIGHUP)
        await until(lambda: bridge.log().count("hangup_ignored") == 2)
        bridge.rewrite(config_of(node, tmp_path, [SECOND], workers=2))
        assert await asyncio.to_thread(control.ask, str(tmp_path / "control")) == (
            True,
            "reloaded generation=2",
        )
        os.kill(workers_of(bridge)[1], signal.SIGKILL)
        await until(lambda: bridge.log().count("INFO ws_bridge ready") == 3)
        assert await models(bridge) == {("second",)}


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hangup_before_anything_is_ready_is_remembered(node, tmp_path, workers):
    path = tmp_path / "path"
    path.mkdir()
    (path / "litellm.py").write_text(
        f"import os\nif os.path.exists({str(path / 'x')!r}):\n    {ENDLESS}\n"
    )
    bridge = Fresh()
    bridge.rewrite(config_of(node, tmp_path, workers=workers))
    try:
        bridge._process = await asyncio.to_thread(bridge._spawn)
        await until((tmp_path / "control").exists)
        bridge.rewrite(config_of(node, tmp_path, [SECOND], workers=workers))
        for _ in range(3):
            os.kill(bridge.pid, signal.SIGHUP)
        await until(lambda: "reloaded generation=2" in bridge.log())
        await until(lambda: bridge.log().count("INFO ws_bridge ready") == workers)
        assert await models(bridge) == {("second",)}
        assert await bridge.terminate() == 0
    finally:
        bridge.close()


async def test_a_hangup_without_a_file_changes_nothing(tmp_path):
    """So a terminal that is lost ends no server, with running responses least of all."""
    bridge = Bridge()
    bridge._spawn = lambda: bridge.process(
        [*bridge.program, "serve", "--port", str(bridge.port)],
        bridge._log,
        environ=bridge._environ,
        cwd=tmp_path,
    )
    async with bridge:
        await bridge.wait_ready()
        async with aiohttp.ClientSession() as session:
            asked = {"model": "demo", "input": "count to 30", "stream": True}
            async with session.post(bridge.url + "/v1/responses", json=asked) as got:
                await got.content.readline()
                os.kill(bridge.pid, signal.SIGHUP)
                await until(lambda: "reloaded generation=2" in bridge.log())
                assert "response.completed" in (await got.text())


async def test_what_is_no_request_gets_no_answer(bridge, tmp_path):
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control"))
    writer.write(b"reboot\n")
    async with asyncio.timeout(HANG_SECONDS):
        assert await reader.read() == b""
    writer.close()
    assert not re.search("reload|ERROR", bridge.log())


def test_a_server_that_is_not_there_is_one_line_and_exit_2(tmp_path, capsys):
    assert cli.main(["reload", "--socket", str(tmp_path / "none")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no server answers at the control socket" in line
    (tmp_path / "config.toml").write_text("[server]\n")
    assert cli.main(["reload", "--config", str(tmp_path / "config.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'server.control_socket' is not set" in line
