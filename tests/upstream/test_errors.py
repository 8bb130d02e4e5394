"""Errors: the provider's own message gets through, everything else does not."""

import orjson
import pytest

from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.upstream import errors as errors_module
from ws_bridge.upstream.errors import (
    RequestRefused,
    as_upstream_error,
    classify,
    redacted,
    retry_after,
)


class ProviderError(Exception):
    """An error as litellm raises it: a status, and the provider's JSON somewhere in its text."""

    def __init__(self, text, status_code=400, **more):
        super().__init__(text)
        self.status_code = status_code
        vars(self).update(more)


@pytest.mark.parametrize(
    "text",
    [
        'litellm.BadRequestError: OpenAIException - {"error": {"message": "odd", "code": "c"}}',
        """AnthropicException - b'{"error": {"message": "odd", "code": "c"}}'""",
        "Error code: 400 - {'error': {'message': 'odd', 'code': 'c'}}",
        '{"message": "odd", "code": "c"}',
    ],
)
def test_the_providers_json_is_found_wherever_it_stands(text):
    error = classify(ProviderError(text))
    assert (error.message, error.code, error.status) == ("odd", "c", 400)


def test_a_body_goes_before_a_text():
    body = {"message": "in the body", "code": "b"}
    assert classify(ProviderError("{'message': 'x'}", body=body)).message == "in the body"


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last): File x",
        "litellm.APIConnectionError: boom",
        "at /usr/lib/python3/site-packages/x/main.py, line 3",
    ],
)
def test_a_text_of_this_side_is_not_repeated(text):
    assert redacted(text) == ""


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "Wrong API key provided: sk-proj-a***z.",
            "Wrong API key provided: [redacted]",
        ),
        ("Bearer abc.def is no token", "[redacted] is no token"),
        ("see https://provider.example/docs?x=1 for more", "see [redacted] for more"),
        ("host 10.0.0.7:8080 said no", "host [redacted] said no"),
        ("cannot reach vllm.internal.example:8000 now", "cannot reach [redacted] now"),
        ("model file /srv/models/llama.gguf missing", "model file [redacted] missing"),
        ("Unsupported value: 'image/bmp'.", "Unsupported value: 'image/bmp'."),
        ("gpt-4.1 takes 1/2 of it, e.g. 0.5", "gpt-4.1 takes 1/2 of it, e.g. 0.5"),
        ("a\n  b", "a b"),
    ],
)
def test_keys_addresses_and_paths_are_redacted_and_other_text_is_not(text, kept):
    assert redacted(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "read https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "(see https://docs.anthropic.com/en/api/errors#http-errors)",
        "see https://console.groq.com/docs/tool-use, and try again",
        "* https://ai.google.dev/gemini-api/docs/rate-limits. * Quota",
        "https://openrouter.ai",
    ],
)
def test_the_address_of_a_providers_documentation_is_no_secret(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "url",
    [
        "https://me:pw@openai.com/x",
        "https://openai.com:8443/x",
        "https://openai.com/x?key=1",
        "https://openai.com.evil.example/x",
        "https://evil-openai.com/x",
        "https://openai.com@evil.example/",
        "https://my-resource.openai.azure.com/openai",
        "http://openai.com/x",
        "https://openai.com/a%20b",
        "https://docs.of-the-operator.example/errors",
        "https://10.0.0.7/docs",
        "https://docs/errors",
    ],
)
def test_any_other_address_is_one(url):
    assert redacted(f"see {url} now") == "see [redacted] now"


@pytest.mark.parametrize("key", ["sk-abcdefgh", "AIzaSyD0123456789"])
def test_a_key_in_an_address_of_documentation_is_a_secret(key):
    assert redacted(f"see https://openai.com/{key}/x") == "see [redacted]"


def test_a_long_message_is_cut():
    assert len(redacted("word " * 1000)) == 499, "the 500th is a space"


LONG = {
    "a name of many parts": "a." * 2**20,
    "parts of a name": "a-a." * 2**20,
    "a path": "/a" * 2**20,
    "half paths": "/a " * 2**20,
    "addresses": "a://" * 2**20,
    "digits": "1." * 2**20,
    "keys": "sk-" * 2**20,
    "bearers": "Bearer " * 2**20,
    "spaces": "Bearer" + " " * 2**22,
    "letters": "a" * 2**22,
    "errors": "Error - " * 2**20,
    "objects": "{" * 2**22,
    "objects that end": "{" * 2**21 + "}" * 2**21,
    "lists": '{"a":' + "[" * 2**21 + "]" * 2**21 + "}",
    "quotes": "{'" * 2**21 + "}",
    "parameters": "parameters: " + "a, " * 2**20,
}


class Seen:
    """A pattern that notes how many characters it was asked to look at."""

    def __init__(self, pattern, notes):
        self._pattern, self._notes = pattern, notes

    def sub(self, repl, text):
        self._notes.append(len(text))
        return self._pattern.sub(repl, text)

    def search(self, text):
        self._notes.append(len(text))
        return self._pattern.search(text)


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.catalogue("A8")
def test_of_a_long_error_little_is_looked_at(monkeypatch, text):
    """Megabytes cost what their first thousand characters cost; no pattern sees more."""
    notes = []
    patterns = [Seen(pattern, notes) for pattern in errors_module.SECRETS]
    monkeypatch.setattr(errors_module, "SECRETS", patterns)
    for name in ("NOT_FOR_CLIENTS", "BARE_MESSAGE", "UNSUPPORTED"):
        monkeypatch.setattr(errors_module, name, Seen(getattr(errors_module, name), notes))
    refused = type("UnsupportedParamsError", (ProviderError,), {})
    body = {"error": {"message": text, "code": text, "param": text}}
    for failure in (ProviderError(text), ProviderError("x", body=body), refused(text)):
        assert len(classify(failure).message) <= 500
    assert notes
    assert max(notes) <= errors_module.TEXT_LIMIT
    assert sum(notes) < 100_000


@pytest.mark.parametrize("place", range(480, 1010, 7))
@pytest.mark.parametrize(
    "secret",
    ["sk-abcdefghijklmnop", "AIzaSyD0123456789", "Bearer abcdefgh", "https://me:pw@host/x?key=1"],
)
@pytest.mark.catalogue("A8")
def test_a_secret_at_the_cut_is_not_half_shown(secret, place):
    """Not at 500, nor at where the looking ends, however much of what is before it shrinks."""
    shrinks = "http://" + "h" * (place - 8) + " "
    for before in ("w" * (place - 1) + " ", "w " * (place // 2), shrinks):
        shown = redacted(before + secret + " and more" * 2000)
        assert len(shown) <= 500
        assert not any(part in shown for part in ("abc", "SyD", "pw", "host")), shown


def test_a_long_message_without_a_space_is_cut_too():
    assert redacted("本" * 5000) == "本" * 500
    assert redacted("{" * 5000) == "", "it could be anything"


@pytest.mark.parametrize(
    "text",
    [
        '{"error": ' + '{"a": ' * 3000 + "1" + "}" * 3000 + "}",
        '{"message": ' + "[" * 20_000 + "]" * 20_000 + "}",
        "{'message': " + "[" * 4000 + "]" * 4000 + "}",
        '{"message": "m", "n": ' + "9" * 20_000 + "}",
    ],
)
@pytest.mark.catalogue("A12")
def test_an_error_nested_without_end_is_classified_like_any_other(text):
    assert classify(ProviderError(text, 503)).message == "The model provider is overloaded."


@pytest.mark.parametrize(
    "text",
    [
        "{{}: 1}",  # neither JSON nor anything that Python could have printed
        "{1: {[]: 2}}",
        "{" + "-" * 9000 + "1}",
        "{'message': 'x'" + " " * 20_000 + "}",
    ],
)
def test_a_text_that_is_no_json_raises_nothing(text):
    assert classify(ProviderError(text)).message == "The model provider rejected the request."


def test_half_a_character_is_replaced_where_it_would_break_the_answer():
    error = classify(ProviderError(r'{"message": "odd \ud800 one"}'))
    assert orjson.dumps(error.frame())
    assert error.message == "odd ? one"


@pytest.mark.parametrize("value", ["sk-abc\n", "<b>", "\ud800", "x" * 101, 7, {}])
def test_a_code_or_parameter_that_is_no_name_is_not_repeated(value):
    body = {"message": "m", "code": value, "param": value}
    error = classify(ProviderError("m", body=body))
    assert (error.code, error.param) == ("invalid_request_error", None)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_the_bridges(status):
    text = '{"error": {"message": "Your API key is wrong", "code": "invalid_api_key"}}'
    error = classify(ProviderError(text, status))
    assert error.message == "The model provider refused the bridge's credentials."
    assert (error.status, error.code) == (status, "invalid_api_key")


def test_a_stream_error_is_the_error_that_it_wraps():
    inner = ProviderError('{"message": "inner", "code": "c"}', 429)
    outer = ProviderError("outer", 503, original_exception=inner)
    assert (classify(outer).message, classify(outer).status) == ("inner", 429)


def test_a_circle_of_wrappers_ends():
    circle = ProviderError("round")
    circle.original_exception = circle
    assert classify(circle).status == 400


@pytest.mark.parametrize("status", [None, 200, 302, 999, "500"])
def test_a_status_that_is_no_error_is_a_bad_gateway(status):
    assert classify(ProviderError("x", status)).status == 502


def test_a_numeric_code_is_none():
    error = classify(ProviderError('{"message": "m", "code": "429"}', 429))
    assert error.code == "rate_limit_exceeded"


def test_an_unsupported_parameter_is_named():
    refusal = type("UnsupportedParamsError", (ProviderError,), {})
    text = "litellm.UnsupportedParamsError: groq does not support parameters: ['reasoning_effort']"
    error = classify(refusal(text))
    assert error.message == "The model does not support 'reasoning_effort'."
    assert error.code == "unsupported_parameter"


def test_a_providers_failure_is_logged_by_its_kind_and_without_its_words(caplog):
    caplog.set_level("INFO")
    error = as_upstream_error(TimeoutError("their words"), "openai/m")
    assert (error.status, error.code) == (504, "upstream_timeout")
    assert caplog.messages == [
        "provider_failed model=openai/m kind=TimeoutError status=504 code=upstream_timeout"
    ]


def test_an_error_of_the_seam_stays_what_it_is():
    error = UpstreamError("mine")
    assert classify(error) is error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT"}, 10.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after": "1e300"}, 86_400.0),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:10 GMT"}, None),
        ({}, None),
    ],
)
def test_every_form_of_retry_after_is_read(headers, seconds):
    assert retry_after(headers, now=1445412480.0) == seconds


def test_a_request_that_is_refused_here_is_no_failure_of_a_provider(caplog):
    refusal = RequestRefused(InvalidRequest("no", param="tools[1]"))
    with caplog.at_level("INFO"):
        assert as_upstream_error(refusal, "openai/m") is refusal
    assert caplog.text == ""
    assert (refusal.status, refusal.param, refusal.message) == (400, "tools[1]", "no")
