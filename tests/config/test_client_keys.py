"""`[[keys]]`, keys files, and what keys of one name share."""

import hashlib

import pytest

from ws_bridge.config import KeyRules, Settings, client_keys, load
from ws_bridge.config.client_keys import key_rules, new_key
from ws_bridge.errors import ConfigError

MODELS = """
[[models]]
name = "gpt-*"
model = "openai/gpt-*"
[[models]]
name = "one"
model = "openai/one"
"""
DIFFERENT = """
name = "a"
running = 1
key_env = "A"
[[keys]]
name = "a"
running = 2
key_env = "B"
"""


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def keys_of(settings):
    return client_keys(settings.config, settings.secrets)


@pytest.fixture
def read(tmp_path):
    """Settings of a text, or the problems of it."""

    def read(text, environ=None, **files):
        for name, content in files.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        path = tmp_path / "config.toml"
        path.write_text(text.replace("FOLDER", str(tmp_path)) + MODELS, encoding="utf-8")
        try:
            return load(path, environ or {})
        except ConfigError as error:
            return [one.replace(str(path), "file") for one in error.problems]

    return read


def test_a_key_comes_from_a_variable_a_file_or_as_its_hash(read):
    settings = read(
        '[[keys]]\nname = "a"\nkey_env = "A"\n'
        '[[keys]]\nname = "b"\nkey_file = "FOLDER/b.key"\n'
        f'[[keys]]\nname = "c"\nsha256 = "{sha256("key-c").upper()}"\n'
        "expires = 2030-01-01T00:00:00Z\n",
        {"A": "key-a"},
        **{"b.key": "key-b\n"},
    )
    assert [(one.name, one.digest.hex(), one.expires) for one in keys_of(settings)] == [
        ("a", sha256("key-a"), None),
        ("b", sha256("key-b"), None),
        ("c", sha256("key-c"), 1893456000.0),
    ]
    assert all(one.is_named for one in keys_of(settings))
    assert keys_of(Settings.from_json(settings.to_json())) == keys_of(settings)
    assert "key-a" not in repr(keys_of(settings)) + repr(settings)


def test_a_file_has_a_name_and_a_hash_a_line_or_plain_keys(read):
    settings = read(
        '[auth]\nkeys_files = ["FOLDER/clients"]\n[[keys]]\nname = "web"\nrunning = 3\n',
        clients=f"# of 2030\nweb {sha256('key-w')}\n\nplain-1, plain-2\nbot\t{sha256('key-b')}\n",
    )
    assert [(one.name, one.digest.hex(), one.is_named) for one in keys_of(settings)] == [
        ("web", sha256("key-w"), True),
        ("clients", sha256("plain-1"), False),
        ("clients", sha256("plain-2"), False),
        ("bot", sha256("key-b"), True),
    ]
    assert key_rules(settings.config) == {"web": KeyRules(running=3)}


def test_keys_of_one_name_share_what_either_entry_says(read):
    settings = read(
        f'[[keys]]\nname = "a"\nsha256 = "{sha256("old")}"\nmodels = ["gpt-*"]\n'
        f'[[keys]]\nname = "a"\nsha256 = "{sha256("new")}"\nrunning = 0\nbudget_usd = 5.0\n'
    )
    expected = {"a": KeyRules(models=("gpt-*",), running=0, budget_usd=5.0)}
    assert key_rules(settings.config) == expected
    assert key_rules(Settings.from_json(settings.to_json()).config) == expected


@pytest.mark.parametrize(
    ("model", "is_allowed"), [("gpt-5", True), ("one", True), ("gpt-", False), ("two", False)]
)
def test_a_client_may_ask_for_names_and_wildcards(model, is_allowed):
    assert KeyRules(models=("gpt-*", "one")).allows(model) is is_allowed
    assert KeyRules().allows(model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "a"', "has no key: set 'sha256' to what `ws-bridge keys new a` prints"),
        ('name = "a"\nkey_env = "UNSET"', "keys[1].key_env': the environment variable UNSET"),
        (f'name = "a"\nkey_env = "A"\nsha256 = "{sha256("x")}"', "set one of 'key_env'"),
        ('name = "a b"\nkey_env = "A"', "keys[1].name"),
        ('name = "a"\nsha256 = "sk-pasted-key"', "keys[1].sha256"),
        ('name = "a"\nkey_env = "A"\nexpires = 2030-01-01', "keys[1].expires"),
        ('name = "a"\nkey_env = "A"\nmodels = ["gtp-*"]', "no [[models]] entry serves 'gtp-*'"),
        ('name = "a"\nkey_env = "A"\nmodels = ["*-*"]', "at most one *"),
        ('name = "a"\nkey_env = "A"\nbudget_days = 401', "keys[1].budget_days"),
        (
            'name = "a"\nkey_env = "A"\n[[keys]]\nname = "b"\nkey_env = "A"',
            "'b' and 'a' have the same key",
        ),
        (
            DIFFERENT,
            "'keys.running': entries of 'a' differ",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_line_without_a_key(read, text, expected):
    problems = read(f"[[keys]]\n{text}\n", {"A": "key-of-a", "B": "key-b"})
    assert len(problems) == 1
    assert expected in problems[0]
    assert "key-of-a" not in problems[0]
    assert "pasted" not in problems[0]


def test_a_name_is_not_that_of_a_variable_of_keys_too(read):
    text = f'[auth]\nkeys_env = ["A"]\n[[keys]]\nname = "A"\nsha256 = "{sha256("x")}"\n'
    (problem,) = read(text, {"A": "key-of-a"})
    assert "'A' names keys of [auth] as well" in problem


def test_a_line_of_a_keys_file_that_is_neither_is_named_by_its_file(read):
    (problem,) = read('[auth]\nkeys_files = ["FOLDER/k"]\n', k="web abcdef-of-a-key\n")
    assert "auth.keys_files[1]" in problem
    assert "abcdef" not in problem


@pytest.mark.parametrize("pattern", ["*", "gpt-4*", "gpt-*", "g*", "*-mini", "one", "gpt-5"])
def test_a_pattern_that_some_entry_can_serve_is_no_mistake(read, pattern):
    text = f'[[keys]]\nname = "a"\nkey_env = "A"\nmodels = ["{pattern}"]\n'
    assert isinstance(read(text, {"A": "key"}), Settings)


def test_a_new_key_and_its_line_are_one_client(read):
    (key, line), (other, _) = new_key("web"), new_key("web")
    assert key != other
    assert len(key) > 40
    (one,) = keys_of(read('[auth]\nkeys_files = ["FOLDER/k"]\n', k=line))
    assert (one.name, one.digest.hex()) == ("web", sha256(key))
    with pytest.raises(ConfigError, match="cannot be a client's name"):
        new_key("a b")
