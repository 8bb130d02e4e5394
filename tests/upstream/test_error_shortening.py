"""Errors as litellm reads them: short, however long the provider's are."""

import json

import pytest
from upstream.test_errors import LONG
from upstream.test_provider_faults import RawProvider, refusal
from upstreams.asking import ask, request, target

from ws_bridge.upstream.error_shortening import SHORT, TEXTS, shortened
from ws_bridge.upstream.litellm import internals

REDACTION = "litellm.litellm_core_utils.secret_redaction"
SIZES = (16 * 1024, 32 * 1024, 60 * 1024)
FAMILIES = ("native", "chat", "anthropic", "sdk", "gemini")


def error(text, **more):
    fields = {"message": text, "type": "invalid_request_error", "code": "odd", **more}
    return json.dumps({"error": fields})


def test_an_error_as_they_are_stays_as_it_is():
    body = error("No such tool: x.").encode()
    assert shortened(body) == body


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.catalogue("A8")
def test_of_a_long_message_little_is_left_and_the_code_stays(text):
    short = json.loads(shortened(error(text[:32768], param="input").encode()))["error"]
    assert text.startswith(short["message"])
    assert len(short["message"]) <= SHORT
    kept = [short[name] for name in ("type", "code", "param")]
    assert kept == ["invalid_request_error", "odd", "input"]


def test_no_half_of_a_secret_is_left():
    text = "x " * (SHORT // 2 - 4) + "sk-abcdefghijklmnop " + "y" * SHORT
    assert "sk-" not in json.loads(shortened(error(text).encode()))["error"]["message"]
    assert b"sk-" not in shortened(text.encode())


@pytest.mark.parametrize(
    "value",
    [
        [{"error": {"message": "x"}}] * 5000,
        {str(number): "a://" * 20 for number in range(500)},
        {"error": [["a://" * 50] * 100] * 100},
        json.loads("[" * 900 + "]" * 900 + ""),
        "a://" * 5000,
    ],
)
def test_whatever_it_is_it_is_short(value):
    assert len(shortened(json.dumps(value).encode())) < 3 * TEXTS


@pytest.mark.parametrize("text", ["addresses", "keys", "parts of a name"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.catalogue("A8")
async def test_litellm_looks_for_secrets_in_little(monkeypatch, family, size, text):
    """It does so many times for each error, on the event loop: 32 KiB were 2.6 seconds."""
    seen = []

    class Seen:
        def sub(self, repl, text):
            seen.append(len(text))
            return pattern.sub(repl, text)

    redaction = internals.load(REDACTION)
    pattern = redaction._SECRET_RE
    monkeypatch.setattr(redaction, "_SECRET_RE", Seen())
    async with RawProvider(refusal(400, error(LONG[text][:size]))) as provider:
        answered = await ask(request(target(provider, family, "wire")))
    assert answered.error.status == 400
    assert seen
    assert max(seen) < 3 * TEXTS
