"""A text frame, read: what it is, or why it is none."""

import orjson
import pytest

from ws_bridge.protocol.actions import ConnectionLimits
from ws_bridge.protocol.client_frames import KINDS, read_frame
from ws_bridge.protocol.connection import FRAMES, Connection
from ws_bridge.protocol.json_limits import JsonLimits
from ws_bridge.protocol.request import CreateResponse

RULES = ConnectionLimits(json_limits=JsonLimits(depth=4), default_model="m")


def message(**fields):
    return read_frame(orjson.dumps(fields), RULES)


def test_a_create_is_read_with_its_fields():
    made = message(type="response.create", input="hi", stream_id="a")
    assert isinstance(made.create, CreateResponse)
    assert (made.create.model, made.frame["stream_id"], made.error) == ("m", "a", None)


def test_its_size_is_the_texts():
    text = '{"type":"response.processed"}'
    assert read_frame(text, RULES).size == len(text)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"type":7}', '{"type":"response.created"}'])
def test_what_is_no_frame_has_its_error(text):
    assert read_frame(text, RULES).error.status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"input": 5}, "input"), ({"background": True}, "background"), ({"input": [[1]]}, "input")],
)
def test_a_create_that_cannot_be_served_has_its_error_and_its_lane(fields, param):
    made = message(type="response.create", stream_id="a", **fields)
    assert (made.error, made.create.param, made.frame["stream_id"]) == (None, param, "a")


def test_a_create_that_is_too_deep_is_refused():
    made = message(type="response.create", input=[{"content": [{"a": {"b": {}}}]}])
    assert "levels deep" in made.create.message


def test_every_kind_that_is_read_is_acted_on():
    assert set(FRAMES) == KINDS
    assert Connection(RULES).apply(message(type="response.processed")) == []


@pytest.mark.parametrize(
    ("text", "is_text"),
    [
        (b"\xff", False),
        (b'{"type":"response.create","input":"\xed\xa0\x80"}', False),
        ("no JSON: \u00e4".encode(), True),
        (b'{"type":"response.create"', True),
        ("{", True),
    ],
)
def test_bytes_that_are_no_text_are_told_from_text_that_is_no_json(text, is_text):
    frame = read_frame(text, ConnectionLimits())
    assert (frame.error is not None, frame.is_text) == (True, is_text)
