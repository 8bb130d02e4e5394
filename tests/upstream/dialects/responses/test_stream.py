"""The bytes of an HTTP answer, in any pieces, as a stream or as one object."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstreams.responses_wire import frame_of, legal_stream

from ws_bridge.errors import TRUNCATED, UpstreamError
from ws_bridge.protocol.events import COMPLETED, LIFECYCLE, TERMINAL, Draft
from ws_bridge.protocol.output.replay import replay
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.responses import FAMILY
from ws_bridge.upstream.dialects.responses.stream import ResponsesReader, draft_of

SEEDS = st.integers(0, 2**32)


def drafts_of(data, *, random=None):
    reader = ResponsesReader(ReaderInput())
    drafts, at = [], 0
    while at < len(data):
        size = random.randint(1, 200) if random else len(data)
        drafts += reader.feed(data[at : at + size])
        at += size
    while not reader.is_over:
        drafts += reader.finish()
    return drafts


@settings(deadline=None)
@given(SEEDS)
def test_a_legal_stream_passes_byte_for_byte_in_any_pieces(seed):
    random = Random(seed)  # noqa: S311
    events = legal_stream(seed)
    data = b"".join(frame_of(event, named=random.random() < 0.5) for event in events)
    drafts = drafts_of(data, random=random)
    texts = [json.dumps(e).encode() if e["type"] not in LIFECYCLE else b"" for e in events]
    assert [draft.text for draft in drafts] == texts
    assert [draft.type in TERMINAL for draft in drafts] == [False] * (len(events) - 1) + [True]
    assert drafts == drafts_of(data)


@settings(deadline=None)
@given(SEEDS)
def test_a_stream_that_is_cut_is_never_complete(seed):
    data = b"".join(map(frame_of, legal_stream(seed)))
    last = data.rindex(b"data: ")
    with pytest.raises(UpstreamError) as failed:
        drafts_of(data[: Random(seed).randint(0, last)])  # noqa: S311
    assert failed.value.message


def test_the_mark_of_the_end_and_keepalives_say_nothing():
    events = legal_stream(1)
    noise = b': ping\n\nevent: keepalive\ndata: {"type":"keepalive","sequence_number":1}\n\n'
    data = noise.join(map(frame_of, events)) + b"data: [DONE]\n\n"
    assert len(drafts_of(data)) == len(events)


def test_a_mark_of_the_end_is_no_end():
    with pytest.raises(UpstreamError) as failed:
        drafts_of(frame_of(legal_stream(1)[0]) + b"data: [DONE]\n\n")
    assert failed.value.message == TRUNCATED


def test_nothing_after_the_end_is_read():
    data = b"".join(map(frame_of, legal_stream(1)))
    assert len(drafts_of(data + b"data: {\n\n")) == len(legal_stream(1))


def test_what_comes_before_an_error_is_given_out_first():
    events = legal_stream(1)[:3]
    reader = ResponsesReader(ReaderInput())
    data = b"".join(map(frame_of, events)) + b'data: {"type":"error","message":"gone"}\n\n'
    assert len(reader.feed(data)) == 3
    with pytest.raises(UpstreamError) as failed:
        reader.finish()
    assert failed.value.message == "gone"


def test_one_object_instead_of_a_stream_is_replayed():
    response = legal_stream(5)[-1]["response"]
    data = json.dumps(response, indent=1).encode()
    assert drafts_of(data, random=Random(1)) == list(replay(response))  # noqa: S311
    assert drafts_of(data)[-1].type == COMPLETED


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": {"message": "gone", "code": "x"}}, "gone"),
        ({"error": "gone"}, "gone"),
        ({"detail": "gone"}, "gone"),
        ([{"error": {"message": "gone"}}], "gone"),
        ({"status": "failed", "output": [], "error": {"message": "bad"}}, "bad"),
        ({"status": "failed", "output": [], "error": None}, "The model provider failed."),
        (
            {"status": "cancelled", "output": []},
            "The model provider cancelled the response.",
        ),
        ({"status": "in_progress", "output": []}, TRUNCATED),
        ({"choices": []}, "The model provider failed."),
    ],
)
def test_an_object_that_is_no_finished_answer_is_an_error(answer, message):
    with pytest.raises(UpstreamError) as failed:
        drafts_of(json.dumps(answer).encode())
    assert failed.value.message == message


def test_a_whole_answer_may_hold_half_of_a_character():
    part = {"type": "output_text", "text": "a\ud83d", "annotations": []}
    item = {"id": "m", "type": "message", "role": "assistant", "content": [part]}
    drafts = drafts_of(json.dumps({"status": "completed", "output": [item]}).encode())
    assert drafts[-1].fields["response"]["output"][0]["content"][0]["text"] == "a\ufffd"


def test_items_without_ids_of_two_whole_answers_have_no_id_in_common():
    part = {"type": "output_text", "text": "Hi", "annotations": []}
    item = {"type": "message", "role": "assistant", "content": [part]}
    body = json.dumps({"id": "resp_1", "status": "completed", "output": [item]}).encode()
    ids = set()
    for number in range(2):
        reader = ResponsesReader(ReaderInput(response_id=f"resp_{number}"))
        drafts = [*reader.feed(body), *reader.finish()]
        ids.add(drafts[-1].fields["response"]["output"][0]["id"])
    assert len(ids) == 2


def test_the_family_reads_with_this_reader():
    assert (FAMILY.name, FAMILY.reader) == ("responses", ResponsesReader)


# One event


def test_an_event_keeps_its_text_and_loses_its_numbers():
    text = b'{"type":"response.x","sequence_number":3,"stream_id":"l","a":1}'
    assert draft_of(text) == Draft("response.x", {"a": 1}, text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"response.x","sequence_number":3,"sequence_number":4,"a":1}',
        b'{"type":"response.x","\\u0073tream_id":"l","a":1}',
    ],
)
def test_a_key_of_ours_that_stands_there_otherwise_cannot_be_passed_on(text):
    assert draft_of(text) == Draft("response.x", {"a": 1})


def test_half_of_a_character_cannot_be_passed_on():
    text = b'{"type":"response.x","sequence_number":1,"delta":"\\ud83d"}'
    assert draft_of(text) == Draft("response.x", {"delta": "\ud83d"})


def test_an_event_may_be_named_outside_of_its_text():
    assert draft_of(b'{"a":1}', "response.x") == Draft("response.x", {"a": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "The model provider sent an event that is not JSON."),
        (b"[]", "The model provider sent an event that is not JSON."),
        (b'"x"', "The model provider sent an event that is not JSON."),
        (b"\xff", "The model provider sent an event that is not JSON."),
        (b"{}", "The model provider sent an event without a type."),
        (b'{"type":7}', "The model provider sent an event without a type."),
        (b'{"error":{"message":"gone"}}', "gone"),
        (b'{"error":"gone \\ud83d"}', "gone ?"),
    ],
)
def test_what_is_no_event_is_an_error(text, message):
    with pytest.raises(UpstreamError) as failed:
        draft_of(text)
    assert failed.value.message == message
