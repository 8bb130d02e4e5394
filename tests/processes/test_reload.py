"""New settings in one process: its certificate, its log, its bridge."""

import asyncio
import logging
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from support.private_ca import PrivateCa
from support.scripted_upstream import Scripted, answer

from ws_bridge import logs
from ws_bridge.config import Config, Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.reload import Reloader
from ws_bridge.processes.sockets import tls
from ws_bridge.server.app import Bridge
from ws_bridge.server.transport.listener import serve_on


@pytest.fixture
def certificate(tmp_path):
    """Makes a certificate with a name, and returns its keys of the configuration."""
    authority = PrivateCa(tmp_path)

    def make(name: str) -> dict[str, str]:
        signed = authority.sign(name)
        return {"tls_cert": str(signed.certificate), "tls_key": str(signed.key)}

    return make


async def shown(port: int, server_name: str | None) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await writer.start_tls(context, server_hostname=server_name)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert reader is not None
    return found


def der_of(keys: dict[str, str]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(keys["tls_cert"]).read_text(encoding="ascii"))


async def test_a_process_changes_its_certificate_its_log_and_its_limits(certificate):
    def settings(server, secrets, **sections):
        given = {"server": server, "auth": {"keys_env": ["K"]}, **sections}
        return Settings(Config.model_validate(given, strict=False), {"K": secrets})

    first, second = certificate("first"), certificate("second")
    bad = Path(second["tls_key"]).with_name("bad")
    bad.write_text("no key", encoding="ascii")
    running = settings(first, "old-secret")
    logs.change("info", logs.secrets_of(running))
    context = tls(running.config)
    bridge = Bridge(running, upstream=Scripted(answer("x")))
    runner = web.AppRunner(bridge.app)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listener = await serve_on(runner, [listening], running.config, context)
    reloader = Reloader(bridge, listener, context)
    try:
        assert await shown(port, "localhost") == await shown(port, "") == der_of(first)
        with pytest.raises(ConfigError, match=r"server\.tls_key"):
            reloader.prepare(settings(second | {"tls_key": str(bad)}, "new-secret"))
        assert await shown(port, "localhost") == der_of(first)

        wanted = settings(
            second | {"log_level": "debug"}, "new-secret", limits={"unread_seconds": 7}
        )
        reloader.commit(reloader.prepare(wanted))
        assert await shown(port, "localhost") == await shown(port, "") == der_of(second)
        assert logging.getLogger("ws_bridge").level == logging.DEBUG
        cleaned = logs.CleanRecord.cleaner.clean("old-secret new-secret other-text")
        assert cleaned == "[redacted] [redacted] other-text"
        assert listener.state.limits.unread_seconds == 7
        third = certificate("third")
        reloader.commit(reloader.prepare(settings(third, "new-secret")))
        assert await shown(port, "") == der_of(third)
    finally:
        bridge.force.set()
        await listener.close()
