"""The model table: what a client asks for → whom litellm is asked for it."""

import pytest

from ws_bridge.config import Config
from ws_bridge.errors import ModelNotFound
from ws_bridge.upstream.routes import Routes, build

ENTRIES = (
    {"name": "fast", "model": "openai/gpt-fast", "timeout_seconds": 5, "retries": 0},
    {"name": "claude-*", "model": "anthropic/claude-*"},
    {"name": "claude-opus-*", "model": "bedrock/opus-*"},
    {"name": "claude-haiku", "model": "anthropic/haiku-fixed"},
    {"name": "*-local", "model": "ollama_chat/*", "api_base": "http://127.0.0.1:11434"},
    {"name": "any-*", "model": "openai/always-this"},
    {"name": "keyed", "model": "openai/k", "api_key_env": "THE_KEY"},
    {"name": "off", "model": "openai/off", "enabled": False},
)


def table(*entries: dict[str, object], **environ: str) -> Routes:
    config = Config.model_validate(
        {
            "models": entries or ENTRIES,
            "background": {"native_models": ("fast",)},
            "server": {"report_cost": True},
        }
    )
    return build(config, environ)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("fast", "openai/gpt-fast"),
        ("claude-haiku", "anthropic/haiku-fixed"),
        ("claude-sonnet-5", "anthropic/claude-sonnet-5"),
        ("claude-opus-5", "bedrock/opus-5"),
        ("qwen-local", "ollama_chat/qwen"),
        ("any-thing", "openai/always-this"),
        ("claude-a/b:c", "anthropic/claude-a/b:c"),
        ("claude-**", "anthropic/claude-**"),
    ],
)
def test_an_exact_name_goes_before_a_wildcard_and_a_longer_one_before_a_shorter(name, model):
    target = table().find(name)
    assert (target.name, target.model) == (name, model)


@pytest.mark.parametrize(
    "name", ["", "slow", "FAST", "claude-", "-local", "xclaude-1", "off", "keyed", "openai/gpt"]
)
def test_what_no_enabled_entry_names_is_not_found(name):
    with pytest.raises(ModelNotFound) as refused:
        table().find(name)
    assert (refused.value.status, refused.value.param) == (404, "model")


def test_a_star_stands_for_at_least_one_character():
    routes = table({"name": "a*a", "model": "openai/*"})
    assert routes.find("aba").model == "openai/b"
    for name in ("a", "aa"):
        with pytest.raises(ModelNotFound):
            routes.find(name)


def test_the_order_of_the_file_does_not_matter():
    backwards = table(*reversed(ENTRIES))
    for name in ("fast", "claude-haiku", "claude-sonnet-5", "claude-opus-5", "qwen-local"):
        assert backwards.find(name) == table().find(name)


def test_an_entrys_settings_are_its_targets():
    target = table().find("fast")
    assert (target.timeout_seconds, target.retries) == (5, 0)
    assert (target.native_background, target.report_cost) == (True, True)
    local = table().find("qwen-local")
    assert (local.api_base, local.native_background) == ("http://127.0.0.1:11434", False)
    assert local.maker == "ollama_chat|http://127.0.0.1:11434"


def test_an_entry_is_on_once_its_key_is_set():
    target = table(THE_KEY="sk-secret").find("keyed")
    assert target.api_key == "sk-secret"
    assert "sk-secret" not in repr(target)


def test_a_variable_nobody_named_is_no_key():
    assert table(OPENAI_API_KEY="sk-secret").find("fast").api_key == ""


def test_the_table_says_what_is_off_and_why():
    reasons = {route.name: route.off_reason for route in table().all}
    assert reasons["keyed"] == "THE_KEY is not set"
    assert reasons["off"] == "enabled = false"
    assert reasons["fast"] == ""


def test_clients_are_told_the_names_of_what_is_on():
    on = ["fast", "claude-*", "claude-opus-*", "claude-haiku", "*-local", "any-*"]
    assert table().names() == on
    assert [target.name for target in table().targets()] == on
    assert [route.name for route in table().all if route.is_wildcard] == [
        "claude-*",
        "claude-opus-*",
        "*-local",
        "any-*",
    ]


def test_an_empty_table_finds_nothing():
    with pytest.raises(ModelNotFound):
        Routes([]).find("m")
