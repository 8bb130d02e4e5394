"""What litellm knows of models, and what is left of the names that clients make up."""

import dataclasses
import gc
import sys
from operator import attrgetter

import pytest
from upstreams.asking import ask, request, target

from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.writing import ModelFacts
from ws_bridge.upstream.litellm import internals, models

NAMES = 10_000
GROWING = (  # what litellm keeps of registered names, besides their entries; not in every release
    "utils._runtime_registered_model_cost",
    "utils._runtime_registration_order",
    "utils._runtime_registered_names",
    "open_ai_chat_completion_models",
    "models_by_provider",
    "model_cost",
)


@pytest.mark.parametrize(
    ("model", "is_native"),
    [
        ("openai/gpt-4o", True),
        ("openai/anything", True),
        ("azure/my-deployment", True),
        ("hosted_vllm/org/model", True),
        ("openai/chat_completions/x", False),
        ("groq/x", False),
        ("gemini/x", False),
        ("ollama_chat/x", False),
        ("nosuch/x", False),
        ("anthropic/claude-x", False),
    ],
)
def test_a_native_model_is_one_whose_provider_has_a_responses_api(model, is_native):
    assert models.is_native(model) is is_native


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai/gpt-4o", "responses"),
        ("xai/grok-4", "responses"),
        ("hosted_vllm/org/model", "responses"),
        ("openrouter/org/model", "responses"),
        ("azure/my-deployment", ""),
        # Their Responses APIs have their own forms.
        ("perplexity/sonar-pro", "openai_chat"),
        ("fireworks_ai/accounts/fireworks/models/x", "openai_chat"),
        ("fireworks_ai/x", ""),
        ("openai/chat_completions/x", "openai_chat"),
        ("xai/chat_completions/grok-3", "openai_chat"),
        ("groq/x", "openai_chat"),
        ("snowflake/claude-x", "openai_chat"),
        ("huggingface/org/model", "openai_chat"),
        ("huggingface/together/org/model", ""),
        ("anthropic/claude-x", "anthropic"),
        ("gemini/x", "gemini"),
        ("cohere/command-a", "cohere"),
        ("cohere_chat/v2/command-a", "cohere"),
        ("cohere_chat/v1/command-r", ""),
        ("bedrock/us.amazon.nova-pro-v1:0", "bedrock"),
        ("bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"),
        ("bedrock/invoke/anthropic.claude-v2", ""),
        ("bedrock/us-east-1/anthropic.claude-3-haiku-20240307-v1:0", ""),
        ("bedrock/arn:aws:bedrock:us-east-1:1:inference-profile/x", ""),
        ("vertex_ai/gemini-2.5-pro", ""),
        ("azure/chat_completions/x", ""),
        ("ollama_chat/x", ""),
        ("nosuch/x", ""),
    ],
)
def test_a_model_is_of_a_family_or_litellm_opens_its_calls(model, family):
    assert models.family_of(Target("x", model)) == family
    assert models.family_of(Target("x", model, via="litellm")) == ""


def test_facts_are_those_of_the_price_map():
    def facts(model):
        return models.facts_of(Target("x", model))

    known = facts("anthropic/claude-sonnet-4-5-20250929")
    assert known.supports_reasoning
    assert known.max_output_tokens == 64_000
    nova = facts("bedrock/us.amazon.nova-pro-v1:0")
    assert nova == ModelFacts("us.amazon.nova-pro-v1:0", "bedrock", False, 10_000)
    assert not facts("openai/o1-pro").streams
    for provider, name in (("groq", "x-unknown"), ("huggingface", "org/model"), ("nosuch", "x")):
        assert facts(f"{provider}/{name}") == ModelFacts(name, provider)


def test_only_the_price_map_knows_who_reasons():
    def reasons(model):
        return models.facts_of(Target("x", model)).supports_reasoning

    assert reasons("openai/gpt-4o") is False
    assert reasons("openai/gpt-5") is True
    models.register([Target("x", "openai/of-my-own")])
    assert reasons("openai/of-my-own") is None


def test_a_known_model_keeps_its_entry_and_a_wildcard_waits_for_its_names():
    before = dict(models.litellm.model_cost["gpt-4o"])
    models.register([Target("a", "openai/gpt-4o"), Target("b", "openai/*"), Target("c", "groq/x")])
    assert models.litellm.model_cost["gpt-4o"] == before
    assert not {"openai/gpt-4o", "openai/*", "groq/x"} & models._ours


def test_a_name_of_the_table_leaves_nothing_but_its_entry():
    before = sizes()
    models.register([Target("x", "openai/alone-in-the-table")])
    added = {path: size - before[path] for path, size in sizes().items() if size != before[path]}
    assert added == {"model_cost": 1}


def test_an_entry_is_written_whole(monkeypatch):
    monkeypatch.setitem(models.litellm.model_cost, "openai/priced", {"input_cost_per_token": 1.0})
    monkeypatch.setattr(models, "_info", lambda *_: None)  # an unknown model
    models.register([Target("x", "openai/priced")])
    entry = models.litellm.model_cost["openai/priced"]
    assert entry["mode"] == "responses"
    assert "input_cost_per_token" not in entry


def test_names_that_clients_make_up_do_not_pile_up():
    """After ten thousand more, litellm keeps as many and as much as it did."""
    make_up("early", models.WILDCARD_NAMES)
    full, blocks = sizes(), used_blocks()
    make_up("late", NAMES)
    kept = [key for key in models.litellm.model_cost if key.startswith("openai/late-")]
    assert kept == [f"openai/late-{n}" for n in range(NAMES - models.WILDCARD_NAMES, NAMES)]
    assert sizes() == full
    assert used_blocks() - blocks < NAMES  # far less than one small object a name


async def test_litellm_searches_its_patterns_once_a_name(fake, monkeypatch):
    rules = internals.RULES.of(internals.load(internals.GUESSES))
    searched = []
    for kind in ("capability_rules", "routing_rules", "fill_missing_rules"):
        counting = tuple(
            dataclasses.replace(rule, pattern=Counting(rule.pattern, searched))
            for rule in getattr(rules, kind)
        )
        monkeypatch.setattr(rules, kind, counting)
    for family in ("native", "chat", "anthropic"):
        wanted = request(target(fake, family, "text-unknown"))
        assert (await ask(wanted)).error is None
    assert searched
    first = len(searched)
    for family in ("native", "chat", "anthropic"):
        assert (await ask(request(target(fake, family, "text-unknown")))).error is None
    assert len(searched) == first


class Counting:
    """A pattern that notes what is searched."""

    def __init__(self, pattern, searched):
        self._pattern = pattern
        self._searched = searched

    def search(self, name):
        self._searched.append(name)
        return self._pattern.search(name)


def test_the_models_of_a_provider_are_those_that_answer_in_text():
    """Neither what draws or listens, nor the names that clients have made up."""
    known = models.known_models("openai")
    assert {"openai/gpt-4o", "openai/gpt-5"} <= set(known)
    assert not {one for one in known if "whisper" in one or "dall-e" in one or "embedding" in one}
    assert "gemini/gemini-2.5-flash" in models.known_models("gemini")
    models.known_models.cache_clear()
    models.register_at_first_call("openai/made-up-for-the-list")
    assert models.known_models("openai") == known
    assert models.known_models("hosted_vllm") == ()


def make_up(word, count):
    for number in range(count):
        model = f"openai/{word}-{number}"
        models.family_of(Target("x", model))
        models.facts_of(Target("x", model))
        models.register_at_first_call(model)


def sizes():
    return {path: size_of(reach(path)) for path in GROWING}


def reach(path):
    try:
        return attrgetter(path)(models.litellm)
    except AttributeError:
        return ()


def size_of(kept):
    """How many names, and how many under each."""
    values = kept.values() if isinstance(kept, dict) else ()
    return len(kept) + sum(len(value) for value in values if isinstance(value, set | list))


def used_blocks():
    gc.collect()
    return sys.getallocatedblocks()
