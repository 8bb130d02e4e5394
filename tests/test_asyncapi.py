"""docs/asyncapi.yaml is made of the code's tables, and has every frame, event, error and code.

`tests/real/test_documents.py` has AsyncAPI's own parser read it.
"""

import pytest
from contract import asyncapi
from contract.code import OF_AIOHTTP, close_frames, folded_events, known_codes, made_events, tree
from contract.errors import error_rows
from contract.page import rows, section
from contract.validation import asyncapi_document, problems, problems_of_event
from test_laws import run, script
from transcripts import names

from ws_bridge.errors import RateLimited, StreamLimitReached
from ws_bridge.protocol import steering
from ws_bridge.protocol.client_frames import KINDS, ONLY_HTTP
from ws_bridge.protocol.request import CreateResponse

MESSAGES = asyncapi_document()["components"]["messages"]
CHANNEL = asyncapi_document()["channels"]["responses"]
OPERATIONS = asyncapi_document()["operations"]


def messages_of(*names):
    """The names of the messages of some operations."""
    found = [one for name in names for one in OPERATIONS[name]["messages"]]
    return {one["$ref"].rpartition("/")[2] for one in found}


def properties(kind):
    name = MESSAGES[kind]["payload"]["$ref"].rpartition("/")[2]
    return asyncapi_document()["components"]["schemas"][name]["properties"]


def problems_of(message):
    schema = MESSAGES[message["type"]]["payload"]
    return [*problems(message, schema, asyncapi_document()["components"])]


def test_the_document_is_the_one_that_the_code_makes():
    """`python -m tests.contract` writes it."""
    assert asyncapi.FILE.read_text(encoding="utf-8") == asyncapi.text(asyncapi.document())


def test_frames_are_those_that_the_connection_reads():
    receiving = [name for name, one in OPERATIONS.items() if one["action"] == "receive"]
    assert messages_of(*receiving) == KINDS


def test_events_are_those_that_the_bridge_makes_and_folds():
    sending = [name for name, one in OPERATIONS.items() if one["action"] == "send"]
    assert messages_of(*sending) == made_events() | folded_events()


def test_the_channel_has_all_messages_under_the_types_that_they_have():
    assert set(CHANNEL["messages"]) == set(MESSAGES)
    assert {kind for kind in MESSAGES if properties(kind)["type"]["const"] != kind} == set()


def test_fields_of_a_create_are_those_of_a_socket():
    own = set(properties("response.create")) - {"type", "stream_id"}
    assert own == set(CreateResponse.model_fields) - ONLY_HTTP - {"background"}


def test_fields_of_a_steer_are_those_that_are_read():
    assert set(properties("response.steer")) == steering.KEYS


def test_close_codes_are_those_of_the_code():
    rows = CHANNEL["x-close-codes"]
    described = {
        (row["code"], row["reason"]): row["mayReconnect"] for row in rows if "reason" in row
    }
    assert described == close_frames()
    assert {row["code"] for row in rows} == {code for code, _ in described} | OF_AIOHTTP


def test_refusals_before_the_upgrade_are_those_of_the_page():
    described = [(str(row["status"]), f"`{row['code']}`") for row in CHANNEL["x-refusals"]]
    assert described == [(status, code) for status, code, _ in rows(section("1.3"))]


def test_every_code_is_described_with_its_statuses():
    described = {row["code"]: row["statuses"] for row in OPERATIONS["send_error"]["x-error-codes"]}
    assert {kind for kind in tree() if kind.status not in described[kind.code]} == set()
    assert known_codes() - {*described} == set()
    assert properties("error")["error"]["properties"]["code"]["examples"] == [*described]
    assert [*described] == [row.code for row in error_rows()]


def test_codes_of_steering_are_those_of_the_code():
    error = properties("response.steer.failed")["error"]
    assert error["properties"]["code"]["enum"] == [*steering.MESSAGES]


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "hi", "stream_id": "main", "store": False},
        {"input": "hi", "generate": False},
        {"input": [{"role": "user", "content": "hi"}], "include": [], "tools": [], "stream": True},
        {"input": [{"id": "msg_1"}], "previous_response_id": "resp_1", "reasoning": None},
        {"input": [{"type": "item_reference", "id": "msg_1"}], "conversation": {"id": "conv_1"}},
    ],
)
def test_creates_that_clients_send_are_as_described(fields):
    """As the official libraries and Codex do, which also send fields that the bridge ignores."""
    create = {"type": "response.create", "model": "m", "client_metadata": {"a": "b"}, **fields}
    assert problems_of(create) == []
    assert problems_of({**create, "input": 3}) != []


@pytest.mark.parametrize("lane", [None, "main"])
@pytest.mark.parametrize("kind", [RateLimited, lambda: StreamLimitReached(32)])
def test_an_error_is_as_described(kind, lane):
    assert problems_of(kind().frame(lane)) == []
    assert problems_of({**kind().frame(lane), "stream_id": None}) != []


@pytest.mark.parametrize("name", names())
async def test_events_of_every_transcript_are_as_both_documents_describe_them(name):
    """All but those that a provider of the Responses API has made up."""
    _, _, events = await run(script(name), stream_id="main")
    known = [event.json() for event in events if event.type in MESSAGES]
    assert [one for event in known for one in problems_of_event(event)] == []
