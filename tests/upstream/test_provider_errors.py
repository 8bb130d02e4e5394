"""A provider's error in every shape: its own words and code, and nothing of the operator's."""

import json

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import CREDENTIALS, MESSAGES, TIMED_OUT
from ws_bridge.upstream.provider_errors import error_of, has_error

ODD = "Something is odd."


def told(error):
    return (error.message, error.code, error.status)


SHAPES = {
    "openai": {"error": {"message": ODD, "type": "invalid_request_error", "code": "odd_one"}},
    "its event": {"type": "error", "message": ODD, "code": "odd_one", "param": None},
    "its failed response": {
        "type": "response.failed",
        "response": {"error": {"message": ODD, "code": "odd_one"}},
    },
    "twice": {"error": {"error": {"message": ODD, "code": "odd_one"}}},
    "a list": [{"error": {"message": ODD, "code": "odd_one"}}],
    "a list inside": {"errors": [{"message": ODD, "code": "odd_one"}, {"message": "more"}]},
    "with a list beside": {
        "error": {"message": ODD, "code": "odd_one", "errors": [{"reason": "x"}]}
    },
    "under message": {"object": "error", "message": {"detail": [{"msg": ODD}]}, "code": "odd_one"},
    "json in a message": {"error": {"message": json.dumps({"message": ODD}), "code": "odd_one"}},
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
def test_the_message_and_the_code_are_found_wherever_they_stand(body):
    assert told(error_of(400, body)) == (ODD, "odd_one", 400)


TEXTS = {
    "a text": {"error": ODD},
    "a list of texts": {"errors": [ODD]},
    "a text in a list": {"error": [ODD]},
    "a detail": {"detail": ODD},
    "a detail with an error": {"detail": {"error": ODD}},
    "fastapi": {"detail": [{"type": "missing", "loc": ["body"], "msg": ODD}]},
    "cohere": {"id": "1", "message": ODD},
    "aws": {"message": ODD},
    "aws in capitals": {"Message": ODD},
    "oauth": {"error": "invalid_request", "error_description": ODD},
    "a word and a text": {"error": "Bad Request", "message": ODD},
    "hugging face": {"error": ODD, "error_type": "validation"},
    "plain text": ODD,
}


@pytest.mark.parametrize("body", TEXTS.values(), ids=TEXTS)
def test_a_text_is_the_message_and_the_code_follows_from_the_status(body):
    assert told(error_of(400, body)) == (ODD, "invalid_request_error", 400)


def test_fastapis_place_is_in_the_message_and_the_param():
    detail = [{"type": "missing", "loc": ["body", "messages", 0, "role"], "msg": "Field required"}]
    error = error_of(422, {"detail": detail})
    assert error.message == "messages.0.role: Field required"
    assert (error.param, error.status) == ("messages.0.role", 422)


@pytest.mark.parametrize(
    "body",
    [
        "<html><body><h1>502 Bad Gateway</h1>nginx on 10.0.0.1</body></html>",
        " <!DOCTYPE html><p>no",
        {"error": {"message": "<html>no</html>"}},
        "",
        None,
        17,
        [],
        {},
        {"error": None},
        {"error": {}},
        {"error": []},
        {"error": True},
        {"error": {"message": None, "code": None}},
        {"error": {"message": 17, "code": ["x"]}},
        {"detail": [[[[[[[["deep"]]]]]]]]},
    ],
    ids=str,
)
def test_where_there_are_no_words_the_status_has_them(body):
    assert told(error_of(503, body)) == (MESSAGES[503], "server_error", 503)
    assert error_of(502, body).message == UpstreamError.default_message


def test_a_tool_call_that_went_wrong_keeps_its_code():
    error = {
        "message": "Failed to call a function.",
        "type": "invalid_request_error",
        "code": "tool_use_failed",
        "failed_generation": "<function=x>",
        "status_code": 400,
    }
    for status in (400, None):
        assert told(error_of(status, {"error": error})) == (
            "Failed to call a function.",
            "tool_use_failed",
            400,
        )


RAW = {
    "json": json.dumps({"type": "error", "error": {"type": "x_error", "message": ODD}}),
    "an object": {"error": {"message": ODD}},
    "a text": ODD,
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_behind_a_router_the_provider_has_the_words(raw):
    metadata = {"raw": raw, "provider_name": "Some"}
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}}
    error = error_of(400, body)
    assert (error.message, error.status) == (ODD, 400)


@pytest.mark.parametrize("raw", ["<html>", "", {}, None, 17])
def test_a_router_that_has_nothing_of_it_has_its_own_words(raw):
    body = {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": raw}}}
    assert told(error_of(None, body)) == ("Provider returned error", "server_error", 502)


IN_A_STREAM = {
    "anthropic": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        ("Overloaded", "overloaded_error", 529),
    ),
    "openai": (
        {"error": {"message": ODD, "type": "server_error", "code": None}},
        (ODD, "server_error", 500),
    ),
    "a spent quota": (
        {"error": {"message": ODD, "type": "insufficient_quota", "code": "insufficient_quota"}},
        (ODD, "insufficient_quota", 429),
    ),
    "google": (
        {"error": {"code": 503, "message": ODD, "status": "UNAVAILABLE"}},
        (ODD, "UNAVAILABLE", 503),
    ),
    "google's words alone": (
        {"error": {"message": ODD, "status": "RESOURCE_EXHAUSTED"}},
        (ODD, "rate_limit_exceeded", 429),
    ),
    "aws": (
        {"__type": "com.amazon.coral#ThrottlingException", "message": ODD},
        (ODD, "rate_limit_exceeded", 429),
    ),
    "openrouter": ({"error": {"code": 400, "message": ODD}}, (ODD, "invalid_request_error", 400)),
    "a number as a text": (
        {"error": {"code": "429", "message": ODD}},
        (ODD, "rate_limit_exceeded", 429),
    ),
    "a number that is no status": (
        {"error": {"code": 1234, "message": ODD}},
        (ODD, "server_error", 502),
    ),
    "a word of its own": (
        {"error": {"code": "strange_one", "message": ODD}},
        (ODD, "strange_one", 502),
    ),
    "no word": ({"error": {"message": ODD}}, (ODD, "server_error", 502)),
    "a good status": ({"error": {"code": 200, "message": ODD}}, (ODD, "server_error", 502)),
}


@pytest.mark.parametrize(("body", "expected"), IN_A_STREAM.values(), ids=IN_A_STREAM)
def test_in_a_stream_the_status_follows_from_the_words(body, expected):
    assert told(error_of(None, body)) == expected
    assert told(error_of(200, body)) == expected


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "This model's maximum context length is 8192 tokens.",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        "Input is too long for requested model.",
        "too many tokens: total number of tokens in the prompt cannot exceed 4081",
        "Please reduce the length of the messages or completion.",
        "Token limit reached",
        "Current length is 9000 while limit is 8192",
        "Range of input length should be [1, 129024]",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "the request exceeds the available context size",
    ],
)
def test_a_context_that_is_too_long_has_one_code(message):
    assert error_of(400, {"error": {"message": message}}).code == "context_length_exceeded"
    general = {"code": "invalid_request_error", "message": message}
    assert error_of(None, {"error": general | {"code": 400}}).code == "context_length_exceeded"
    assert error_of(413, general).code == "context_length_exceeded"


@pytest.mark.parametrize(
    "message",
    [
        "Your request was rejected as a result of our safety system.",
        "The prompt triggered our content management policy.",
        "Output blocked by content filtering policy",
        "Input data may contain inappropriate content.",
    ],
)
def test_refused_content_has_one_code(message):
    for status in (400, 403):
        error = error_of(status, {"error": {"message": message, "code": status}})
        assert (error.message, error.code) == (message, "content_policy_violation")


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "'temperature' is too long", "invalid_request_error"),
        (400, "Invalid 'user': string too long. Expected at most 64.", "invalid_request_error"),
        (429, "Too many tokens per minute for this context window", "rate_limit_exceeded"),
        (500, "The content filter broke", "server_error"),
        (400, "Unknown parameter: 'context'.", "invalid_request_error"),
    ],
)
def test_what_only_resembles_it_has_the_code_of_its_status(status, message, code):
    assert error_of(status, {"error": {"message": message}}).code == code


def test_a_code_that_says_more_is_kept():
    error = {"code": "string_above_max_length", "message": "maximum context length is 5"}
    assert error_of(400, {"error": error}).code == "string_above_max_length"


@pytest.mark.parametrize("status", [401, 403])
def test_a_credential_that_is_refused_is_the_operators(status):
    body = {"error": {"message": "Incorrect API key: of-the-operator", "code": "invalid_api_key"}}
    error = error_of(status, body)
    assert (error.message, error.code) == (CREDENTIALS, "invalid_api_key")


def test_a_gateways_time_limit_has_our_words():
    assert error_of(504, {"message": "upstream host-of-ours timed out"}).message == TIMED_OUT


def test_secrets_are_redacted_and_documentation_is_not():
    message = "See https://console.groq.com/docs/errors, not http://10.0.0.1/x or sk-abcdef."
    shown = error_of(400, {"error": {"message": message}}).message
    assert shown == "See https://console.groq.com/docs/errors, not [redacted] or [redacted]"


def test_the_pause_that_is_asked_for_is_told():
    assert error_of(429, {}, {"Retry-After": "7"}).retry_after == 7
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    google = {"error": {"code": 429, "message": ODD, "details": [{"x": 1}, delay]}}
    assert error_of(429, google).retry_after == 34.5
    assert error_of(429, google, {"retry-after": "2"}).retry_after == 2
    assert error_of(429, {"error": {"details": "none"}}).retry_after is None


def test_the_parameter_is_the_providers():
    assert error_of(400, {"error": {"message": ODD, "param": "tools[0]"}}).param == "tools[0]"
    assert error_of(400, {"error": {"message": ODD, "param": {"x": 1}}}).param is None


def test_what_is_no_word_is_no_code():
    for code in ("x" * 101, "a\nb", "\u00e4", True, {"a": 1}):
        assert error_of(400, {"error": {"message": ODD, "code": code}}).code == (
            "invalid_request_error"
        )


@pytest.mark.parametrize("body", [{"error": ODD}, {"error": {"x": 1}}, {"errors": [1]}])
def test_an_error_is_seen_in_a_piece_of_an_answer(body):
    assert has_error(body)


@pytest.mark.parametrize("body", [{}, {"error": None}, {"errors": []}, [], "error", None])
def test_what_is_none_is_not(body):
    assert not has_error(body)


def test_a_large_error_is_read_in_no_time():
    for text in ("context " * 100_000, "token " * 100_000, '{"a":' * 20_000, "[" * 60_000):
        assert error_of(400, {"error": {"message": text}}).status == 400
