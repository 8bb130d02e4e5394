"""`ws-bridge`: serve, chat, check. Flags → configuration, configuration → exit code.

Exit codes: 0 well, 1 a check failed, 2 the configuration or the command line cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from ws_bridge import __version__, chat, check
from ws_bridge.config import Config, load
from ws_bridge.errors import ConfigError
from ws_bridge.server.app import Bridge
from ws_bridge.upstream.providers import Providers
from ws_bridge.upstream.routes import Route, Routes, build

log = logging.getLogger("ws_bridge")

BACKLOG = 1024  # connections that wait to be accepted: all clients come back at once
DEFAULT_URL = "ws://127.0.0.1:8787/v1/responses"


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ConfigError as unusable:
        print(f"ws-bridge: {unusable}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ws-bridge", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the bridge")
    serve.set_defaults(command=_serve)
    serve.add_argument("--config", type=Path, help="config.toml (default: the one in this folder)")
    serve.add_argument("--host", help="listen here instead")
    serve.add_argument("--port", type=int, help="listen there instead; 0 is any free port")

    talk = commands.add_parser("chat", help="chat over the WebSocket in the terminal")
    talk.set_defaults(command=_chat)
    talk.add_argument("--url", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    talk.add_argument("--model", default="demo")
    talk.add_argument("--key-env", default="", help="environment variable with the client key")

    try_out = commands.add_parser("check", help="validate the config and try every enabled model")
    try_out.set_defaults(command=_check)
    try_out.add_argument("--config", type=Path)
    return parser


def _config(options: argparse.Namespace, **server: str | int | None) -> Config:
    path: Path | None = options.config
    if path is None and Path("config.toml").is_file():
        path = Path("config.toml")
    return load(path, os.environ, **server)


def _chat(options: argparse.Namespace) -> int:
    key = os.environ.get(options.key_env, "") if options.key_env else ""
    return chat.run(options.url, options.model, key)


def _check(options: argparse.Namespace) -> int:
    config = _config(options)
    _set_up_logging("error")
    return _run(_try_models(build(config, os.environ)))


async def _try_models(routes: Routes) -> int:
    upstream = Providers(routes.targets())
    await upstream.open()
    try:
        return await check.check(routes.all, upstream)
    finally:
        await upstream.close()


def _serve(options: argparse.Namespace) -> int:
    config = _config(options, host=options.host, port=options.port)
    _set_up_logging(config.server.log_level)
    return _run(_serve_until_stopped(config))


async def _serve_until_stopped(config: Config) -> int:
    tls, listening = _tls(config), _listen(config)
    bridge = Bridge(config)
    await bridge.open_store()
    stop = _stop_on_signal(bridge)
    for route in bridge.routes.all:
        print(_line(route), flush=True)
    runner = web.AppRunner(
        bridge.app, access_log=None, handler_cancellation=True, shutdown_timeout=5
    )
    await runner.setup()
    await web.SockSite(runner, listening, ssl_context=tls).start()
    host, port = listening.getsockname()[:2]
    scheme = "https" if tls else "http"
    print(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    await _either(stop, bridge.broken)
    log.info("draining")
    await runner.cleanup()
    log.info("stopped")
    return 1 if bridge.broken.is_set() else 0


def _listen(config: Config) -> socket.socket:
    """The listening socket: first of all, so that an address in use costs nobody anything."""
    host, port = config.server.host, config.server.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as refused:
        raise _cannot_listen(config, refused) from None


def _stop_on_signal(bridge: Bridge) -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT; a second one hurries the drain."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            bridge.hurry.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


async def _either(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _line(route: Route) -> str:
    if route.target is None:
        return f"model {route.name}: off ({route.off_reason})"
    return f"model {route.name}: on ({route.target.model})"


def _cannot_listen(config: Config, refused: OSError) -> ConfigError:
    where = f"{config.server.host}:{config.server.port}"
    if refused.errno == errno.EADDRINUSE:
        return ConfigError(
            f"key 'server.port': {where} is in use: stop the other server or choose another port"
        )
    return ConfigError(f"key 'server.host': cannot listen on {where} ({refused.strerror})")


def _tls(config: Config) -> ssl.SSLContext | None:
    server = config.server
    if not server.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"keys 'server.tls_cert' and 'server.tls_key': {server.tls_cert} and {server.tls_key} "
            "are not a readable PEM certificate and its key: correct the paths"
        ) from None
    return context


def _set_up_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    # What aiohttp logs of a client's bad request holds header values, keys among them; errors of
    # our own handlers are logged by ours.
    for name in ("aiohttp.server", "aiohttp.websocket", "aiohttp.web", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _run(coroutine: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(coroutine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)
