"""`ws-bridge` and its commands. Flags → configuration, configuration → exit code.

Exit codes: 0 well, 1 a check failed or a reload was refused, 2 the configuration or the command
line cannot be used.

Each command imports its own modules when it runs: a server starts sooner without the terminal's
editor, and the supervisor of several workers stays small.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ws_bridge import __version__
from ws_bridge.errors import ConfigError

if TYPE_CHECKING:
    from ws_bridge.config import Settings

    # argparse has no public name for it.
    Commands = argparse._SubParsersAction["CommandParser"]  # noqa: SLF001

log = logging.getLogger("ws_bridge")

DEFAULT_URL = "ws://127.0.0.1:8787/v1/responses"
VARIABLE = re.compile(r"[A-Za-z_]\w*")

ABOUT = """\
OpenAI's Responses API over WebSockets, for every model provider that litellm reaches.

Begin with `ws-bridge init`, then `ws-bridge check`, then `ws-bridge serve`."""
CONFIG_HELP = "the configuration (default: config.toml of this folder, if there is one)"
SERVE = """\
Run the bridge until it is stopped (Ctrl-C or SIGTERM: it lets running responses finish).

The first lines say which configuration is used, which models are on, and where it listens."""
SERVE_EXAMPLES = """\
examples:
  ws-bridge serve
  ws-bridge serve --config bridge.toml --port 9000
  WS_BRIDGE__SERVER__LOG_LEVEL=debug ws-bridge serve     # any key of the configuration"""
RELOAD = """\
Have a running server read its configuration and its files of keys again. Sockets and running
responses stay. A file with a mistake changes nothing; what is wrong is printed.

It is asked by its control socket, which `[server] control_socket` sets before it starts. SIGHUP
does the same without one."""
CHAT = """\
Talk to a model of a running bridge. `/help` lists what else there is; Ctrl-D leaves.

Lines of a pipe are answered one after the other; it exits with 1 if one was not."""
CHAT_EXAMPLES = """\
examples:
  ws-bridge chat
  ws-bridge chat --url wss://bridge.example --key-env TEAM_KEY --model claude-sonnet-4-5
  echo "count to 3" | ws-bridge chat"""
CHECK = """\
Find what would keep `ws-bridge serve` from starting, then ask each model that is on something
short: a line each. It exits with 2 for the first kind, with 1 if a model gave no answer."""
KEYS = "Make keys for clients. A server without keys serves its own machine only."
NEW_KEY = """\
Make a key. It is printed once, for the client; the server needs its name and hash alone, which
are a line of a file that `[auth] keys_files` names."""
NEW_KEY_EXAMPLES = """\
examples:
  ws-bridge keys new ada                   # shows the key, and both forms that a server can read
  ws-bridge keys new ada --to client-keys  # prints the key, and adds its line to the file"""
INIT = """\
Write a configuration with every key as a comment: its default, and what it is for. Of what you
do not set, the default holds."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose texts keep their lines, and whose errors are one line and name the help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        """Print it and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see `{self.prog} --help`)\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Exit with 2, since these mean nothing here; name the option that may be meant."""
        option = words[0].partition("=")[0]
        near = difflib.get_close_matches(option, self._option_string_actions, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        kind = "option" if option.startswith("-") else "argument"
        self.error(f"unknown {kind} {option}{hint}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.refuse(unknown)
    try:
        return int(options.command(options))
    except ConfigError as unusable:
        for problem in unusable.problems:
            print(f"ws-bridge: {problem}", file=sys.stderr)
        return 2


def _parser() -> CommandParser:
    parser = CommandParser(prog="ws-bridge", description=ABOUT)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_init(commands)
    _add_check(commands)
    _add_serve(commands)
    _add_reload(commands)
    _add_keys(commands)
    _add_chat(commands)
    return parser


def _add_init(commands: Commands) -> None:
    init = _command(commands, "init", _init, "write a configuration of your own", text=INIT)
    init.add_argument(
        "path",
        type=Path,
        nargs="?",
        default=Path("config.toml"),
        help="the file (default: config.toml)",
    )
    init.add_argument("--force", action="store_true", help="replace a file that is there")


def _add_check(commands: Commands) -> None:
    check = _command(commands, "check", _check, "try the configuration and its models", text=CHECK)
    check.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP)
    check.add_argument("--offline", action="store_true", help="look at files only, ask no model")


def _add_serve(commands: Commands) -> None:
    serve = _command(
        commands, "serve", _serve, "run the bridge", text=SERVE, examples=SERVE_EXAMPLES
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP)
    serve.add_argument("--host", help="listen here (default: 127.0.0.1, or as configured)")
    serve.add_argument(
        "--port", type=int, help="listen there (default: 8787, or as configured); 0: any free port"
    )
    serve.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="run so many processes (default: 1, or as configured); several need a shared store",
    )


def _add_reload(commands: Commands) -> None:
    summary = "have a running server read its configuration again"
    reload = _command(commands, "reload", _reload, summary, text=RELOAD)
    reload.add_argument("--config", type=Path, metavar="FILE", help="the server's configuration")
    reload.add_argument(
        "--socket", default="", metavar="PATH", help="its control socket (default: as configured)"
    )


def _add_keys(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="make keys for clients", description=KEYS)
    keys.set_defaults(parser=keys)
    actions = keys.add_subparsers(required=True, metavar="ACTION", title="actions")
    new = _command(actions, "new", _new_key, "make a key", text=NEW_KEY, examples=NEW_KEY_EXAMPLES)
    new.add_argument("name", metavar="NAME", help="the client's name, as in [[keys]]")
    new.add_argument(
        "--to", type=Path, metavar="FILE", help="add its line to this file, and print the key alone"
    )


def _add_chat(commands: Commands) -> None:
    chat = _command(
        commands,
        "chat",
        _chat,
        "talk to a model in the terminal",
        text=CHAT,
        examples=CHAT_EXAMPLES,
    )
    chat.add_argument("--url", default=DEFAULT_URL, help=f"the bridge (default: {DEFAULT_URL})")
    chat.add_argument("--model", default="demo", help="the model's name (default: demo)")
    chat.add_argument(
        "--key-env",
        default="",
        metavar="VARIABLE",
        help="the environment variable with your key (default: no key is sent)",
    )


def _command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    text: str,
    examples: str = "",
) -> CommandParser:
    parser = commands.add_parser(name, help=summary, description=text, epilog=examples)
    parser.set_defaults(command=run, parser=parser)
    return parser


def _new_key(options: argparse.Namespace) -> int:
    from ws_bridge.config.client_keys import append_line, new_key

    key, line = new_key(options.name)
    if options.to:
        append_line(options.to, line)
        print(key)
        return 0
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
    from ws_bridge.config.example import example_file
    from ws_bridge.config.model import PREFIX

    path = _config_file(options)
    if path is None:
        source = f"the models of {example_file()} (`ws-bridge init` writes a file of your own)"
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

    return terminal.run(options.url, options.model, _key_of(options.key_env))


def _key_of(variable: str) -> str:
    """The key in a variable; empty if none is named. Raises ``ConfigError`` if there is none."""
    if not variable:
        return ""
    if not VARIABLE.fullmatch(variable):
        raise ConfigError("--key-env takes the name of an environment variable, not the key itself")
    if not (key := os.environ.get(variable, "")):
        raise ConfigError(
            f"{variable} is not set: it is to hold your key; "
            "leave --key-env out for a bridge without keys"
        )
    return key


def _check(options: argparse.Namespace) -> int:
    from ws_bridge import check, logs
    from ws_bridge.processes import serving
    from ws_bridge.processes.preflight import problems_of_start
    from ws_bridge.upstream.model_table import build, unpriced
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
            problems = unpriced(settings.config, routes, upstream.prices_of)
            for problem in problems:
                print(f"ws-bridge: {problem}", file=sys.stderr)
            failed = await check.check(routes.all, upstream)
            return 2 if problems else failed
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
