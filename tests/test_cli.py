"""The command line as a user meets it: real processes, exit codes, one-line messages."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.hang import HANG_SECONDS

from ws_bridge.config import Config, load

REPOSITORY = Path(__file__).parent.parent
DEMO = '[[models]]\nname = "demo"\nmodel = "demo/demo"\ndrop_params = true\n'
ONLY_DEMO = "[server]\nport = 0\n" + DEMO


LAME = "WS_BRIDGE__SERVER__LAME_DUCK_SECONDS"
TLS = 'tls_cert = "none.pem"\ntls_key = "none.key"\n'


def environ(**more):
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    return kept | more


def run(*arguments, **more):
    command = [sys.executable, "-m", "ws_bridge", *arguments]
    return subprocess.run(  # noqa: S603 - our own program
        command,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        env=environ(**more),
        check=False,
    )


class Served:
    """A `ws-bridge serve` process."""

    def __init__(self, *arguments, **more):
        command = [sys.executable, "-m", "ws_bridge", "serve", *arguments]
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ(**{LAME: "0"}, **more),
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("listening on "):
                break
        self.url = self.lines[-1].removeprefix("listening on ") if self.lines else ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return str(path)

    return write


def test_the_config_file_of_the_repository_shows_every_key_with_its_default():
    shown = load(REPOSITORY / "config.toml", {}).config
    built_in = Config()
    for name in ("server", "auth", "store", "background", "limits"):
        assert getattr(shown, name) == getattr(built_in, name)
        text = (REPOSITORY / "config.toml").read_text()
        section = re.search(rf"^\[{name}\]$(.*?)^\[", text, re.MULTILINE | re.DOTALL)[1]
        keys = set(re.findall(r"^(\w+) =", section, re.MULTILINE))
        assert keys == set(type(getattr(built_in, name)).model_fields)


def test_serve_prints_each_model_as_on_or_off_and_the_address_last(config, tmp_path):
    more = '[[models]]\nname = "gpt-*"\nmodel = "openai/gpt-*"\napi_key_env = "OPENAI_API_KEY"\n'
    with Served("--config", config(ONLY_DEMO + more)) as served:
        assert served.lines[:-1] == [
            f"configuration: {tmp_path / 'config.toml'}, and {LAME}",
            "model demo: on (demo/demo)",
            "model gpt-*: off (OPENAI_API_KEY is not set)",
        ]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", served.url)
        with urllib.request.urlopen(served.url + "/healthz", timeout=HANG_SECONDS) as answer:  # noqa: S310
            assert answer.status == 200


def test_sigterm_ends_it_well_and_the_log_has_no_traceback(config):
    with Served("--config", config(ONLY_DEMO)) as served:
        served.process.send_signal(signal.SIGTERM)
        _, log = served.process.communicate(timeout=HANG_SECONDS)
        assert served.process.returncode == 0
        assert "Traceback" not in log
        assert log.rstrip().endswith("stopped")


def test_a_port_in_use_is_one_line_and_exit_2(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("serve", "--config", config(ONLY_DEMO), "--port", port)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"ws-bridge: key 'server.port': 127.0.0.1:{port} is in use: "
        "stop the other server or choose another port\n"
    )


UNUSABLE = {
    "unknown key": ("[server]\nprot = 1\n" + DEMO, "unknown key 'server.prot'"),
    "a fallback nobody serves": (ONLY_DEMO + 'fallbacks = ["nobody"]\n', "nobody"),
    "key variable not set": ('[auth]\nkeys_env = ["NO_KEYS"]\n' + DEMO, "NO_KEYS is not set"),
    "public without keys": ('[server]\nhost = "0.0.0.0"\n' + DEMO, "0.0.0.0 is a public address"),
    "not TOML": ("[server\n", "not valid TOML"),
    "no certificate": (
        '[server]\nport = 0\ntls_cert = "none.pem"\ntls_key = "none.key"\n' + DEMO,
        "'server.tls_cert'",
    ),
}


@pytest.mark.parametrize(("text", "part"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_configuration_is_one_line_and_exit_2(config, text, part):
    ended = run("serve", "--config", config(text))
    assert ended.returncode == 2
    assert part in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("ws-bridge: ")


def test_all_mistakes_are_lines_of_one_run(config):
    text = '[server]\nprot = 1\n[auth]\nkeys_env = ["NO_KEYS"]\n'
    ended = run("serve", "--config", config(text), WS_BRIDGE__SERVER__PORT="x")
    assert (ended.returncode, ended.stdout) == (2, "")
    parts = ("WS_BRIDGE__SERVER__PORT", "'server.prot'", "no [[models]] entry", "NO_KEYS")
    for line, part in zip(ended.stderr.splitlines(), parts, strict=True):
        assert line.startswith("ws-bridge: ")
        assert part in line


def test_the_environment_sets_what_the_file_leaves_out(config):
    environ = {"WS_BRIDGE__SERVER__HOST": "127.0.0.3", "WS_BRIDGE__LIMITS__ASKED_MIB": "7"}
    with Served("--config", config(ONLY_DEMO), **environ) as served:
        assert served.url.startswith("http://127.0.0.3:")
        assert served.lines[0].endswith(f"config.toml, and {', '.join(sorted([*environ, LAME]))}")


def test_the_server_is_there_before_litellm_is():
    """Importing litellm takes seconds; `/healthz` answers meanwhile."""
    code = "import sys, ws_bridge.cli; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_a_missing_file_is_one_line_and_exit_2(tmp_path):
    ended = run("check", "--config", str(tmp_path / "none.toml"))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_check_tries_each_enabled_model(config):
    more = '[[models]]\nname = "gpt-*"\nmodel = "openai/gpt-*"\napi_key_env = "OPENAI_API_KEY"\n'
    ended = run("check", "--config", config(ONLY_DEMO + more))
    assert ended.returncode == 0, ended.stderr
    first, second = ended.stdout.splitlines()[:2]
    assert first.startswith("ok")
    assert "demo" in first
    assert second.startswith("off")


def test_check_without_what_reaches_providers_is_one_line_and_exit_1(config, tmp_path):
    (tmp_path / "litellm.py").write_text("raise OSError('no room\\nleft')")
    ended = run("check", "--config", config(ONLY_DEMO), PYTHONPATH=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    reason = "OSError at litellm.py:1: no room left"
    assert ended.stderr == f"ws-bridge: no model can be tried: {reason}\n"


def test_a_written_file_can_be_checked_and_served(tmp_path):
    path = tmp_path / "own.toml"
    written = run("init", str(path))
    assert (written.returncode, written.stderr) == (0, "")
    assert written.stdout.startswith(f"wrote {path}: edit it, then run `ws-bridge check`")
    again = run("init", str(path))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    checked = run("check", "--offline", "--config", str(path))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"ok   {path}: no model was asked\n"
    with Served("--config", str(path), "--port", "0") as served:
        assert served.lines[0] == f"configuration: {path}, and {LAME}"
        assert served.lines[1] == "model demo: on (demo/demo)"


def test_a_new_key_is_shown_once_with_its_line():
    ended = run("keys", "new", "web")
    assert (ended.returncode, ended.stderr) == (0, "")
    key = re.search(r"^  (wsb-\S{43})$", ended.stdout, re.MULTILINE)[1]
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert f"  web {digest}\n" in ended.stdout
    assert f'  [[keys]]\n  name = "web"\n  sha256 = "{digest}"\n' in ended.stdout
    refused = run("keys", "new", "two words")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


def test_check_finds_what_serve_would_and_asks_the_models_all_the_same(config):
    text = '[store]\nurl = "redis://127.0.0.1:1"\n' + ONLY_DEMO.replace("port = 0\n", TLS)
    ended = run("check", "--config", config(text), WS_BRIDGE__SERVER__PORT="0")
    assert ended.returncode == 2
    assert ended.stdout.startswith("ok   demo")
    lines = [line for line in ended.stderr.splitlines() if line.startswith("ws-bridge: ")]
    for line, part in zip(lines, ("'server.tls_cert'", "'store.url'"), strict=True):
        assert part in line
    assert "store_unreachable reason=ConnectionError" in ended.stderr


def test_version_and_help_are_there():
    assert run("--version").stdout.strip() == "0.1.0"
    shown = run("--help").stdout
    assert "Begin with `ws-bridge init`" in shown
    assert all(f" {command} " in shown for command in ("serve", "check", "init", "chat"))
