"""Each option has its row, or is refused by its name; what may be dropped is dropped alone."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.upstream.dialects.gemini.options import ROWS
from ws_bridge.upstream.dialects.gemini.table import TABLE
from ws_bridge.upstream.dialects.table import Translate

F = {"type": "function", "name": "f"}
HELLO = [{"role": "user", "parts": [{"text": "hi"}]}]


@pytest.fixture
def config(written):
    """`generationConfig`, which may be missing."""
    return lambda **options: written(**options).get("generationConfig", {})


def refused(written, **options):
    with pytest.raises(BridgeError) as failed:
        written(**options)
    assert failed.value.status == 400
    return failed.value.param


def test_every_option_that_is_translated_has_a_row():
    translated = {name for name, cell in TABLE.options.items() if isinstance(cell, Translate)}
    assert {name.partition(".")[0] for name in ROWS} == translated


def test_sampling_and_length(config):
    options = {"temperature": 0.5, "top_p": 0.25, "max_output_tokens": 9}
    assert config(**options) == {"temperature": 0.5, "topP": 0.25, "maxOutputTokens": 9}


def test_log_probabilities(config):
    assert config(top_logprobs=3) == {"responseLogprobs": True, "logprobs": 3}
    assert config(top_logprobs=0) == {"responseLogprobs": True}
    assert config(include=["message.output_text.logprobs"]) == {"responseLogprobs": True}
    assert config(include=["reasoning.encrypted_content"]) == {}


def test_formats(config):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    given = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    expected = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    assert config(text={"format": given}) == expected
    described = config(text={"format": {**given, "description": "d"}})["responseJsonSchema"]
    assert described == {"description": "d", **schema}
    assert config(text={"format": {"type": "json_object"}}) == {
        "responseMimeType": "application/json"
    }
    assert config(text={"format": {"type": "text"}, "verbosity": "medium"}) == {}


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-3-pro", "low", {"thinkingLevel": "low"}),
        ("gemini-3-pro", "none", {"thinkingLevel": "low"}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "minimal"}),
        ("gemini-3-pro", "xhigh", {"thinkingLevel": "high"}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192}),
        ("gemini-2.5-pro", "max", {"thinkingBudget": 24576}),
    ],
)
def test_efforts(config, model, effort, expected):
    assert config(model=model, reasoning={"effort": effort})["thinkingConfig"] == expected


def test_a_summary_is_the_thoughts(config):
    thinking = {"thinkingLevel": "high", "includeThoughts": True}
    assert config(reasoning={"effort": "high", "summary": "auto"})["thinkingConfig"] == thinking
    assert config(reasoning={"summary": None, "generate_summary": "concise"}) == {
        "thinkingConfig": {"includeThoughts": True}
    }


def test_a_model_that_does_not_think_is_not_asked_to(config, written):
    assert config(thinks=False, reasoning={"effort": "none", "summary": "auto"}) == {}
    assert refused(written, thinks=False, reasoning={"effort": "low"}) == "reasoning.effort"


def test_tiers(written):
    assert written(service_tier="flex")["serviceTier"] == "flex"
    assert written(service_tier="default")["serviceTier"] == "standard"
    assert written(service_tier="auto") == {"contents": HELLO}


def test_hints_change_nothing(written):
    hints = {
        "metadata": {"a": "b"},
        "user": "u",
        "truncation": "auto",
        "prompt_cache_key": "k",
        "parallel_tool_calls": False,
        "max_tool_calls": 3,
    }
    assert written(**hints) == {"contents": HELLO}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"hologram": 1}}, "text.hologram"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "rhymed"}}, "reasoning.summary"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"hologram": 1}}, "reasoning.hologram"),
        ({"tools": [F], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [{"type": "web_search"}], "max_tool_calls": 1}, "max_tool_calls"),
        ({"include": ["reasoning.encrypted_content", "hologram"]}, "include[1]"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name_or_dropped_alone(written, options, param):
    assert refused(written, **options) == param
    dropped = written(temperature=0.5, drop=True, **options)
    assert dropped["generationConfig"] == {"temperature": 0.5}
