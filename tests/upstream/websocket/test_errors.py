"""Errors on a provider's WebSocket: their status, code and message."""

import pytest
from upstreams.asking import ask, request
from upstreams.native import error_frame, target
from upstreams.sockets import Accident

from ws_bridge.upstream.errors import NO_SOCKET, NeverBegan, ProviderRefused

ERRORS = [
    (error_frame(400, "invalid_prompt", param="input"), (400, "invalid_prompt", "input", None)),
    (
        error_frame(429, "rate_limit_exceeded", headers={"retry-after": "4"}),
        (429, "rate_limit_exceeded", None, 4.0),
    ),
    (error_frame(429, "x", "y") | {"headers": {"Retry-After": "5"}}, (429, "x", None, 5.0)),
    (error_frame(503, "server_is_overloaded"), (503, "server_is_overloaded", None, None)),
    (error_frame(401, "invalid_api_key"), (401, "invalid_api_key", None, None)),
    (
        {"type": "error", "code": "nope", "message": "flat", "param": "model"},
        (502, "nope", "model", None),
    ),
    (
        {"type": "error", "error": {"type": "invalid_request_error", "message": "no status"}},
        (400, "invalid_request_error", None, None),
    ),
    ({"type": "error"}, (502, "server_error", None, None)),
    ({"type": "error", "status": "x", "error": "a string"}, (502, "server_error", None, None)),
]


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize(("frame", "expected"), ERRORS)
async def test_an_error_is_the_providers_own_without_secrets(fake, native, frame, expected, lanes):
    fake.accidents["gpt-text"].append(Accident(0, frame))
    result = await ask(request(target(fake, ws_lanes=lanes)), native)
    error = result.error
    assert result.drafts == []
    assert (error.status, error.code, error.param, error.retry_after) == expected
    assert not isinstance(error, NeverBegan)


async def test_a_message_of_the_provider_is_redacted(fake, native):
    frame = error_frame(400, "x", message="bad key sk-abcdef at https://internal.example/x")
    fake.accidents["gpt-text"].append(Accident(0, frame))
    result = await ask(request(target(fake)), native)
    assert result.error.message == "bad key [redacted] at [redacted]"


@pytest.mark.parametrize("status", [401, 403, 404, 426, 429, 500, 503])
async def test_a_refused_handshake_has_its_status(fake, native, status):
    fake.handshake_statuses.append(status)
    result = await ask(request(target(fake)), native)
    assert isinstance(result.error, ProviderRefused)
    assert (result.error.handshake_status, result.drafts) == (status, [])
    is_about_the_mode = status in (404, 426)
    assert result.error.status == (502 if is_about_the_mode else status)
    assert (result.error.message == NO_SOCKET) is is_about_the_mode
    assert result.error.never_began
