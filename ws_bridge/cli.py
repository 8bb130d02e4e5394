"""`ws-bridge` and its commands. Flags → configuration, configuration → exit code.

Exit codes: 0 well, 1 a check failed or a reload was refused, 2 the configuration or the command
line cannot be used.

Each command imports its own modules when it runs: a server starts sooner without the terminal's
editor, and the supervisor of several workers stays small.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ws_bridge import __version__
from ws_bridge.errors import ConfigError

if TYPE_CHECKING:
    from ws_bridge.config import Settings

log = logging.getLogger("ws_bridge")

DESCRIPTION = (
    "The Responses API's WebSocket mode for every model provider that litellm reaches. "
    "Begin with `ws-bridge init`, then `ws-bridge check`, then `ws-bridge serve`."
)
DEFAULT_URL = "ws://127.0.0.1:8787/v1/responses"


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ConfigError as unusable:
        for problem in unusable.problems:
            print(f"ws-bridge: {problem}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ws-bridge", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the bridge")
    serve.set_defaults(command=_serve)
    serve.add_argument("--config", type=Path, help="config.toml (default: the one in this folder)")
    serve.add_argument("--host", help="listen here instead")
    serve.add_argument("--port", type=int, help="listen there instead; 0 is any free port")
    serve.add_argument("--workers", type=int, help="so many processes; they need a shared store")

    reload = commands.add_parser("reload", help="have a running server read its config again")
    reload.set_defaults(command=_reload)
    reload.add_argument("--config", type=Path, help="the server's config.toml")
    reload.add_argument("--socket", default="", help="its control socket, if not that of the file")

    talk = commands.add_parser("chat", help="chat over the WebSocket in the terminal")
    talk.set_defaults(command=_chat)
    talk.add_argument("--url", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    talk.add_argument("--model", default="demo")
    talk.add_argument("--key-env", default="", help="environment variable with the client key")

    try_out = commands.add_parser("check", help="validate the config and try every enabled model")
    try_out.set_defaults(command=_check)
    try_out.add_argument("--config", type=Path, help="as for serve")
    try_out.add_argument("--offline", action="store_true", help="files only, without any network")

    keys = commands.add_parser("keys", help="make keys for clients")
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="print a new key, and the line for a file of keys")
    new.set_defaults(command=_new_key)
    new.add_argument("name", help="the client's name, as in [[keys]]")

    init = commands.add_parser("init", help="write a config.toml with every key and what it is for")
    init.set_defaults(command=_init)
    init.add_argument("path", type=Path, nargs="?", default=Path("config.toml"))
    init.add_argument("--force", action="store_true", help="replace a file that is there")
    return parser


def _new_key(options: argparse.Namespace) -> int:
    from ws_bridge.config.client_keys import new_key

    key, line = new_key(options.name)
    print(f"The key, which is shown only now:\n\n  {key}\n")
    print(f"The line for a file of [auth] keys_files:\n\n  {line}\n")
    print(f'Or, in the configuration:\n\n  [[keys]]\n  name = "{options.name}"')
    print(f'  sha256 = "{line.split()[1]}"')
    return 0


def _init(options: argparse.Namespace) -> int:
    from ws_bridge.config.example import write_example

    write_example(options.path, overwrites=options.force)
    print(f"wrote {options.path}: edit it, then run `ws-bridge check` and `ws-bridge serve`")
    return 0


def _settings(options: argparse.Namespace, **server: str | int | None) -> Callable[[], Settings]:
    """What loads the settings: each time from the file that there is now."""
    from ws_bridge.config import load, memory

    path = _config_file(options)

    def settings() -> Settings:
        found = load(path, os.environ, **server)
        return replace(found, config=memory.fitted(found.config, memory.container_limit()))

    return settings


def _config_file(options: argparse.Namespace) -> Path | None:
    path: Path | None = options.config
    if path is None and Path("config.toml").is_file():
        path = Path("config.toml")
    return path


def _source(options: argparse.Namespace) -> str:
    """Which configuration is used, in words."""
    from ws_bridge.config.model import PREFIX

    path = _config_file(options)
    if path is None:
        source = "built-in, the demo model only (`ws-bridge init` writes a file)"
    else:
        source = str(path)
    variables = sorted(name for name in os.environ if name.startswith(PREFIX))
    return f"{source}, and {', '.join(variables)}" if variables else source


def _log_memory(settings: Settings) -> None:
    """Say what the server may take where a container limits it; warn if that is too much."""
    from ws_bridge.config import memory

    limit = memory.container_limit()
    if limit is None:
        return
    total = memory.memory_sum(settings.config, limit)
    held = memory.most_held(settings.config)
    log.log(
        logging.INFO if total.fits else logging.WARNING,
        "memory_bounds limit_mib=%d needed_mib=%d base_mib=%d workers=%d %s%s",
        *(total.limit, total.base + total.bounds, total.base, settings.config.server.workers),
        " ".join(f"{name}={size // memory.MIB}" for name, size in held.items()),
        "" if total.fits else ": it is too much, and the kernel may end the server",
    )


def _chat(options: argparse.Namespace) -> int:
    from ws_bridge import terminal

    key = os.environ.get(options.key_env, "") if options.key_env else ""
    return terminal.run(options.url, options.model, key)


def _check(options: argparse.Namespace) -> int:
    from ws_bridge import check, logs
    from ws_bridge.processes import serving
    from ws_bridge.processes.preflight import problems_of_start
    from ws_bridge.upstream.model_table import build
    from ws_bridge.upstream.router import Router

    settings = _settings(options)()
    logs.set_up("warning", logs.secrets_of(settings))
    _log_memory(settings)
    routes = build(settings.config, settings.secrets)

    async def try_all() -> int:
        problems = await problems_of_start(settings, is_offline=options.offline)
        for problem in problems:
            print(f"ws-bridge: {problem}", file=sys.stderr)
        if options.offline:
            if not problems:
                print(f"ok   {_source(options)}: no model was asked")
            return 2 if problems else 0
        failed = await try_models()
        return 2 if problems else failed

    async def try_models() -> int:
        upstream = Router(routes.targets())
        try:
            await upstream.start()
        except ImportError as failure:
            print(f"ws-bridge: no model can be tried: {failure}", file=sys.stderr)
            return 1
        try:
            return await check.check(routes.all, upstream)
        finally:
            await upstream.stop()

    return serving.run(try_all())


def _serve(options: argparse.Namespace) -> int:
    from ws_bridge.processes import signals, temporary

    signals.exit_on_signal()
    from ws_bridge import logs

    temporary.choose_directory()
    given = {name: getattr(options, name) for name in ("host", "port", "workers")}
    load = _settings(options, **given)
    settings = load()
    server = settings.config.server
    logs.set_up(server.log_level, logs.secrets_of(settings), server.log_format)
    _log_memory(settings)

    def announce(listening: Sequence[socket.socket]) -> None:
        print(f"configuration: {_source(options)}")
        _announce(settings, listening)

    if settings.config.server.workers > 1:
        from ws_bridge.processes import supervisor

        return supervisor.run(settings, load, announce)
    from ws_bridge.processes import single

    return single.run(settings, load, announce)


def _reload(options: argparse.Namespace) -> int:
    from ws_bridge.config import load_key
    from ws_bridge.processes import control

    path = options.socket or load_key(_config_file(options), "server", "control_socket")
    if not path:
        raise ConfigError(
            "key 'server.control_socket' is not set, so the server cannot be asked: set it and "
            "restart the server, or send SIGHUP to its process"
        )
    has_reloaded, outcome = control.ask(str(path))
    print(outcome, file=sys.stdout if has_reloaded else sys.stderr)
    return 0 if has_reloaded else 1


def _announce(settings: Settings, listening: Sequence[socket.socket]) -> None:
    """Print which models can be asked, and the addresses, which come last."""
    from ws_bridge.processes.sockets import address
    from ws_bridge.upstream.model_table import build

    for route in build(settings.config, settings.secrets).all:
        if route.target is None:
            print(f"model {route.name}: off ({route.off_reason})")
        else:
            print(f"model {route.name}: on ({route.target.model})")
    for one in listening:
        print(f"listening on {address(settings.config, one)}", flush=True)
