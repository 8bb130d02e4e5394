"""What a running server takes of a configuration that has changed."""

import pytest

from ws_bridge.config import Config, Settings
from ws_bridge.config.reloading import FIXED_KEYS, FIXED_SECTIONS, merged

OLD, NEW = "o" * 32, "n" * 32


def settings(secrets: dict[str, str] | None = None, **sections: object) -> Settings:
    return Settings(Config.model_validate(sections, strict=False), secrets or {})


def test_settings_that_are_equal_change_nothing():
    running = settings({"K": "k"}, auth={"keys_env": ["K"]}, store={"url": "redis://a"})
    assert merged(running, running) == (running, ())


def test_what_can_change_does():
    running = settings({"K": "old"}, auth={"keys_env": ["K"]})
    wanted = settings(
        {"K": "new", "P": "provider"},
        auth={"keys_env": ["K"]},
        server={"log_level": "debug", "drain_seconds": 5, "allowed_origins": ["https://a.example"]},
        limits={"creates_per_minute": 7},
        background={"polling": "none"},
        models=[{"name": "m", "model": "openai/m", "api_key_env": "P"}],
    )
    assert merged(running, wanted) == (wanted, ())


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("server", "port", 1),
        ("server", "host", "127.0.0.2"),
        ("server", "workers", 3),
        ("server", "max_message_mib", 1),
        ("store", "url", "redis://b"),
        ("store", "lease_seconds", 3),
        ("auth", "secret_file", "/b"),
    ],
)
def test_what_cannot_change_stays_and_is_named(section, key, value):
    running = settings()
    wanted = settings(**{section: {key: value}, "limits": {"creates_per_minute": 7}})
    found, stays = merged(running, wanted)
    assert stays == (f"{section}.{key}",)
    assert found == settings(limits={"creates_per_minute": 7})


def test_the_scope_of_limits_can_change_where_the_store_can_count():
    store = {"url": "redis://a"}
    running = settings(store=store)
    wanted = settings(store=store, limits={"scope": "store"})
    assert merged(running, wanted) == (wanted, ())
    assert merged(settings(), wanted) == (settings(), ("store.url", "limits.scope"))


def test_a_secret_that_cannot_change_stays_and_is_named():
    sections = {"auth": {"secret_env": "S"}, "store": {"password_file": "/p"}}
    running = settings({"S": OLD, "file:/p": "old"}, **sections)
    found, stays = merged(running, settings({"S": NEW, "file:/p": "new"}, **sections))
    assert found == running
    assert stays == ("store.password_file", "auth.secret_env")


def test_a_certificate_changes_but_tls_neither_comes_nor_goes():
    plain = settings()
    first = settings(server={"tls_cert": "a.pem", "tls_key": "a.key"})
    second = settings(server={"tls_cert": "b.pem", "tls_key": "b.key"})
    assert merged(first, second) == (second, ())
    assert merged(first, plain) == (first, ("server.tls_cert", "server.tls_key"))
    assert merged(plain, first) == (plain, ("server.tls_cert", "server.tls_key"))


def test_the_fixed_keys_are_keys():
    fields = {name: type(getattr(Config(), name)).model_fields for name in ("server", "auth")}
    assert all(set(names) <= set(fields[section]) for section, names in FIXED_KEYS.items())
    assert set(FIXED_SECTIONS) <= set(Config.model_fields)
