"""A server and the service manager that started it, over systemd's protocol."""

import logging
import os
import re
import socket
import time
from pathlib import Path

import pytest
from support.fleet import Bridge
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.workers import DEMO, until, workers_of

from ws_bridge.processes import notify
from ws_bridge.processes.notify import VARIABLE, Notifier


class Manager:
    """The socket on which a service manager hears."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(HANG_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def heard(self):
        """The next message, as its assignments."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def is_silent(self):
        """Whether nothing waits to be heard."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_manager_hears_each_state_in_its_turn_and_nothing_after_the_stop(kind, tmp_path):
    path = str(tmp_path / "notify")
    address, bound = {
        "path": (path, path),
        "abstract": (f"@wsb-{os.getpid()}", f"\0wsb-{os.getpid()}"),
    }[kind]
    with Manager(bound) as manager:
        notifier = Notifier(address)
        notifier.reloading()
        notifier.reloaded()
        notifier.ready()
        notifier.ready()
        began = time.monotonic_ns() // 1000
        notifier.reloading()
        notifier.reloaded()
        notifier.stopping()
        notifier.reloaded()
        assert manager.heard() == {"READY": "1"}
        reload = manager.heard()
        assert reload.keys() == {"RELOADING", "MONOTONIC_USEC"}
        assert began <= int(reload["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.heard() == {"READY": "1"}
        assert manager.heard() == {"STOPPING": "1"}
        assert manager.is_silent()


def test_a_manager_that_is_gone_is_one_line(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        Notifier(str(tmp_path / "none")).ready()
        Notifier().ready()
    assert [one.getMessage() for one in caplog.records] == [
        "notify_failed reason=No such file or directory"
    ]


def test_what_the_server_starts_does_not_inherit_the_address(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/run/none")
    assert notify.from_environment()._address == "/run/none"
    assert VARIABLE not in os.environ


def environment_of(pid):
    """The names of the variables with which a process was started."""
    text = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8")
    return {each.partition("=")[0] for each in text.split("\0")}


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_says_when_it_is_ready_reloads_and_stops(workers, tmp_path):
    address = str(tmp_path / "notify")
    with Manager(address) as manager, Node(valkey_binary()) as node:
        config = {
            "server": {"workers": workers, "lame_duck_seconds": 0.2},
            "store": {"url": node.url},
            "models": [DEMO],
        }
        async with Bridge(config, {VARIABLE: address}) as bridge:
            assert manager.heard() == {"READY": "1"}
            assert "INFO ws_bridge ready" in bridge.log()
            for change in ({"name": "other"}, {"model": "no provider"}):
                bridge.rewrite({**config, "models": [DEMO | change]})
                bridge.hang_up()
                assert manager.heard()["RELOADING"] == "1"
                assert manager.heard() == {"READY": "1"}
            log = bridge.log()
            await until(lambda: re.search(" reloaded .* reload_refused ", bridge.log(), re.DOTALL))
            if workers > 1:
                assert VARIABLE not in environment_of(workers_of(bridge)[1])
            assert await bridge.terminate() == 0, log
            assert manager.heard() == {"STOPPING": "1"}
            assert manager.is_silent()
