"""config.toml as frozen values; every mistake in it is one line with the remedy."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from support.refused_config import MODEL, refusal, refusals

from ws_bridge.config import Config, load
from ws_bridge.config.addresses import ListenAddress

EXAMPLE = Path(__file__).parents[2] / "config.toml"


# Files and defaults


def test_without_a_file_there_are_the_defaults_and_the_models_of_the_example():
    """On loopback; a model whose key is not there is off."""
    config = load(None, {}).config
    assert config == Config(models=load(EXAMPLE, {}).config.models)
    assert [entry.name for entry in config.models if not entry.off_reason({})] == ["demo"]
    assert config.server.host == "127.0.0.1"
    assert config.store.url == "memory://"


def test_what_a_file_leaves_out_has_its_default(write):
    config = load(write(MODEL), {}).config
    assert config == Config(models=config.models)


def test_the_defaults_are_those_of_the_contract():
    limits = Config().limits
    assert (limits.running_per_connection, limits.lanes_per_connection) == (16, 32)
    assert (limits.queued_per_connection, limits.queued_mib_per_connection) == (64, 8)
    assert Config().server.connection_minutes == 60
    assert Config().server.data_keepalive_seconds == 30
    assert Config().server.max_message_mib == 64
    assert Config().server.on_disconnect == "finish"


def test_the_example_file_is_a_configuration():
    assert load(EXAMPLE, {})


def test_the_keys_of_the_file_are_read(write):
    config = load(
        write(
            """
            [server]
            port = 9000
            drain_seconds = 5
            allowed_origins = ["https://app.example"]
            [store]
            ttl_seconds = 60
            [background]
            polling = ["openai", "anthropic"]
            [[models]]
            name = "claude-*"
            model = "anthropic/claude-*"
            retries = 0
            """
        ),
        {},
    ).config
    assert (config.server.port, config.server.drain_seconds) == (9000, 5)
    assert config.server.allowed_origins == ("https://app.example",)
    assert config.background.polling == ("openai", "anthropic")
    assert config.models[0].retries == 0


def test_the_command_line_goes_before_the_file_and_null_changes_nothing(write):
    path = write("[server]\nport = 9000\n")
    assert load(path, {}, port=9001).config.server.port == 9001
    assert load(path, {}, port=None).config.server.port == 9000
    assert load(None, {}, port=0).config.server.port == 0


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Config().server.port = 1


@pytest.mark.parametrize(
    ("polling", "openai", "other"),
    [("all", True, True), ("none", False, False), (("openai",), True, False)],
)
def test_background_jobs_run_for_whom_the_operator_names(polling, openai, other):
    background = Config.model_validate({"background": {"polling": polling}}).background
    assert (background.runs("openai"), background.runs("anthropic")) == (openai, other)


def test_an_entry_has_the_reason_why_it_is_off(write):
    text = MODEL + 'api_key_env = "THE_KEY"\n'
    (entry,) = load(write(text), {}).config.models
    assert entry.off_reason({}) == entry.off_reason({"THE_KEY": ""}) == "THE_KEY is not set"
    assert entry.off_reason({"THE_KEY": "sk"}) == ""
    (entry,) = load(write(text + "enabled = false\n"), {}).config.models
    assert entry.off_reason({"THE_KEY": "sk"}) == "enabled = false"


# Addresses


@pytest.mark.parametrize(
    "text", ["", ":80", "80", "host", "::1:80", "[::1]", "h:65536", "http://h:1", "a b:1", "u@h:1"]
)
def test_what_is_no_address_is_refused_with_its_place(write, text):
    message = refusal(write(f'[server]\nlisten = ["127.0.0.1:1", "{text}"]\n'))
    assert "key 'server.listen[2]': use HOST:PORT, [IPv6]:PORT or unix:/PATH" in message


@pytest.mark.parametrize("path", ["", "run/x", "/" + "x" * 107])
def test_a_path_that_cannot_be_a_socket_is_refused(write, path):
    message = refusal(write(f'[server]\nlisten = ["unix:{path}"]\n'))
    assert "key 'server.listen[1]': use unix: and an absolute path" in message


def test_one_host_and_port_are_the_short_form_of_listen(write):
    (address,) = load(write('[server]\nhost = "[::1]"\nport = 1\n'), {}).config.server.addresses()
    assert address == ListenAddress("::1", 1)
    text = '[server]\nlisten = ["127.0.0.1:1", "unix:/x"]\n'
    assert list(map(str, load(write(text), {}).config.server.addresses())) == [
        "127.0.0.1:1",
        "unix:/x",
    ]
    for more in ('host = "::1"\n', "port = 8787\n"):
        assert "keep 'listen' or those two" in refusal(write(text + more))


def test_a_host_or_port_of_the_command_line_replaces_the_list(write):
    path = write('[server]\nlisten = ["127.0.0.1:1", "unix:/x"]\n')
    assert list(map(str, load(path, {}, port=2).config.server.addresses())) == ["127.0.0.1:2"]
    assert list(map(str, load(path, {}, host="::1").config.server.addresses())) == ["[::1]:8787"]
    assert load(path, {}, port=None, workers=1).config.server.listen == ("127.0.0.1:1", "unix:/x")


# Mistakes


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[server]\nprot = 1\n", "'server.prot'"),
        ("[sever]\nport = 1\n", "'sever'"),
        (MODEL + "api_kei_env = 1\n", "'models[1].api_kei_env'"),
        (MODEL + MODEL.replace('"m"', '"n"') + "x = 1\n", "'models[2].x'"),
    ],
)
def test_an_unknown_key_is_named(write, text, key):
    message = refusal(write(text))
    assert f"unknown key {key}: remove it or correct its spelling" in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[server]\nport = "8787"\n', "'server.port'"),
        ("[server]\nport = 65536\n", "'server.port'"),
        ("[server]\nport = true\n", "'server.port'"),
        ('[server]\nunix_mode = "rw"\n', "'server.unix_mode'"),
        ("[server]\ndrain_seconds = -1\n", "'server.drain_seconds'"),
        ("[server]\ndrain_seconds = nan\n", "'server.drain_seconds'"),
        ("[server]\ndrain_seconds = inf\n", "'server.drain_seconds'"),
        ('[server]\non_disconnect = "wait"\n', "'server.on_disconnect'"),
        ('[server]\nallowed_origins = "x"\n', "'server.allowed_origins'"),
        ("[server]\nallowed_origins = [1]\n", "'server.allowed_origins[1]'"),
        ("server = 5\n", "'server'"),
        ("[limits]\nrunning_per_connection = 0\n", "'limits.running_per_connection'"),
        ("[store]\nttl_seconds = 0\n", "'store.ttl_seconds'"),
        ("[store]\nflush_ms = 2026-11-21\n", "'store.flush_ms'"),
        ('[background]\npolling = "some"\n', "'background.polling'"),
        ("[background]\npolling = 5\n", "'background.polling'"),
        ('models = "m"\n', "'models'"),
        ('[[models]]\nname = "m"\n', "'models[1].model'"),
        ('[[models]]\nmodel = "openai/m"\n', "'models[1].name'"),
        ('[[models]]\nname = ""\nmodel = "openai/m"\n', "'models[1].name'"),
        ('[[models]]\nname = "m"\nmodel = "m"\n', "'models[1].model'"),
        (MODEL + 'mode = "fast"\n', "'models[1].mode'"),
        (MODEL + 'fallbacks = "n"\n', "'models[1].fallbacks'"),
        (MODEL + "fallbacks = [1]\n", "'models[1].fallbacks[1]'"),
        (MODEL + "retries = 11\n", "'models[1].retries'"),
        (MODEL + 'via = "http"\n', "'models[1].via'"),
        (MODEL + 'prompt_cache = "no"\n', "'models[1].prompt_cache'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(write, text, key):
    assert f"key {key}: " in refusal(write(text))


def test_the_command_line_does_not_hide_a_wrong_section(write):
    assert "'server'" in refusal(write("server = 5\n"), port=9000)


@pytest.mark.parametrize("text", ["port = ", "[server", "a = 1\na = 2\n", b"\xff\xfe", "x = 1 1"])
def test_bad_toml_is_refused(write, text):
    assert "not valid TOML" in refusal(write(text))


def test_a_number_beyond_64_bits_is_refused(write):
    assert "64-bit" in refusal(write("[server]\nport = 99999999999999999999\n"))


def test_an_unreadable_file_is_refused(tmp_path):
    missing = refusal(tmp_path / "missing.toml")
    assert "cannot be read (No such file or directory)" in missing
    assert "cannot be read (Is a directory)" in refusal(tmp_path)


# All at once


def test_all_mistakes_are_told_at_once(write):
    """Of values, of the environment, of what holds between keys; a broken section has no others."""
    path = write(
        """
        [server]
        prot = 1
        port = "1"
        [auth]
        keys_env = ["NOT_SET"]
        [store]
        url = "http://x"
        password_env = "UNSET"
        [background]
        native_models = ["gone"]
        [[models]]
        name = "m"
        model = "opnai/m"
        """
    )
    environ = {"WS_BRIDGE__SERVER__WORKERS": "many", "WS_BRIDGE__SERVR__PORT": "1"}
    starts = (
        "WS_BRIDGE__SERVR__PORT: there is no such key: is it WS_BRIDGE__SERVER__PORT? Else unset",
        "key 'server.port': Input should be a valid integer",
        "WS_BRIDGE__SERVER__WORKERS: key 'server.workers': Input should be a valid integer",
        "unknown key 'server.prot': remove it or correct its spelling",
        "key 'models[1].model': there is no provider 'opnai': is it 'openai'? Else ",
        "key 'auth.keys_env': the environment variable NOT_SET is not set: ",
        "key 'store.url': use one of memory://, redis://",
        "key 'store.password_env': the environment variable UNSET is not set: ",
        "key 'background.native_models': no entry has the name 'gone': ",
    )
    lines = refusals(path, environ)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
