"""Listening sockets as the kernel has them: ports, families, UNIX sockets, and what is refused.

Where a test starts servers they are real ones, which only say that they live.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys

import aiohttp
import pytest
from support.fleet import Fresh
from support.hang import HANG_SECONDS
from support.private_ca import PrivateCa
from support.redis_servers import Node, valkey_binary

from ws_bridge.config import Config
from ws_bridge.errors import ConfigError
from ws_bridge.processes import sockets

DEMO = {"name": "demo", "model": "demo/demo", "drop_params": True}


def config_of(**server):
    return Config.model_validate({"server": server}, strict=False)


@pytest.fixture
def listen():
    """`sockets.listen`; what it opens is closed with the test."""
    with contextlib.ExitStack() as ends:

        def open_all(count=1, **server):
            opened = sockets.listen(config_of(**server), count)
            for own in opened:
                for one in own:
                    ends.enter_context(one)
            return opened

        yield open_all


def port_of(one):
    return one.getsockname()[1]


def connect(address):
    with socket.create_connection(address, timeout=HANG_SECONDS) as client:
        return client.getpeername()


# Ports


def test_sockets_on_one_port_each_have_their_own_connections(listen):
    """Or, where the kernel cannot spread them, are the same one."""
    opened = listen(3, port=0)
    assert [len(own) for own in opened] == [1, 1, 1]
    [(host, port)] = {own[0].getsockname() for own in opened}
    assert host == "127.0.0.1"
    with pytest.raises(ConfigError, match=f"'server.port': 127.0.0.1:{port} is in use"):
        listen(3, port=port)


def test_an_address_that_is_not_ours_is_a_line_about_the_host(listen):
    with pytest.raises(ConfigError, match=re.escape(os.strerror(errno.EADDRNOTAVAIL))) as refused:
        listen(2, host="192.0.2.1")
    assert "'server.host'" in str(refused.value)
    with pytest.raises(ConfigError, match=r"'server.listen': cannot listen on 192\.0\.2\.1:1 "):
        listen(2, listen=["192.0.2.1:1"])


def test_what_was_opened_is_closed_when_a_later_address_is_in_use(listen):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = port_of(free)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = f"127.0.0.1:{port_of(taken)}"
        with pytest.raises(ConfigError, match=f"'server.listen': {other} is in use"):
            listen(2, listen=[f"127.0.0.1:{port}", other])
    listen(2, listen=[f"127.0.0.1:{port}"])


@pytest.mark.parametrize("count", [1, 2])
def test_the_address_of_all_is_both_families(listen, count):
    """`host = "::"`, and its long form."""
    port = port_of(listen(count, host="::", port=0)[0][0])
    assert connect(("127.0.0.1", port))
    assert connect(("::1", port))
    assert connect(("127.0.0.1", port_of(listen(count, listen=["[::]:0"])[0][0])))


@pytest.mark.parametrize("count", [1, 2])
def test_both_families_can_have_an_address_of_their_own_on_one_port(listen, count):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as free:
        port = port_of(free)
    opened = listen(count, listen=[f"0.0.0.0:{port}", f"[::]:{port}"])
    for own in opened:
        assert [one.family for one in own] == [socket.AF_INET, socket.AF_INET6]
    for one in (*opened[0][:1], *(own[0] for own in opened[1:])):
        one.close()  # those of IPv4
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
    assert connect(("::1", port))


def test_an_address_is_printed_as_a_client_writes_it(listen, tmp_path):
    path = str(tmp_path / "s")
    config = {"listen": ["127.0.0.1:0", "[::1]:0", f"unix:{path}"]}
    four, six, unix = listen(**config)[0]
    said = [sockets.address(config_of(**config), one) for one in (four, six, unix)]
    assert said == [
        f"http://127.0.0.1:{port_of(four)}",
        f"http://[::1]:{port_of(six)}",
        f"unix:{path}",
    ]
    assert sockets.address(config_of(tls_cert="c", tls_key="k"), four).startswith("https://")
    assert sockets.tls(config_of()) is None


# UNIX sockets


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mode", "given"), [("0660", {}), ("0600", {"unix_mode": "600"})])
def test_the_file_of_a_unix_socket_has_the_rights_that_are_asked_for(listen, tmp_path, mode, given):
    path = tmp_path / "s"
    mask = os.umask(0o022)
    try:
        listen(listen=[f"unix:{path}"], **given)
    finally:
        assert os.umask(mask) == 0o022  # ours again, for all other files
    assert rights(path) == int(mode, 8)


def test_processes_share_one_unix_socket(listen, tmp_path):
    path = tmp_path / "s"
    first, second = (own[0] for own in listen(2, listen=[f"unix:{path}"]))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        first.close()
        accepted, _ = second.accept()
        accepted.close()


def test_the_file_of_a_dead_server_is_replaced_and_of_a_living_one_refused(listen, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    own = {"listen": [f"unix:{path}"]}
    listen(**own)
    with pytest.raises(ConfigError, match=f"'server.listen': unix:{path} is in use"):
        listen(**own)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))  # the refusal has left it as it was


def test_a_living_server_that_accepts_nothing_now_is_not_taken_for_dead(
    listen, tmp_path, monkeypatch
):
    path = tmp_path / "s"
    monkeypatch.setattr(sockets, "PROBE_SECONDS", 0.01)
    with contextlib.ExitStack() as ends:
        busy = ends.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):  # its queue is full after one
            client = ends.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(path))
        with pytest.raises(ConfigError, match="is in use"):
            listen(listen=[f"unix:{path}"])


def test_a_file_that_is_no_socket_is_never_removed(listen, tmp_path):
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"cannot listen on unix:.* \(there is a file that is"):
        listen(listen=[f"unix:{path}"])
    assert path.read_text() == "mine"


# Servers


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as running:
        yield running


async def ask(bridge, path=None, host="127.0.0.1"):
    """What `/healthz` answers at an address of the server."""
    connector = aiohttp.UnixConnector(str(path)) if path else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.get(f"http://{host}:{bridge.port}/healthz") as answer,
    ):
        return answer.status


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_answers_at_every_address(node, tmp_path, workers):
    """Of several workers one is lost: the others, and its successor, serve the same addresses."""
    path = tmp_path / "s"
    bridge = Fresh()
    bridge._config = {
        "server": {
            "listen": [f"127.0.0.1:{bridge.port}", f"[::1]:{bridge.port}", f"unix:{path}"],
            "workers": workers,
        },
        "store": {"url": node.url},
        "models": [DEMO],
    }
    async with bridge:
        await bridge.wait_ready()  # it has said all by then
        lines = [line for line in bridge.log().splitlines() if line.startswith("listening on ")]
        assert lines == [
            f"listening on http://127.0.0.1:{bridge.port}",
            f"listening on http://[::1]:{bridge.port}",
            f"listening on unix:{path}",
        ]
        for _ in range(2):
            answers = [await ask(bridge), await ask(bridge, host="[::1]"), await ask(bridge, path)]
            assert answers == [200] * 3
            if workers > 1:
                (pid,) = re.findall(r"worker_started number=1 pid=(\d+)", bridge.log())[-1:]
                os.kill(int(pid), signal.SIGKILL)
                async with asyncio.timeout(HANG_SECONDS):
                    while bridge.log().count("worker_started number=1") < 2:  # noqa: ASYNC110 - a log
                        await asyncio.sleep(0.02)
                workers = 1
        assert await bridge.terminate() == 0


LOADS = """
import sys
from ws_bridge.config import Config
from ws_bridge.errors import ConfigError
from ws_bridge.processes.sockets import tls
try:
    tls(Config.model_validate({"server": {"tls_cert": sys.argv[1], "tls_key": sys.argv[2]}}))
except ConfigError:
    print("refused")
"""


@pytest.mark.parametrize("kind", ["encrypted", "fifo"])
def test_no_key_of_tls_is_waited_for(kind, tmp_path):
    """OpenSSL asks standard input for a password: a worker has its supervisor's commands there."""
    signed = PrivateCa(tmp_path).sign("server")
    key = tmp_path / "waits.key"
    if kind == "fifo":
        os.mkfifo(key)
    else:
        encrypt = f"openssl ec -in {signed.key} -aes256 -passout pass:word -out {key}"
        subprocess.run(encrypt.split(), check=True, capture_output=True)  # noqa: S603 - our own
    loading = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", LOADS, str(signed.certificate), str(key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # without the terminal of who runs the tests
    )
    try:
        loading.wait(HANG_SECONDS)  # its input stays open
        assert loading.stdout.read() == b"refused\n"
    finally:
        loading.kill()
        loading.communicate()
