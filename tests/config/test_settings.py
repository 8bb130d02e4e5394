"""Settings: a configuration with the secrets that it names, from variables and from files."""

from pathlib import Path

import pytest
from support.refused_config import MODEL, refusal

from ws_bridge.config import Config, Settings, client_keys, load, secrets_in
from ws_bridge.config.settings import MOST_SECRET_BYTES
from ws_bridge.upstream.model_table import build

# Client keys


def names_and_keys(settings: Settings) -> list[tuple[str, str]]:
    return [(one.name, one.key) for one in client_keys(settings.config, settings.secrets)]


def test_client_keys_come_from_the_named_variables_in_order(write):
    path = write('[auth]\nkeys_env = ["ONE", "MANY"]\n')
    environ = {"ONE": "a", "MANY": " b, c,,", "OTHER": "d"}
    assert names_and_keys(load(path, environ)) == [("ONE", "a"), ("MANY", "b"), ("MANY", "c")]
    assert client_keys(Config(), environ) == ()


# Secrets


def test_the_first_of_several_secrets_comes_first():
    environ = {"S": f" {'a' * 32} ,{'b' * 40},,", "OTHER": "c" * 32}
    assert secrets_in("S", environ) == (b"a" * 32, b"b" * 40)
    assert secrets_in("", environ) == secrets_in("NOT_SET", environ) == ()


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
def test_a_secret_stands_in_one_place(write, tmp_path, name, section):
    path = tmp_path / "b"
    path.write_text("b" * 32)
    message = refusal(
        write(f'{section}{name}_env = "A"\n{name}_file = "{path}"\n'), {"A": "a" * 32}
    )
    assert f".{name}_file': set one of them" in message
