"""The arguments of a call: the operator's and the documented ones, and nothing from elsewhere."""

from upstreams.asking import HELLO, KEY

from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.base import ProviderRequest
from ws_bridge.upstream.litellm import internals
from ws_bridge.upstream.litellm.call import READ_GRACE_SECONDS, Call, access

NATIVE = Target("x", "openai/x", api_key=KEY)
CHAT = Target("x", "groq/x", api_key=KEY)
OPTIONS = {"completion_window": "2h"}


BODY = {"model": "x", "stream": True, "store": False, "input": [HELLO], "temperature": 0.5}


def arguments(target, *, is_native, **more):
    return Call(target, ProviderRequest(BODY), is_native, **more).arguments()


def test_a_missing_key_is_not_looked_for_elsewhere():
    assert access(Target("x", "openai/x"))["api_key"] == "none"
    assert access(NATIVE)["api_key"] == KEY
    assert "api_key" not in access(Target("x", "bedrock/x"))


def test_the_addresses_are_the_operators_or_the_providers_own():
    assert access(NATIVE)["api_base"] == "https://api.openai.com/v1"
    assert access(Target("x", "openai/x", api_base="http://a/v1"))["api_base"] == "http://a/v1"
    assert "api_base" not in access(CHAT)


def test_a_provider_is_not_asked_twice_and_its_silence_ends_first_elsewhere():
    given = access(Target("x", "openai/x", stall_seconds=7.0))
    assert given["max_retries"] == 0
    assert given["timeout"].read == 7.0 + READ_GRACE_SECONDS


def test_a_call_streams_and_is_not_stored():
    given = arguments(NATIVE, is_native=True)
    assert (given["model"], given["input"], given["temperature"]) == ("openai/x", [HELLO], 0.5)
    assert (given["stream"], given["store"], given[internals.NO_MCP]) == (True, False, True)
    assert "background" not in given


def test_a_background_call_is_stored_and_does_not_stream():
    given = arguments(NATIVE, is_native=True, background=True, background_options=OPTIONS)
    assert (given["background"], given["store"]) == (True, True)
    assert given["extra_body"] == {"background_options": OPTIONS}
    assert "stream" not in given


def test_only_a_responses_api_knows_of_storing():
    assert "store" not in arguments(CHAT, is_native=False)


def test_parameters_are_dropped_where_the_operator_wants_it():
    assert "drop_params" not in arguments(CHAT, is_native=False)
    dropping = Target("x", "groq/x", drop_params=True)
    assert arguments(dropping, is_native=False)["drop_params"] is True


def test_a_model_that_is_asked_in_chat_goes_by_its_name_whoever_its_provider_is():
    for provider in ("openai", "openrouter", "xai"):
        asked = arguments(Target("x", f"{provider}/chat_completions/a/b"), is_native=False)
        assert (asked["model"], asked["use_chat_completions_api"]) == (f"{provider}/a/b", True)
    assert "use_chat_completions_api" not in arguments(CHAT, is_native=False)
