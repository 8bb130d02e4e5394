"""Converse's stream is read whole: text, thoughts, calls, citations, usage, ends, errors."""

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialect_answers import answer_of
from support.event_stream import event, exception, message

from ws_bridge.protocol.events import COMPLETED, INCOMPLETE
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.bedrock.stream import BedrockReader
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("bedrock", lambda: [b"a key"])
USAGE = {
    "inputTokens": 7,
    "outputTokens": 3,
    "totalTokens": 26,
    "cacheReadInputTokens": 10,
    "cacheWriteInputTokens": 6,
}


def reader(tools=()):
    return BedrockReader(ReaderInput(ToolTable.of(tools), SEALS, "bedrock"))


def start(at, **block):
    return event("contentBlockStart", contentBlockIndex=at, start=block)


def delta(at, **block):
    return event("contentBlockDelta", contentBlockIndex=at, delta=block)


def stop(at):
    return event("contentBlockStop", contentBlockIndex=at)


def text(at, *pieces):
    return b"".join(delta(at, text=piece) for piece in pieces) + stop(at)


def thought(at, *pieces):
    return b"".join(delta(at, reasoningContent=piece) for piece in pieces) + stop(at)


def call(at, *pieces, call_id="tooluse_1", name="f", **more):
    inputs = b"".join(delta(at, toolUse={"input": piece}) for piece in pieces)
    use = {"toolUseId": call_id, "name": name, **more}
    return start(at, toolUse=use) + inputs + stop(at)


def end(reason="end_turn", **more):
    return event("messageStop", stopReason=reason, **more)


BEGIN = event("messageStart", role="assistant")
METADATA = event("metadata", usage=USAGE, metrics={"latencyMs": 1})
HELLO = BEGIN + text(0, "Hello ", "you")


def answered(*pieces, tools=()):
    return answer_of(reader(tools), b"".join(pieces))


def test_text_is_a_message_and_what_the_cache_had_is_counted_in():
    answer = answered(HELLO, end(), METADATA)

    assert answer.end == COMPLETED
    assert answer.text == "Hello you"
    assert answer.response["usage"] == {
        "input_tokens": 23,
        "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 6},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 26,
    }


def test_the_metadata_may_come_before_the_end_or_not_at_all():
    assert answered(HELLO, METADATA, end()).response["usage"]["total_tokens"] == 26
    assert answered(HELLO, end()).response["usage"] is None


def test_the_tokens_of_thinking_are_counted_where_claude_names_them():
    fields = {"usage": {"output_tokens_details": {"thinking_tokens": 2}}}
    answer = answered(HELLO, end(additionalModelResponseFields=fields), METADATA)

    assert answer.response["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


def test_a_signature_is_sealed_with_its_thought():
    answer = answered(thought(0, {"text": "Hm"}, {"text": "."}, {"signature": "s1"}), end())

    (item,) = answer.output
    assert item["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert SEALS.open(item["encrypted_content"]) == {"signature": "s1"}


def test_a_thought_without_a_signature_is_known_as_this_makers():
    (item,) = answered(thought(0, {"text": "Hm."}), end()).output

    assert SEALS.open(item["encrypted_content"]) == {"reasoned": True}


def test_redacted_thoughts_are_items_of_their_own():
    first, second = (base64.b64encode(data).decode() for data in (b"one", b"two"))
    answer = answered(
        thought(0, {"text": "Hm."}, {"signature": "s"}),
        thought(1, {"redactedContent": first}, {"redactedContent": second}),
        start(2, reasoningContent={"redactedContent": second}),
        stop(2),
        text(3, "Hi"),
        end(),
    )

    assert [SEALS.open(item["encrypted_content"]) for item in answer.output[:3]] == [
        {"signature": "s"},
        {"redacted": base64.b64encode(b"onetwo").decode()},
        {"redacted": second},
    ]
    assert answer.text == "Hi"


def test_a_thought_with_nothing_in_it_is_none():
    assert [item["type"] for item in answered(thought(0, {"text": ""}), HELLO, end()).output] == [
        "message"
    ]


def test_calls_keep_their_ids_and_order():
    answer = answered(call(0, '{"a":', "1}"), call(1, call_id="tooluse_2", name="g"), end())

    assert [(item["call_id"], item["name"], item["arguments"]) for item in answer.output] == [
        ("tooluse_1", "f", '{"a":1}'),
        ("tooluse_2", "g", "{}"),
    ]


def test_an_id_that_fits_no_client_is_hashed():
    (item,) = answered(call(0, "{}", call_id="a.b:c"), end("tool_use")).output

    assert item["call_id"].startswith("call_")
    assert len(item["call_id"]) <= 64


def test_a_call_of_a_shell_tool_is_one_again():
    answer = answered(
        call(0, '{"commands":["ls"]}', name="shell"), end(), tools=[{"type": "shell"}]
    )

    assert answer.output[0]["type"] == "shell_call"
    assert answer.output[0]["action"]["commands"] == ["ls"]


SEARCHED = {"type": "server_tool_use", "name": "nova_grounding", "call_id": "s_1"}


def test_a_search_of_the_providers_is_no_call_of_the_clients():
    answer = answered(
        call(0, '{"query":', '"rome"}', **SEARCHED),
        start(1, toolResult={"toolUseId": "s_1", "type": "nova_grounding_result"}),
        delta(1, toolResult=[{"json": {"a": 1}}]),
        stop(1),
        text(2, "Rome."),
        end(),
    )

    search, written = answer.output
    assert search == {
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "rome", "queries": ["rome"]},
    }
    assert written["type"] == "message"


def test_code_that_the_provider_runs_is_shown_with_its_output():
    code = {"type": "server_tool_use", "name": "nova_code_interpreter", "call_id": "c_1"}
    answer = answered(
        call(0, '{"snippet":"1/0"}', **code),
        start(1, toolResult={"toolUseId": "c_1", "status": "error"}),
        delta(1, toolResult=[{"json": {"stdOut": "", "stdErr": "ZeroDivisionError"}}]),
        stop(1),
        end(),
    )

    (item,) = answer.output
    assert (item["type"], item["status"], item["code"]) == (
        "code_interpreter_call",
        "failed",
        "1/0",
    )
    assert item["outputs"] == [{"type": "logs", "logs": "ZeroDivisionError"}]


def test_an_unknown_tool_of_the_providers_is_not_shown():
    unknown = {"type": "server_tool_use", "name": "invented", "call_id": "i_1"}
    answer = answered(
        call(0, "{}", **unknown),
        start(1, toolResult={"toolUseId": "i_1"}),
        stop(1),
        HELLO,
        end(),
    )

    assert [item["type"] for item in answer.output] == ["message"]


def test_a_clients_function_named_like_a_search_stays_its_own():
    (item,) = answered(call(0, "{}", name="nova_grounding"), end("tool_use")).output

    assert item["type"] == "function_call"


PAGE = {"location": {"web": {"url": "https://x.test/", "domain": "x.test"}}}
DOCUMENT = {"title": "Guide", "location": {"documentPage": {"documentIndex": 2, "start": 1}}}


def test_a_citation_is_of_the_text_of_its_own_block():
    answer = answered(
        text(0, "Before. "),
        delta(1, citation=PAGE) + delta(1, text="Cited.") + delta(1, citation=DOCUMENT) + stop(1),
        text(2, " After."),
        end(),
    )

    assert answer.text == "Before. Cited. After."
    assert answer.annotations == [
        {
            "type": "url_citation",
            "url": "https://x.test/",
            "title": "x.test",
            "start_index": 8,
            "end_index": 14,
        },
        {"type": "file_citation", "file_id": "2", "filename": "Guide", "index": 14},
    ]


def test_a_citation_in_a_block_without_text_is_of_the_text_since_the_last_one():
    answer = answered(
        text(0, "One. "),
        delta(1, citation=PAGE) + stop(1),
        text(2, "Two."),
        delta(3, citation=PAGE) + stop(3),
        end(),
    )

    spans = [(note["start_index"], note["end_index"]) for note in answer.annotations]
    assert spans == [(0, 5), (5, 9)]


def test_a_citation_without_any_text_is_none():
    assert answered(delta(0, citation=PAGE), stop(0), end()).output == []


def test_an_image_is_shown():
    halves = [base64.b64encode(data).decode() for data in (b"pic", b"ture")]
    answer = answered(
        start(0, image={"format": "png"}),
        *(delta(0, image={"source": {"bytes": half}}) for half in halves),
        stop(0),
        end(),
    )

    (item,) = answer.output
    assert item["type"] == "image_generation_call"
    assert base64.b64decode(item["result"]) == b"picture"


@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        ("end_turn", COMPLETED, None),
        ("stop_sequence", COMPLETED, None),
        ("tool_use", COMPLETED, None),
        ("max_tokens", INCOMPLETE, {"reason": "max_output_tokens"}),
        ("model_context_window_exceeded", INCOMPLETE, {"reason": "max_output_tokens"}),
        ("guardrail_intervened", INCOMPLETE, {"reason": "content_filter"}),
        ("content_filtered", INCOMPLETE, {"reason": "content_filter"}),
        ("invented", COMPLETED, None),
    ],
)
def test_the_stop_reason_decides_the_end(reason, kind, details):
    answer = answered(HELLO, end(reason), METADATA)

    assert answer.end == kind
    assert answer.response["incomplete_details"] == details


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output"])
def test_a_failure_is_no_success_whatever_was_written(reason):
    assert reason in answered(HELLO, end(reason), METADATA).failure.message


def test_an_unknown_word_with_nothing_written_is_a_failure():
    assert "invented" in answered(BEGIN, end("invented")).failure.message


@pytest.mark.parametrize(
    "raw", [b"", BEGIN, HELLO, HELLO + METADATA, HELLO + end(""), HELLO + end()[:-1]]
)
def test_a_stream_without_its_end_is_cut_off(raw):
    assert "ended" in answered(raw).failure.message


USE = start(0, toolUse={"toolUseId": "tooluse_1", "name": "f"})
CUT_CALL = USE + delta(0, toolUse={"input": '{"a'})


@pytest.mark.parametrize("raw", [CUT_CALL, CUT_CALL + stop(0), USE, USE + stop(0)])
def test_a_call_cut_in_its_arguments_is_incomplete(raw):
    answer = answered(raw, end("max_tokens"), METADATA)

    assert answer.end == INCOMPLETE
    assert answer.output[0]["status"] == "incomplete"


def test_a_whole_call_of_an_answer_that_was_cut_is_completed():
    answer = answered(call(0, "{}"), delta(1, text="H"), end("max_tokens"), METADATA)

    assert [item["status"] for item in answer.output] == ["completed", "incomplete"]


def test_a_thought_cut_before_its_blocks_end_keeps_what_came():
    raw = delta(0, reasoningContent={"text": "Hm"}) + delta(0, reasoningContent={"signature": "s"})
    (item,) = answered(raw, end("max_tokens")).output

    assert SEALS.open(item["encrypted_content"]) == {"signature": "s"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exception("throttlingException", message="Too many."), 429),
        (exception("validationException", message="Too many."), 400),
        (exception("serviceUnavailableException", Message="Too many."), 503),
        (exception("inventedException", message="Too many."), 502),
        (
            exception(
                "modelStreamErrorException",
                message="It failed.",
                originalMessage="Too many.",
                originalStatusCode=400,
            ),
            502,
        ),
        (
            message(
                {":message-type": "exception", ":exception-type": "internalServerException"},
                b"Too many.",
            ),
            500,
        ),
        (
            message(
                {
                    ":message-type": "error",
                    ":error-code": "inventedError",
                    ":error-message": "Too many.",
                }
            ),
            502,
        ),
    ],
)
@pytest.mark.parametrize("before", [b"", HELLO, HELLO + end()])
def test_an_exception_keeps_the_providers_words_and_code(before, error, status):
    failure = answered(before, error).failure

    assert (failure.message, failure.status) == ("Too many.", status)
    assert failure.code.endswith(("Exception", "Error"))


@pytest.mark.parametrize(
    "noise",
    [
        event("invented", contentBlockIndex=0),
        event("contentBlockStop", contentBlockIndex=9),
        event("contentBlockDelta", contentBlockIndex=0, delta=None),
        event("contentBlockDelta", contentBlockIndex=0, delta={"invented": {}}),
        event("contentBlockStart", contentBlockIndex=9, start={"invented": {}}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"text": ""}),
        message({":message-type": "event", ":event-type": "contentBlockStop"}, b"[]"),
    ],
)
def test_what_has_no_piece_of_an_answer_changes_nothing(noise):
    raw = [BEGIN, delta(0, text="Hello "), delta(0, text="you"), stop(0), end(), METADATA]

    assert answered(*raw[:2], noise, *raw[2:]).normal() == answered(*raw).normal()


def test_a_payload_that_is_no_json_fails_the_answer():
    headers = {":message-type": "event", ":event-type": "contentBlockDelta"}

    assert "not JSON" in answered(HELLO, message(headers, b"{")).failure.message


def test_a_damaged_message_fails_the_answer():
    assert "damaged" in answered(HELLO, b"\x00" * 40).failure.message


WHOLE = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": "QQ=="}},
                {"text": "Hello "},
                {"citationsContent": {"content": [{"text": "you"}], "citations": [PAGE]}},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"a": 1}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": USAGE,
}


def test_json_instead_of_a_stream_is_read():
    answer = answered(json.dumps(WHOLE).encode())

    kinds = [item["type"] for item in answer.output]
    assert kinds == ["reasoning", "reasoning", "message", "function_call"]
    assert answer.text == "Hello you"
    assert (answer.annotations[0]["start_index"], answer.annotations[0]["end_index"]) == (6, 9)
    assert json.loads(answer.output[3]["arguments"]) == {"a": 1}
    assert answer.response["usage"]["total_tokens"] == 26


def test_a_whole_answer_without_usage_is_one_too():
    answer = answered(json.dumps({**WHOLE, "usage": None}).encode())

    assert answer.end == COMPLETED
    assert answer.response["usage"] is None


@pytest.mark.parametrize("body", [{"message": "no access"}, {"error": {"message": "no access"}}])
def test_a_json_error_with_status_200_keeps_its_words(body):
    assert answered(json.dumps(body).encode()).failure.message == "no access"


BLOCKS = st.lists(
    st.one_of(
        st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3).map(
            lambda pieces: lambda at: text(at, *pieces)
        ),
        st.text(min_size=1, max_size=6).map(
            lambda piece: lambda at: thought(at, {"text": piece}, {"signature": "s"})
        ),
        st.just(lambda at: thought(at, {"redactedContent": "QQ=="})),
        st.text(max_size=5).map(
            lambda value: (
                lambda at: call(
                    at,
                    *(json.dumps({"v": value})[a:b] for a, b in ((0, 4), (4, None))),
                    call_id=f"t_{at}",
                )
            )
        ),
        st.just(lambda at: delta(at, citation=PAGE) + stop(at)),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(BLOCKS, st.booleans(), st.data())
def test_any_stream_in_any_pieces_is_the_same_answer(blocks, has_metadata, data):
    said = BEGIN + b"".join(block(at) for at, block in enumerate(blocks))
    raw = said + end() + (METADATA if has_metadata else b"")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)) | {0, len(raw)})
    answer = answer_of(reader(), *(raw[a:b] for a, b in pairwise(cuts)))

    assert answer.end == COMPLETED
    assert answer.response["output"] is not None
    seals = [item.get("encrypted_content") for item in answer.output]
    assert len([one for one in seals if one]) == sum(
        SEALS.open(one) is not None for one in seals if one
    )
    assert answer.normal() == answer_of(reader(), raw).normal()
    cut = data.draw(st.integers(0, len(said + end()) - 1))
    assert answer_of(reader(), raw[:cut]).failure is not None
