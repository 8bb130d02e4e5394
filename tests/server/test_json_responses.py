"""Answers as JSON, and errors in their HTTP form (docs/protocol.md §4.1)."""

import orjson
import pytest
from aiohttp import web

from ws_bridge.errors import InvalidRequest, RateLimited, UpgradeRequired
from ws_bridge.server.json_responses import (
    PIECE,
    error_response,
    from_http_exception,
    json_response,
    large_response,
    new_request_id,
)


def test_an_answer_is_json():
    answer = json_response({"a": [1, None]})
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert orjson.loads(answer.body) == {"a": [1, None]}


async def test_a_large_answer_tells_its_length_and_is_written_in_pieces():
    written = []

    class Writer:
        async def write(self, piece):
            written.append(bytes(piece))

    body = {"text": "x" * 3 * PIECE}
    answer = await large_response(body)
    assert answer.content_type == "application/json"
    await answer.body.write(Writer())
    assert answer.content_length == len(b"".join(written))
    assert orjson.loads(b"".join(written)) == body
    assert max(map(len, written)) == PIECE


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (InvalidRequest("No."), 400, None),
        (RateLimited("Later.", retry_after=7), 429, ("retry-after", "7")),
        (UpgradeRequired(), 426, ("upgrade", "websocket")),
    ],
)
def test_an_error_has_its_status_its_body_and_its_headers(error, status, header):
    answer = error_response(error)
    assert (answer.status, orjson.loads(answer.body)) == (status, error.body())
    assert answer.headers["cache-control"] == "no-store"
    if header:
        assert answer.headers[header[0]] == header[1]


def test_every_request_has_an_id_of_its_own():
    ids = {new_request_id() for _ in range(10)}
    assert len(ids) == 10
    assert all(each.startswith("req_") for each in ids)


def test_an_error_of_aiohttps_keeps_its_status_and_nothing_that_a_client_sent():
    error = from_http_exception(web.HTTPBadRequest(text="secret", reason="secret too"))
    assert (error.status, error.message) == (400, "Bad Request")
    assert from_http_exception(web.HTTPRequestEntityTooLarge(1, 2)).status == 413
