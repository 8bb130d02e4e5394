"""The model table: what a client asks for → whom litellm is asked for it."""

import pytest

from ws_bridge.config import Config
from ws_bridge.errors import ConfigError, ModelNotFound
from ws_bridge.upstream.model_table import ModelTable, build, unpriced
from ws_bridge.upstream.prices import PriceRow

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


def table(*entries: dict[str, object], **environ: str) -> ModelTable:
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


PLAIN = ("x", "a.b", "meta/llama-3.1:8b", "org@x/y+z_1", "gpt-5-2026.01", "x" * 128, ".x")
NOT_PLAIN = {
    "a way up": "../../../../v1/files",
    "a way up at the end": "a/..",
    "dots in a name": "a..b",
    "here": "a/./b",
    "dots alone": "...",
    "a query": "a?key=mine&",
    "a fragment": "a#b",
    "a second query": "a&b=c",
    "a space": "a b",
    "a line": "a\nb",
    "a line at the end": "a\n",
    "a NUL": "a\x00",
    "a backslash": "..\\a",
    "an escape": "%2e%2e/a",
    "a quote": 'a"b',
    "a star": "*",
    "stars": "a*b",
    "another script": "g\u0435",
    "a wide digit": "٣",
    "half a character": "\ud800",
    "a root": "/a",
    "an end": "a/",
    "nothing in between": "a//b",
    "too long": "x" * 129,
}


@pytest.mark.parametrize("star", PLAIN)
def test_a_star_stands_for_plain_names(star):
    routes = table({"name": "gem-*", "model": "gemini/*"})
    assert routes.find(f"gem-{star}").model == f"gemini/{star}"


@pytest.mark.parametrize("star", NOT_PLAIN.values(), ids=NOT_PLAIN)
@pytest.mark.catalogue("A10")
def test_a_star_stands_for_nothing_that_an_address_is_made_of(star):
    """Neither here nor by a shorter wildcard, nor as a fallback's name."""
    routes = table(
        {"name": "gem-*", "model": "gemini/*", "fallbacks": ("other-*",)},
        {"name": "other-*", "model": "openai/*"},
        {"name": "*", "model": "openrouter/*"},
    )
    with pytest.raises(ModelNotFound):
        routes.find(f"gem-{star}")


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
    assert (target.via, target.prompt_cache) == ("auto", True)
    plainly = {"name": "x", "model": "groq/x", "via": "litellm", "prompt_cache": False}
    assert (table(plainly).find("x").via, table(plainly).find("x").prompt_cache) == (
        "litellm",
        False,
    )
    local = table().find("qwen-local")
    assert (local.api_base, local.native_background) == ("http://127.0.0.1:11434", False)
    assert local.maker == "ollama_chat|http://127.0.0.1:11434"


def test_what_litellm_would_ask_by_another_name_is_refused_with_the_way_out():
    entry = {"name": "r", "model": "openrouter/chat_completions/a/b", "via": "litellm"}
    with pytest.raises(ConfigError, match=r"models.via' of 'r': .* remove 'via'"):
        table(entry)
    assert table({**entry, "via": "auto"}).find("r").via == "auto"
    assert table({**entry, "model": "xai/chat_completions/a"}).find("r").via == "litellm"


def test_an_entry_is_on_once_its_key_is_set():
    target = table(THE_KEY="sk-secret").find("keyed")
    assert target.api_key == "sk-secret"
    assert "sk-secret" not in repr(target)


def test_a_variable_that_no_entry_names_is_no_key():
    assert table(OPENAI_API_KEY="sk-secret").find("fast").api_key == ""


def test_the_table_has_the_entries_that_are_off_and_why():
    reasons = {route.name: route.off_reason for route in table().all}
    assert reasons["keyed"] == "THE_KEY is not set"
    assert reasons["off"] == "enabled = false"
    assert reasons["fast"] == ""


def test_the_names_for_clients_are_those_that_are_on():
    on = ["fast", "claude-*", "claude-opus-*", "claude-haiku", "*-local", "any-*"]
    assert table().names(lambda _: ()) == [name for name in on if "*" not in name]
    assert [target.name for target in table().targets()] == on
    assert [route.name for route in table().all if route.is_wildcard] == [
        "claude-*",
        "claude-opus-*",
        "*-local",
        "any-*",
    ]


SHARED = (
    {"name": "m", "model": "openai/m", "api_base": "http://one", "fallbacks": ("spare", "w-1")},
    {"name": "w-*", "model": "groq/w-*", "fallbacks": ("x-*", "m", "gone")},
    {"name": "m", "model": "openai/m", "api_base": "http://two", "fallbacks": ("spare",)},
    {"name": "spare", "model": "anthropic/spare", "fallbacks": ("last", "m")},
    {"name": "last", "model": "openai/last"},
    {"name": "x-*", "model": "openai/x-*"},
    {"name": "gone", "model": "openai/gone", "enabled": False},
    {"name": "k", "model": "openai/k", "api_key_env": "ONE"},
    {"name": "k", "model": "openai/k", "api_key_env": "TWO"},
)


def test_a_maker_is_a_provider_an_address_and_an_account():
    """An account's name is that of its key's variable, as of old, unless the entry has another."""

    def maker(**fields: str) -> str:
        one = {"name": "m", "model": "openai/m", **fields}
        [target] = table(one, OLD_KEY="1", NEW_KEY="2").targets()
        return target.maker

    old = maker(api_key_env="OLD_KEY")
    assert old == "openai||3177ffe4"
    assert old == maker(api_key_env="NEW_KEY", account="OLD_KEY") == maker(account="OLD_KEY")
    assert len({old, maker(), maker(api_key_env="NEW_KEY"), maker(account="team-a")}) == 4


def groups(name: str) -> list[list[str]]:
    candidates = table(*SHARED, ONE="1", TWO="2").candidates(name)
    return [[f"{one.name} {one.model}{one.api_base[6:]}" for one in group] for group in candidates]


def test_entries_of_one_name_are_asked_before_their_fallbacks_and_each_name_once():
    assert groups("m") == [
        ["m openai/m/one", "m openai/m/two"],
        ["spare anthropic/spare"],
        ["w-1 groq/w-1"],
        ["last openai/last"],
        ["x-1 openai/x-1"],
    ]
    assert groups("last") == [["last openai/last"]]


def test_a_fallbacks_star_is_what_it_stands_for_in_the_name():
    assert groups("w-9")[:2] == [["w-9 groq/w-9"], ["x-9 openai/x-9"]]
    assert groups("x-9") == [["x-9 openai/x-9"]]


@pytest.mark.parametrize("name", ["", "n", "gone", "w-"])
def test_a_name_that_no_entry_serves_has_no_candidates(name):
    with pytest.raises(ModelNotFound):
        table(*SHARED).candidates(name)


def test_one_name_with_two_keys_is_two_makers_and_either_can_be_found():
    routes = table(*SHARED, ONE="1", TWO="2")
    first, second = (target.maker for target in routes.candidates("k")[0])
    assert first != second
    assert not any(secret in first + second for secret in ("ONE", "TWO"))
    assert routes.find("k").api_key == routes.find("k", first).api_key == "1"
    assert routes.find("k", second).api_key == "2"
    assert routes.find("k", "openai|elsewhere").api_key == "1"
    assert routes.find("m", "anthropic|").name == "spare"


def test_a_name_of_several_entries_is_listed_once():
    assert table(*SHARED).names(lambda _: ()).count("m") == 1


def test_an_empty_table_finds_nothing():
    with pytest.raises(ModelNotFound):
        ModelTable([]).find("m")


PRICE = {"input": 1.0, "output": 2.0}
LIMITED = {"name": "team", "sha256": "0" * 64, "budget_usd": 1.0}


def problems(*entries, **key):
    config = Config.model_validate({"models": entries, "keys": [LIMITED | key]}, strict=False)
    known = {"openai/known": PriceRow.of_million(PRICE)}
    return unpriced(config, build(config, {}), lambda one: one.prices or known.get(one.model))


def test_an_entrys_own_price_is_its_targets():
    row = PriceRow.of_million(PRICE)
    assert table({"name": "s-*", "model": "openai/*", "price": PRICE}).find("s-1").prices == row
    assert table().find("fast").prices is None


def test_what_a_name_with_a_budget_may_ask_for_has_a_price():
    mine = {"name": "mine", "model": "openai/mine"}
    [problem] = problems(mine)
    assert problem.startswith("key 'models.price' of 'mine': 'team' has a budget")
    assert "'price = {input = …, output = …}'" in problem
    assert problems(mine | {"price": PRICE}, {"name": "known", "model": "openai/known"}) == []
    assert problems(mine, {"name": "known", "model": "openai/known"}, models=["known"]) == []
    assert problems(mine, budget_usd=None) == []
    assert problems(mine | {"enabled": False}) == []
    assert problems({"name": "star-*", "model": "openai/*"}) == []


def test_what_a_fallback_of_it_asks_has_a_price_too():
    first = {"name": "known", "model": "openai/known", "fallbacks": ["mine", "star-1"]}
    others = ({"name": "mine", "model": "openai/mine"}, {"name": "star-*", "model": "openai/*"})
    found = problems(first, *others, models=["known"])
    assert [one.partition(":")[0] for one in found] == [
        "key 'models.price' of 'mine'",
        "key 'models.price' of 'star-*'",
    ]
