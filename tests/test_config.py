"""config.toml as frozen values; every mistake in it is one line with the remedy."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ws_bridge.addresses import ListenAddress, is_loopback
from ws_bridge.config import (
    MOST_SECRET_BYTES,
    Config,
    Settings,
    client_keys,
    load,
    match_wildcard,
    secrets_in,
)
from ws_bridge.errors import ConfigError
from ws_bridge.upstream.model_table import build

EXAMPLE = Path(__file__).parents[1] / "config.toml"
MODEL = '[[models]]\nname = "m"\nmodel = "openai/m"\n'


@pytest.fixture
def write(tmp_path):
    def file(text: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file


def refusal(path: Path | None, environ: dict[str, str] | None = None, **server: object) -> str:
    with pytest.raises(ConfigError) as refused:
        load(path, environ or {}, **server)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(f"{path or 'built-in configuration'}: ")
    return message


# Files and defaults


def test_without_a_file_there_is_the_demo_model_on_loopback():
    config = load(None, {}).config
    assert [(entry.name, entry.model) for entry in config.models] == [("demo", "demo/demo")]
    assert config.server.host == "127.0.0.1"
    assert config.store.url == "memory://"


def test_an_empty_file_has_all_defaults(write):
    assert load(write(""), {}) == Settings(Config())


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


# Client keys


def names_and_keys(settings: Settings) -> list[tuple[str, str]]:
    return [(one.name, one.key) for one in client_keys(settings.config, settings.secrets)]


def test_client_keys_come_from_the_named_variables_in_order(write):
    path = write('[auth]\nkeys_env = ["ONE", "MANY"]\n')
    environ = {"ONE": "a", "MANY": " b, c,,", "OTHER": "d"}
    assert names_and_keys(load(path, environ)) == [("ONE", "a"), ("MANY", "b"), ("MANY", "c")]
    assert client_keys(Config(), environ) == ()


@pytest.mark.parametrize("value", [None, "", " , ,"])
def test_a_key_variable_that_is_not_set_is_refused(write, value):
    path = write('[auth]\nkeys_env = ["CLIENT_KEYS"]\n')
    message = refusal(path, {} if value is None else {"CLIENT_KEYS": value})
    assert "'auth.keys_env'" in message
    assert "CLIENT_KEYS is not set: set it" in message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "bridge.example"])  # noqa: S104 - the point of it
def test_a_public_address_without_keys_is_refused(write, host):
    assert "'server.host'" in refusal(write(f'[server]\nhost = "{host}"\n'))
    assert "listen on 127.0.0.1" in refusal(write(MODEL), host=host)
    path = write(f'[server]\nhost = "{host}"\n[auth]\nkeys_env = ["CLIENT_KEYS"]\n')
    assert load(path, {"CLIENT_KEYS": "a"}).config.server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_a_loopback_address_needs_no_keys(write, host):
    assert is_loopback(host)
    assert load(write(f'[server]\nhost = "{host}"\n'), {}).config.server.host == host


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
    assert load(path, {}, workers=2).config.server.listen == ("127.0.0.1:1", "unix:/x")


def test_every_address_of_a_list_is_public_or_local(write):
    local = '[server]\nlisten = ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/x"]\n'
    assert load(write(local), {})
    message = refusal(write(local.replace('"[::1]:1"', '"[::]:1"')))
    assert "key 'server.listen': :: is a public address" in message


# Secrets

SECRETS = ["auth.secret_env", "store.encrypt_with_env"]


def test_the_first_of_several_secrets_comes_first():
    environ = {"S": f" {'a' * 32} ,{'b' * 40},,", "OTHER": "c" * 32}
    assert secrets_in("S", environ) == (b"a" * 32, b"b" * 40)
    assert secrets_in("", environ) == secrets_in("NOT_SET", environ) == ()


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("value", [None, "", " , ", "too short", f"{'a' * 32},short", "plain"])
def test_a_secret_that_is_missing_or_could_be_guessed_is_refused_and_not_repeated(
    write, key, value
):
    section, _, name = key.partition(".")
    path = write(f'[{section}]\n{name} = "SECRET"\n')
    message = refusal(path, {} if value is None else {"SECRET": value})
    assert f"key '{key}': the environment variable SECRET must hold" in message
    assert "short" not in message


@pytest.mark.parametrize("key", SECRETS)
def test_good_secrets_are_taken(write, key):
    section, _, name = key.partition(".")
    path = write(f'[{section}]\n{name} = "SECRET"\n')
    for value in ("a" * 32, f"{'a' * 32}, {'b' * 32}", f"plain,{'a' * 32}"):
        config = load(path, {"SECRET": value}).config
        assert getattr(getattr(config, section), name) == "SECRET"


# Files with secrets


def test_secrets_are_read_from_files(write, tmp_path):
    for name in ("team-a.keys", "provider", "password", "secret"):
        Path(tmp_path, name).write_text(f" {name[0] * 32} \n", encoding="utf-8")
    Path(tmp_path, "team-a.keys").write_text("one\ntwo, three\n\n", encoding="utf-8")
    settings = load(
        write(f"""
            [auth]
            keys_files = ["{tmp_path}/team-a.keys"]
            secret_file = "{tmp_path}/secret"
            [store]
            password_file = "{tmp_path}/password"
            encrypt_with_file = "{tmp_path}/secret"
            [[models]]
            name = "m"
            model = "openai/m"
            api_key_file = "{tmp_path}/provider"
            """),
        {},
    )
    names = [("team-a", "one"), ("team-a", "two"), ("team-a", "three")]
    assert names_and_keys(settings) == names
    config, secrets = settings.config, settings.secrets
    assert secrets_in(config.auth.secret, secrets) == (b"s" * 32,)
    assert secrets_in(config.store.encrypt_with, secrets) == (b"s" * 32,)
    assert secrets[config.store.password] == "p" * 32
    assert build(config, secrets).find("m").api_key == "p" * 32
    assert Settings.from_json(settings.to_json()) == settings
    assert "p" * 32 not in repr(settings)


FILE_KEYS = {
    "auth.keys_files": '[auth]\nkeys_files = ["{}"]\n',
    "auth.secret_file": '[auth]\nsecret_file = "{}"\n',
    "store.password_file": '[store]\npassword_file = "{}"\n',
    "store.encrypt_with_file": '[store]\nencrypt_with_file = "{}"\n',
    "models.api_key_file": MODEL + 'api_key_file = "{}"\n',
}


@pytest.mark.parametrize("text", FILE_KEYS.values(), ids=FILE_KEYS)
@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", b"k" * (MOST_SECRET_BYTES + 1)])
def test_a_file_without_a_secret_is_refused(write, tmp_path, text, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    assert f"the file {path} holds no secret (" in refusal(write(text.format(path)))


PAIRS = {
    "secret": "[auth]\n",
    "password": "[store]\n",
    "encrypt_with": "[store]\n",
    "api_key": MODEL,
}


@pytest.mark.parametrize(("name", "section"), PAIRS.items())
def test_a_secret_stands_in_one_place(write, name, section):
    text = f'{section}{name}_env = "A"\n{name}_file = "b"\n'
    assert f"keys '{name}_env' and '{name}_file': set one" in refusal(write(text), {"A": "a" * 32})


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


def test_two_entries_of_one_name_share_its_load(write):
    assert [entry.name for entry in load(write(MODEL + MODEL), {}).config.models] == ["m", "m"]


@pytest.mark.parametrize("mode", ["auto", "managed", "native"])
def test_an_entry_has_one_of_three_modes(write, mode):
    assert load(write(MODEL + f'mode = "{mode}"\n'), {}).config.models[0].mode == mode


WILD = '[[models]]\nname = "w-*"\nmodel = "openai/*"\n'


@pytest.mark.parametrize(
    ("entry", "fallbacks"),
    [
        (MODEL, ["m"]),  # a cycle is no mistake
        (MODEL, ["w-1", "m"]),
        (WILD, ["w-*", "m", "w-1"]),
    ],
)
def test_a_fallback_is_a_name_that_some_entry_serves(write, entry, fallbacks):
    other = WILD if entry is MODEL else MODEL
    config = load(write(f"{entry}fallbacks = {fallbacks}\n{other}"), {}).config
    assert config.models[0].fallbacks == tuple(fallbacks)


@pytest.mark.parametrize(
    ("entry", "fallback", "part"),
    [
        (MODEL, "n", "no entry serves 'n'"),
        (MODEL, "w-", "no entry serves 'w-'"),
        (MODEL, "w-*", "the entry's name has none"),
        (WILD, "x-*", "no entry serves 'x-*'"),
    ],
)
def test_a_fallback_that_leads_nowhere_is_refused(write, entry, fallback, part):
    other = WILD if entry is MODEL else MODEL
    message = refusal(write(f'{entry}fallbacks = ["{fallback}"]\n{other}'))
    assert "key 'models.fallbacks' of " in message
    assert part in message


@pytest.mark.parametrize(
    ("pattern", "name", "star"),
    [
        ("a-*", "a-b", "b"),
        ("*-a", "b-a", "b"),
        ("a*a", "aba", "b"),
        ("*", "x", "x"),
        ("a*a", "aa", ""),
        ("a-*", "a-", ""),
        ("a-*", "b-a", ""),
        ("a", "a", ""),
    ],
)
def test_a_star_stands_for_at_least_one_character(pattern, name, star):
    assert match_wildcard(pattern, name) == star


@pytest.mark.parametrize(
    ("name", "model"),
    [("a*b*", "openai/a*b"), ("m", "openai/*"), ("*", "openai/*-*")],
)
def test_a_star_the_name_does_not_have_is_refused(write, name, model):
    message = refusal(write(f'[[models]]\nname = "{name}"\nmodel = "{model}"\n'))
    assert "'models.name'" in message
    assert "use at most one *" in message


def test_half_of_tls_is_refused(write):
    message = refusal(write('[server]\ntls_cert = "cert.pem"\n'))
    assert "set both" in message


@pytest.mark.parametrize("url", ["", "redis", "http://x", "redis:/x", "unix:///tmp/x"])
def test_a_store_of_another_kind_is_refused(write, url):
    assert "'store.url'" in refusal(write(f'[store]\nurl = "{url}"\n'))


def test_a_store_password_that_is_not_set_is_refused(write):
    text = '[store]\nurl = "redis://localhost"\npassword_env = "NO_SUCH_VARIABLE"\n'
    assert "NO_SUCH_VARIABLE" in refusal(write(text))
