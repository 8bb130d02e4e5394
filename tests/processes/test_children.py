"""The template is replaced where it ends or is silent, and done without where it cannot load."""

import asyncio
import os
import signal
import sys

import pytest
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from support.workers import ENDLESS, Watched, children, is_forked, until

from ws_bridge.processes import children as children_module
from ws_bridge.processes.children import ANSWER_SECONDS, Template, TemplateLost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


async def test_where_the_template_cannot_load_workers_load_by_themselves(
    caplog, tmp_path, monkeypatch
):
    """It is tried again when a worker could."""
    caplog.set_level("INFO", "ws_bridge")
    (tmp_path / "litellm.py").write_text(ENDLESS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with Watched(caplog) as watched:
        await until(lambda: any(map(is_forked, children(os.getpid()))))
        (template,) = filter(is_forked, children(os.getpid()))
        (tmp_path / "litellm.py").unlink()
        os.kill(template, signal.SIGKILL)
        assert not is_forked(await watched.ready())
        assert watched.logged("template_failed") == ["template_failed reason=it has ended"]
        await watched.template()
        assert is_forked(await watched.ready(await watched.kill()))


async def test_a_template_that_gives_no_answer_is_replaced(caplog):
    caplog.set_level("INFO", "ws_bridge")
    async with Watched(caplog) as watched:
        await watched.ready()
        os.kill(await watched.template(), signal.SIGSTOP)
        killed = await watched.kill()
        await until(lambda: watched.hands.sleepers)
        watched.hands.advance(ANSWER_SECONDS)
        assert not is_forked(await watched.ready(killed))
        await until(lambda: len(watched.logged("template_loaded")) == 2)
        assert watched.paused == []


# A template that ends in the middle of a fork: what it has forked still holds its socket.
ENDS_AMID_A_FORK = """
import os, pathlib, socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
control.send(b"loaded")
control.recv(4096)
if not (forked := os.fork()):
    control.recv(1)
    os._exit(0)
with pathlib.Path(__file__).with_name("forked").open("a") as file:
    file.write(f"{forked}\\n")
os._exit(0)
"""


async def test_a_template_that_ends_amid_a_fork_is_noticed_at_once(tmp_path, monkeypatch):
    """Nobody waits for the answer of one that has ended: meanwhile there would be no worker."""
    (tmp_path / "ends_amid_a_fork.py").write_text(ENDS_AMID_A_FORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(children_module, "TEMPLATE", "ends_amid_a_fork")
    template = Template(FakeClock().clock())
    running = asyncio.create_task(template.run())
    try:
        for _ in range(2):
            async with asyncio.timeout(HANG_SECONDS):
                with pytest.raises(TemplateLost):
                    await template.fork(["1"], [0])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for forked in (tmp_path / "forked").read_text().split():
            await asyncio.to_thread(os.waitpid, int(forked), 0)  # it is a child of this process now


async def test_where_the_system_cannot_adopt_a_worker_it_is_started_by_itself(caplog, monkeypatch):
    """As on other platforms."""
    monkeypatch.setattr(children_module, "adopt_orphans", lambda **_: False)
    caplog.set_level("INFO", "ws_bridge")
    async with Watched(caplog) as watched:
        pid = await watched.ready()
        assert not is_forked(pid)
        watched.stop_signals.signal_received()
        assert await watched.code() == 0
        assert watched.logged("worker_ended") == [f"worker_ended number=1 pid={pid} code=0"]
