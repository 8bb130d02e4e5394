"""Errors in every shape."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.chat_play import Play, chunk, failing

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.openai_chat.chunk_errors import check_for_error

ERRORS: list[tuple[Any, int, str | None, str]] = [
    ({"error": {"message": "Busy", "code": 503}}, 503, None, "Busy"),
    (
        {"error": {"message": "No", "type": "invalid_request_error", "code": "tool_use_failed"}},
        400,
        "tool_use_failed",
        "No",
    ),
    ({"error": "Out of luck"}, 502, None, "Out of luck"),
    ({"error": {"code": "1302", "message": "Too busy"}}, 502, None, "Too busy"),
    ({"object": "error", "message": "Bad", "code": 400}, 400, None, "Bad"),
    ({"type": "error", "message": "Bad"}, 502, None, "Bad"),
    ({"detail": [{"msg": "Bad field"}]}, 502, None, "Bad field"),
    ({"errors": [{"message": "Bad"}]}, 502, None, "Bad"),
    ({"choices": [{"index": 0, "error": {"message": "Bad", "code": 429}}]}, 429, None, "Bad"),
    ({"x_groq": {"error": "over capacity"}, "choices": []}, 502, None, "over capacity"),
    ("Bad", 502, None, "Bad"),
]


@pytest.mark.parametrize(("given", "status", "code", "words"), ERRORS)
def test_an_error_keeps_the_providers_words(given: Any, status: int, code: Any, words: str) -> None:
    found, error = failing(given)
    assert found.drafts == []
    assert error.status == status
    assert words in error.message
    assert code in (None, error.code)
    half, later = failing(chunk(content="half"), chunk("length"), given)
    assert half.text == "half"
    assert later.message == error.message


def test_an_error_instead_of_a_stream() -> None:
    for body in ({"detail": "No"}, {"error": {"message": "No"}}, [{"error": {"message": "No"}}]):
        error = Play(orjson.dumps(body)).error
        assert error is not None
        assert error.message == "No"


def test_an_events_name_tells_an_error() -> None:
    with pytest.raises(UpstreamError, match="No"):
        check_for_error({"message": "No", "choices": []}, "error")


@pytest.mark.parametrize(
    "piece", [{"choices": [], "message": "x"}, {"object": "ping"}, {"error": None}, {"error": {}}]
)
def test_a_piece_is_no_error(piece: Any) -> None:
    check_for_error(piece)
