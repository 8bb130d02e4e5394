"""Every error in its three forms, every close frame, and that errors are complete when made."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import orjson
import pytest
from openai.types.responses import ResponseError

from ws_bridge import errors
from ws_bridge.errors import (
    RESPONSE_ERROR_CODES,
    BridgeError,
    CloseFrame,
    ConnectionLimitReached,
    InsufficientQuota,
    InvalidRequest,
    MissingParameter,
    ModelNotFound,
    PreviousResponseNotFound,
    RateLimited,
    ResponseNotFound,
    ServerDraining,
    StoreUnavailable,
    UpgradeRequired,
    UpstreamError,
)
from ws_bridge.server.transport.frame_scanner import CLOSE_CODES

ARGUMENTS = {
    "MissingParameter": ("model",),
    "PreviousResponseNotFound": ("resp_abc",),
    "PreviousResponseInProgress": ("resp_abc",),
    "NotFound": ("x_abc",),
    "ResponseNotFound": ("resp_abc",),
    "ConversationNotFound": ("conv_abc",),
    "ConversationFull": (2**20, 10),
    "ItemNotFound": ("msg_abc",),
    "ModelNotFound": ("gpt-x",),
    "StreamLimitReached": (32,),
    "ConnectionLimitReached": (60,),
}


def tree(root: type[BridgeError] = BridgeError) -> Iterator[type[BridgeError]]:
    yield root
    for branch in root.__subclasses__():
        if branch.__module__.startswith(errors.__name__):
            yield from tree(branch)


ALL = [kind(*ARGUMENTS.get(kind.__name__, ())) for kind in tree()]
each_error = pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)


def test_the_tree_is_the_whole_module():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {type(error) for error in ALL} == {
        kind for kind in classes if issubclass(kind, BridgeError)
    }


@each_error
def test_the_http_form_has_always_four_keys(error):
    assert sorted(error.body()) == ["error"]
    fields = error.body()["error"]
    assert sorted(fields) == ["code", "message", "param", "type"]
    assert fields["message"] == error.message == str(error)
    assert fields["type"]


@each_error
@pytest.mark.parametrize("lane", [None, "main"])
def test_the_frame_is_nested_and_has_a_status_a_code_and_no_number(error, lane):
    frame = error.frame(lane)
    assert frame["type"] == "error"
    assert type(frame["status"]) is int
    assert 400 <= frame["status"] < 600
    assert isinstance(frame["error"]["code"], str)
    assert frame["error"]["code"]
    assert frame["error"]["message"]
    assert None not in frame["error"].values()
    assert "sequence_number" not in frame
    assert frame.get("stream_id", "absent") == (lane or "absent")
    assert orjson.loads(orjson.dumps(frame)) == frame


@each_error
def test_the_form_inside_a_response_is_a_code_of_the_closed_set_and_a_message(error):
    inside = error.response_error()
    assert sorted(inside) == ["code", "message"]
    assert inside["code"] in RESPONSE_ERROR_CODES


@each_error
def test_an_error_that_passes_has_its_retry_after_in_both_places_of_a_frame(error):
    frame = error.frame()
    if error.status in (429, 503):
        assert frame["headers"] == frame["error"]["headers"] == error.headers()
        if isinstance(error, InsufficientQuota):  # it does not pass by itself
            assert error.headers() == {"x-should-retry": "false"}
        else:
            assert int(error.headers()["retry-after"]) >= 1
    elif not isinstance(error, UpgradeRequired):
        assert "headers" not in frame
        assert "headers" not in frame["error"]


def test_the_closed_set_has_every_code_of_the_installed_sdk():
    codes = get_args(ResponseError.model_fields["code"].annotation)
    assert set(codes) <= RESPONSE_ERROR_CODES
    assert {"context_length_exceeded", "insufficient_quota"} == RESPONSE_ERROR_CODES - set(codes)


def test_a_lost_parent_has_openais_message():
    golden = {
        "type": "error",
        "status": 400,
        "stream_id": "main",
        "error": {
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": "Previous response with id 'resp_abc' not found.",
            "param": "previous_response_id",
        },
    }
    assert PreviousResponseNotFound("resp_abc").frame("main") == golden


def test_an_unknown_response_has_no_code_over_http():
    assert ResponseNotFound("resp_abc").body() == {
        "error": {
            "message": "Response with id 'resp_abc' not found.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }


def test_a_missing_parameter_is_named():
    fields = MissingParameter("model").fields()
    assert (fields["param"], fields["code"]) == ("model", "missing_required_parameter")


@pytest.mark.parametrize("kind", [ModelNotFound, PreviousResponseNotFound, ResponseNotFound])
def test_a_long_name_is_not_repeated_in_full(kind):
    assert len(kind("x" * 10_000).message) < 200


def test_an_upgrade_names_its_protocol():
    named = {"upgrade": "websocket", "sec-websocket-version": "13"}
    assert named == UpgradeRequired().headers()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError(status=429), "rate_limit_exceeded"),
        (UpstreamError(status=400), "invalid_prompt"),
        (UpstreamError(status=413), "invalid_prompt"),
        (UpstreamError(status=401), "server_error"),
        (UpstreamError(status=503, code="overloaded"), "server_error"),
        (UpstreamError(status=400, code="context_length_exceeded"), "context_length_exceeded"),
        (UpstreamError(status=429, code="insufficient_quota"), "insufficient_quota"),
        (UpstreamError(status=400, code="invalid_image"), "invalid_image"),
        (StoreUnavailable(), "server_error"),
        (BridgeError(), "server_error"),
    ],
)
def test_inside_a_response_stands_the_nearest_code_of_the_closed_set(error, code):
    assert error.response_error()["code"] == code


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (502, "server_error"),
    ],
)
def test_a_providers_error_has_the_type_of_its_status(status, kind):
    assert UpstreamError(status=status).fields()["type"] == kind


def test_a_providers_retry_after_is_passed_on_in_whole_seconds():
    assert UpstreamError(status=429, retry_after=7.4).headers() == {"retry-after": "7"}
    assert UpstreamError(status=429, retry_after=0.2).headers() == {"retry-after": "1"}
    assert UpstreamError(status=502).headers() == {}


def test_the_facts_of_one_error_are_not_those_of_the_next():
    InvalidRequest("x", param="a", code="b")
    error = InvalidRequest("y")
    assert (error.param, error.code) == (None, "invalid_request_error")
    UpstreamError(status=400, retry_after=3)
    assert (UpstreamError().status, UpstreamError().retry_after) == (502, None)


def test_an_error_without_a_message_has_that_of_its_class():
    assert UpstreamError().message == "The model provider failed."
    assert RateLimited("Too many.").message == "Too many."


@pytest.mark.parametrize("kind", [BridgeError, InvalidRequest, RateLimited, UpstreamError])
def test_every_fact_of_an_error_is_given_to_its_constructor(kind):
    error = kind("m", status=418, code="c", param="p", retry_after=7.0)
    assert (error.message, error.status, error.code, error.param) == ("m", 418, "c", "p")
    assert (error.frame()["status"], error.headers()) == (418, {"retry-after": "7"})
    assert (RateLimited("m").retry_after, RateLimited("m", retry_after=0.0).retry_after) == (1, 0)


FACTS = frozenset("message status code param retry_after type close".split())
HOUSE = Path(errors.__file__).parent
SOURCES = {path.relative_to(HOUSE).as_posix(): path.read_text() for path in HOUSE.rglob("*.py")}


def changed_facts(source: str) -> Iterator[str]:
    """Assignments to a fact of an error from outside of its class."""
    for node in ast.walk(ast.parse(source)):
        is_target = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_target and node.attr in FACTS and ast.unparse(node.value) != "self":
            yield ast.unparse(node)


def test_no_error_is_changed_after_it_is_made():
    found = {file: list(changed_facts(source)) for file, source in SOURCES.items()}
    assert {file: names for file, names in found.items() if names} == {}
    assert list(changed_facts("error.retry_after = 1\nself.status = 2")) == ["error.retry_after"]


# Close frames

FRAMES = [value for value in vars(errors).values() if isinstance(value, CloseFrame)]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.reason)
def test_a_close_frame_has_a_code_that_may_travel_and_a_short_reason(frame):
    assert frame.code in CLOSE_CODES
    assert 0 < len(frame.reason.encode()) <= 123


def test_close_frames_are_made_in_one_place():
    makers = {file for file, source in SOURCES.items() if "CloseFrame(" in source}
    assert makers == {"errors.py"}
    assert [file for file, source in SOURCES.items() if "WSCloseCode" in source] == []


@pytest.mark.parametrize(("kind", "code"), [(ServerDraining, 1012), (ConnectionLimitReached, 1001)])
def test_an_error_that_ends_its_connection_knows_the_close_frame(kind, code):
    assert (kind.close.code, kind.close.may_reconnect) == (code, True)
    assert [error for error in ALL if error.close and type(error) is kind]
