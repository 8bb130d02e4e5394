"""Cohere's stream is read whole: text, thoughts, plans, calls, citations, usage, ends, errors."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialect_answers import answer_of

from ws_bridge.protocol.events import COMPLETED, INCOMPLETE
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.cohere.stream import CohereReader, usage_of
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("cohere", lambda: [b"a key"])
USAGE = {"tokens": {"input_tokens": 7.0, "output_tokens": 3}, "cached_tokens": 5}


def reader(tools=()):
    return CohereReader(ReaderInput(ToolTable.of(tools), SEALS, "cohere"))


def event(kind, index=None, **message):
    place = {} if index is None else {"index": index}
    return {"type": kind, **place, "delta": {"message": message}}


def start(index, kind="text"):
    return event("content-start", index, content={"type": kind, kind: ""})


def delta(index, text, kind="text"):
    return event("content-delta", index, content={kind: text})


def end(reason="COMPLETE", usage=USAGE, **more):
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage, **more}}


def call(index, name="weather", call_id="weather_1"):
    function = {"name": name, "arguments": ""}
    return event(
        "tool-call-start",
        index,
        tool_calls={"id": call_id, "type": "function", "function": function},
    )


def arguments(index, text):
    return event("tool-call-delta", index, tool_calls={"function": {"arguments": text}})


def cite(begin, finish, *sources, **more):
    citation = {"start": begin, "end": finish, "text": "", "sources": list(sources), **more}
    return event("citation-start", 0, citations=citation)


def wire(*events):
    frames = (f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    return "".join(frames).encode()


def answered(*events, tools=()):
    return answer_of(reader(tools), wire(*events))


HELLO = (start(0), delta(0, "Hello "), delta(0, "you"), {"type": "content-end", "index": 0})


def test_text_is_a_message_with_the_wires_usage():
    answer = answered({"type": "message-start", "id": "1"}, *HELLO, end())

    assert answer.end == COMPLETED
    assert answer.text == "Hello you"
    assert answer.response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 10,
    }


def test_thoughts_are_reasoning_before_the_text():
    answer = answered(start(0, "thinking"), delta(0, "Two.", "thinking"), start(1), *HELLO, end())

    thought, message = answer.output
    assert thought["summary"] == [{"type": "summary_text", "text": "Two."}]
    assert SEALS.open(thought["encrypted_content"]) == {"thinking": True}
    assert message["type"] == "message"


def test_a_plan_is_reasoning_whose_seal_says_so():
    plan = [event("tool-plan-delta", tool_plan=text) for text in ("I look ", "it up.")]
    answer = answered(*plan, call(0), arguments(0, '{"a":1}'), end("TOOL_CALL"))

    thought, function = answer.output
    assert thought["summary"][0]["text"] == "I look it up."
    assert SEALS.open(thought["encrypted_content"]) == {"tool_plan": True}
    assert function["name"] == "weather"


def test_a_plan_does_not_join_the_thoughts_before_it():
    answer = answered(
        delta(0, "Hm.", "thinking"), event("tool-plan-delta", tool_plan="I look."), call(0), end()
    )

    assert [item["type"] for item in answer.output] == ["reasoning", "reasoning", "function_call"]
    assert SEALS.open(answer.output[0]["encrypted_content"]) == {"thinking": True}


def test_calls_keep_their_ids_and_order():
    answer = answered(
        call(0),
        arguments(0, '{"city"'),
        arguments(0, ':"Rome"}'),
        {"type": "tool-call-end", "index": 0},
        call(1, "clock", "clock_2"),
        {"type": "tool-call-end", "index": 1},
        end("TOOL_CALL"),
    )

    assert [(item["call_id"], item["name"], item["arguments"]) for item in answer.output] == [
        ("weather_1", "weather", '{"city":"Rome"}'),
        ("clock_2", "clock", "{}"),
    ]


def test_an_id_that_fits_no_client_is_hashed():
    (item,) = answered(call(0, call_id="a b" * 40), end("TOOL_CALL")).output

    assert item["call_id"].startswith("call_")
    assert len(item["call_id"]) <= 64


def test_a_call_of_a_custom_tool_is_one_again():
    answer = answered(
        call(0, "sh"),
        arguments(0, '{"content":"ls"}'),
        end("TOOL_CALL"),
        tools=[{"type": "custom", "name": "sh"}],
    )

    assert answer.output[0]["type"] == "custom_tool_call"
    assert answer.output[0]["input"] == "ls"


DOCUMENT = {"type": "document", "id": "doc:0", "document": {"title": "Guide"}}
PAGE = {"type": "document", "id": "doc:1", "document": {"title": "Page", "url": "https://x.test/"}}
RESULT = {"type": "tool", "id": "weather_1:0", "tool_output": {"temperature": "20"}}


def test_a_citation_stands_at_its_words():
    answer = answered(*HELLO[:3], cite(6, 9, DOCUMENT, PAGE, RESULT), end())

    assert answer.annotations == [
        {"type": "file_citation", "file_id": "doc:0", "filename": "Guide", "index": 9},
        {
            "type": "url_citation",
            "url": "https://x.test/",
            "title": "Page",
            "start_index": 6,
            "end_index": 9,
        },
    ]


def test_a_citation_counts_from_the_beginning_of_its_content():
    answer = answered(
        *HELLO, start(1), delta(1, " there"), cite(1, 6, PAGE, content_index=1), end()
    )

    (note,) = answer.annotations
    assert answer.text[note["start_index"] : note["end_index"]] == "there"


@pytest.mark.parametrize(
    "citation",
    [
        cite(0, 3, PAGE, type="PLAN"),
        cite(0, 3, PAGE, content_index=7),
        cite(0, 3, content_index=0),
        cite(0, 3, "doc", content_index=0),
        event("citation-start", 0, citations=None),
        event("citation-start", 0, citations={"sources": 3}),
    ],
)
def test_a_citation_of_no_text_or_source_is_none(citation):
    answer = answered(*HELLO, citation, end())

    assert answer.end == COMPLETED
    assert answer.annotations == []


def test_a_citation_ends_with_the_text():
    (note,) = answered(*HELLO, cite(4, 900, PAGE), end()).annotations

    assert (note["start_index"], note["end_index"]) == (4, 9)


@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        ("COMPLETE", COMPLETED, None),
        ("STOP_SEQUENCE", COMPLETED, None),
        ("MAX_TOKENS", INCOMPLETE, {"reason": "max_output_tokens"}),
        ("ERROR_TOXIC", INCOMPLETE, {"reason": "content_filter"}),
        ("NEW_WORD", COMPLETED, None),
    ],
)
def test_the_finish_reason_decides_the_end(reason, kind, details):
    answer = answered(*HELLO, end(reason))

    assert answer.end == kind
    assert answer.response["incomplete_details"] == details


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT", "USER_CANCEL"])
def test_a_failure_is_no_success_whatever_was_written(reason):
    assert reason in answered(*HELLO, end(reason)).failure.message


def test_an_unknown_word_with_nothing_written_is_a_failure():
    assert "NEW_WORD" in answered(end("NEW_WORD")).failure.message


@pytest.mark.parametrize("events", [(), HELLO, (*HELLO, end(None)), (call(0), arguments(0, "{"))])
def test_a_stream_without_its_end_is_cut_off(events):
    assert "ended" in answered(*events).failure.message


CUT_CALL = (call(0), arguments(0, '{"city":"Ro'))
END_OF_CALL = {"type": "tool-call-end", "index": 0}


@pytest.mark.parametrize("events", [CUT_CALL, (*CUT_CALL, END_OF_CALL), (call(0), END_OF_CALL)])
def test_a_call_cut_in_its_arguments_is_incomplete(events):
    answer = answered(*events, end("MAX_TOKENS"))

    assert answer.end == INCOMPLETE
    assert answer.output[0]["status"] == "incomplete"


def test_a_whole_call_of_an_answer_that_was_cut_is_completed():
    answer = answered(call(0), arguments(0, "{}"), END_OF_CALL, delta(0, "H"), end("MAX_TOKENS"))

    assert [item["status"] for item in answer.output] == ["completed", "incomplete"]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "too many tokens"},
        {"type": "error", "message": "too many tokens"},
        {"error": {"message": "too many tokens"}},
        {"error": "too many tokens"},
        {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "too many tokens"}},
    ],
)
def test_an_error_keeps_the_providers_words(error):
    frames = wire(*HELLO) + f"data: {json.dumps(error)}\n\n".encode()

    assert answer_of(reader(), frames).failure.message == "too many tokens"
    assert answer_of(reader(), f"data: {json.dumps(error)}\n\n".encode()).failure.message == (
        "too many tokens"
    )


@pytest.mark.parametrize(
    "noise",
    [
        b": keepalive\n\n",
        b"data: [DONE]\n\n",
        b'data: {"type":"debug","prompt":"x","message":"m"}\n\n',
        b'data: {"type":["content-delta"]}\n\n',
        b'data: {"type":"content-delta","delta":null}\n\n',
        b'data: {"type":"content-delta","delta":{"message":{"content":{"text":4}}}}\n\n',
        b'data: {"type":"tool-plan-delta","delta":{"message":{"tool_plan":""}}}\n\n',
        b'data: {"type":"tool-call-start","delta":{"message":{"tool_calls":[]}}}\n\n',
        b'data: {"type":"tool-call-end","index":4}\n\n',
        b"data: 7\n\n",
    ],
)
def test_what_has_no_piece_of_an_answer_changes_nothing(noise):
    plain = wire(*HELLO, end())
    head, tail = wire(*HELLO[:2]), wire(*HELLO[2:], end())

    assert answer_of(reader(), head, noise, tail).normal() == answer_of(reader(), plain).normal()


def test_what_is_no_json_fails_the_answer():
    assert "not JSON" in answer_of(reader(), wire(*HELLO), b"data: {\n\n").failure.message


WHOLE = {
    "id": "1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "tool_plan": "I look.",
        "content": [{"type": "text", "text": "Hello you"}],
        "citations": [{"start": 0, "end": 5, "sources": [PAGE]}],
        "tool_calls": [
            {"id": "c_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    "usage": USAGE,
}


def test_json_instead_of_a_stream_is_read():
    answer = answer_of(reader(), json.dumps(WHOLE).encode())

    assert [item["type"] for item in answer.output] == ["reasoning", "message", "function_call"]
    assert answer.text == "Hello you"
    assert answer.annotations[0]["end_index"] == 5
    assert answer.response["usage"]["total_tokens"] == 10


@pytest.mark.parametrize("body", [{"message": "no such model"}, {"error": "no such model"}])
def test_a_json_error_with_status_200_keeps_its_words(body):
    assert answer_of(reader(), json.dumps(body).encode()).failure.message == "no such model"


@pytest.mark.parametrize("usage", [None, 3, {}, {"tokens": None}, {"tokens": [1]}])
def test_a_usage_that_the_wire_lacks_is_none(usage):
    assert usage_of(usage) is None


def test_billed_units_count_where_the_tokens_are_missing():
    usage = usage_of({"billed_units": {"input_tokens": 4, "output_tokens": float("nan")}})

    assert (usage["input_tokens"], usage["output_tokens"]) == (4, 0)


PIECES = st.one_of(
    st.text(min_size=1, max_size=8).map(lambda text: [delta(0, text)]),
    st.text(min_size=1, max_size=8).map(lambda text: [delta(1, text, "thinking")]),
    st.text(min_size=1, max_size=8).map(lambda text: [event("tool-plan-delta", tool_plan=text)]),
    st.sampled_from(["COMPLETE", "DOCUMENTS"]).map(lambda _: [cite(0, 2, PAGE)]),
)
CALLS = st.lists(st.text(max_size=5), max_size=3).map(
    lambda values: [
        one
        for place, value in enumerate(values)
        for one in (
            call(place, "f", f"f_{place}"),
            arguments(place, json.dumps({"v": value})[:4]),
            arguments(place, json.dumps({"v": value})[4:]),
            {"type": "tool-call-end", "index": place},
        )
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=6), CALLS, st.data())
def test_any_stream_in_any_pieces_is_the_same_answer(pieces, calls, data):
    events = [one for piece in pieces for one in piece]
    raw = wire(*events, *calls, end())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)) | {0, len(raw)})
    answer = answer_of(reader(), *(raw[a:b] for a, b in pairwise(cuts)))

    assert answer.end == COMPLETED
    assert answer.normal() == answer_of(reader(), raw).normal()
    last = raw.rindex(b"event: message-end")
    cut = data.draw(st.integers(0, last))
    assert answer_of(reader(), raw[:cut]).failure is not None
