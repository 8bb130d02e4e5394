"""What would keep a server from starting is found without starting it, all at once."""

import socket
import sys

from support.redis_servers import Node, valkey_binary

from ws_bridge.config import Config, Settings
from ws_bridge.processes.preflight import problems_of_start
from ws_bridge.processes.sockets import listen

DEAD = "redis://127.0.0.1:1"


def settings(secrets=None, **sections):
    return Settings(Config.model_validate(sections, strict=False), secrets or {})


async def found(given, *, is_offline=False):
    return await problems_of_start(given, is_offline=is_offline)


async def test_a_server_that_can_start_has_no_problems(tmp_path):
    """And nothing is left of the trial."""
    path = tmp_path / "s"
    with Node(valkey_binary()) as node:
        listening = ["127.0.0.1:0", f"unix:{path}"]
        given = settings(server={"listen": listening}, store={"url": node.url})
        assert await found(given) == []
        assert list(tmp_path.iterdir()) == []
        for one in listen(given.config)[0]:
            one.close()


async def test_all_that_is_wrong_is_found_at_once(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = settings(
            server={"port": port, "tls_cert": "none.pem", "tls_key": "none.key"},
            store={"url": DEAD},
        )
        lines = await found(given)
    parts = ("'server.tls_cert' and 'server.tls_key'", f"127.0.0.1:{port} is in use", "'store.url'")
    for line, part in zip(lines, parts, strict=True):
        assert part in line
    assert "store_unreachable reason=ConnectionError" in caplog.text


async def test_a_store_that_answers_and_cannot_be_used_is_named():
    with Node(valkey_binary(), password="right") as node:  # noqa: S106 - a test's own
        url = node.url.replace("right", "wrong")
        (line,) = await found(settings(server={"port": 0}, store={"url": url}))
        assert "the server refuses the user or the password" in line
        right = {"ONE": "1" * 32, "TWO": "2" * 32}
        store = {"url": node.url, "encrypt_with_env": "ONE"}
        assert await found(settings(right, server={"port": 0}, store=store)) == []
        store["encrypt_with_env"] = "TWO"
        (line,) = await found(settings(right, server={"port": 0}, store=store))
        assert "encrypted with another secret" in line


async def test_offline_only_files_are_looked_at(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = settings(
            server={"port": taken.getsockname()[1], "tls_cert": "none.pem", "tls_key": "none.key"},
            store={"url": "rediss://127.0.0.1:1", "tls_ca": "/none.pem"},
        )
        tls, ca = await found(given, is_offline=True)
    assert "'server.tls_cert'" in tls
    assert "'store.tls_ca': /none.pem" in ca
    assert caplog.text == ""


async def test_a_library_that_is_missing_for_traces_is_found(monkeypatch):
    """Offline too, and only where traces are to be sent."""
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    given = settings(telemetry={"otlp_endpoint": "http://127.0.0.1:1"}, server={"port": 0})
    assert await found(given, is_offline=True) == []
    monkeypatch.setitem(sys.modules, name, None)
    for is_offline in (True, False):
        (line,) = await found(given, is_offline=is_offline)
        assert 'pip install "ws-bridge[otel]"' in line
    assert await found(settings(), is_offline=True) == []
