"""Chat chunks become streams that strict clients accept, and nothing of an answer is lost."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_checker import check_events

from ws_bridge.protocol.events import Event
from ws_bridge.protocol.output.chat import ChatTranslator, Chunk, ToolDelta, mint_id
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.protocol.tools import ToolTable

USAGE = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
CITATION = {
    "type": "url_citation",
    "url": "https://example.com",
    "title": "Example",
    "start_index": 0,
    "end_index": 2,
}


def numbered():
    """Ids that a test can name: msg_0, fc_1, ..."""
    count = itertools.count()
    return lambda prefix: f"{prefix}_{next(count)}"


def table_of(custom_tools):
    return ToolTable.of({"type": "custom", "name": name} for name in custom_tools)


def events_of(chunks, custom_tools=(), mint=None) -> list[Event]:
    """The whole bridge path that is pure: translator, then sequencer."""
    chat = ChatTranslator(table_of(custom_tools), mint or numbered())
    drafts = []
    for chunk in chunks:
        drafts += chat.take(chunk)
    drafts += chat.finish()
    sequencer = Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0)
    return sequencer.sequence(drafts)


def streamed(*chunks, custom_tools=()):
    """The events as a client parses them, strictly checked; and the final response."""
    spoken = events_of(chunks, custom_tools)
    events = [event.json() for event in spoken]
    assert check_events(events) == []
    assert events[-1]["response"] == fold(spoken)
    return events, events[-1]["response"]


def kinds(events):
    return [event["type"].removeprefix("response.") for event in events]


def call(index=0, arguments="", call_id=None, name=None):
    return Chunk(tool_calls=(ToolDelta(index, call_id, name, arguments),))


def stop(reason="stop"):
    return Chunk(finish_reason=reason)


def summary(item):
    return "".join(part["text"] for part in item["summary"])


def text(item):
    return "".join(part.get("text", "") for part in item["content"])


def test_text_is_one_message_in_the_contracts_order():
    events, response = streamed(
        Chunk(text="Hel", model="real-model"), Chunk(text="lo"), Chunk(usage=USAGE), stop()
    )
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    assert [
        {
            "id": "msg_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }
    ] == response["output"]
    assert response["model"] == "real-model"
    assert response["usage"]["total_tokens"] == 8


def test_an_empty_answer_has_no_items():
    events, response = streamed(stop())
    assert kinds(events) == ["created", "in_progress", "completed"]
    assert response["output"] == []


def test_the_finish_reason_tells_a_whole_answer_from_one_that_was_cut_off():
    chat = ChatTranslator()
    chat.take(Chunk(text="a"))
    assert chat.finish_reason is None
    chat.take(stop())
    assert chat.finish_reason == "stop"


def test_a_model_is_only_named_where_it_is_known():
    opening = ChatTranslator().take(Chunk(text="a"))[:2]
    assert all("model" not in draft.fields["response"] for draft in opening)
    named = ChatTranslator().take(Chunk(text="a", model="m"))
    assert named[0].fields["response"]["model"] == "m"


def test_reasoning_and_text_in_one_chunk_are_both_kept():
    _, response = streamed(Chunk(reasoning="why", text="so"), stop())
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]


def test_interleaved_reasoning_becomes_items_in_turn():
    events, response = streamed(
        Chunk(reasoning="a"), Chunk(text="b"), Chunk(reasoning="c"), Chunk(text="d"), stop()
    )
    output = response["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "reasoning", "message"]
    assert [summary(item) if item["type"] == "reasoning" else text(item) for item in output] == [
        "a",
        "b",
        "c",
        "d",
    ]
    assert kinds(events)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]


def test_a_call_is_announced_with_its_whole_name_and_done_with_it():
    events, response = streamed(
        call(call_id="call_a", name="get_"),
        call(name="weather"),
        call(arguments='{"city":'),
        call(arguments='"Paris"}'),
        stop("tool_calls"),
    )
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert "get_weather" == events[2]["item"]["name"] == events[5]["name"]
    assert (
        response["output"][0]["call_id"],
        response["output"][0]["arguments"],
    ) == ("call_a", '{"city":"Paris"}')


def test_a_name_that_every_chunk_repeats_is_said_once():
    _, response = streamed(
        call(call_id="c", name="f"), call(0, "{", "c", "f"), call(0, "}", "c", "f"), stop()
    )
    assert [(item["name"], item["arguments"]) for item in response["output"]] == [("f", "{}")]


def test_fragments_of_parallel_calls_may_come_in_any_order():
    events, response = streamed(
        call(0, "", "a", "f"),
        call(1, "", "b", "g"),
        call(1, '{"y":'),
        call(0, '{"x":'),
        Chunk(text="meanwhile"),
        call(0, "1}"),
        call(1, "2}"),
        stop("tool_calls"),
    )
    output = response["output"]
    assert [item["arguments"] for item in output[:2]] == ['{"x":1}', '{"y":2}']
    assert text(output[2]) == "meanwhile"
    done = [event["output_index"] for event in events if event["type"].endswith("item.done")]
    assert done == [0, 1, 2]


def test_a_whole_call_is_done_before_the_next_one_begins():
    events, _ = streamed(call(0, '{"x":1}', "a", "f"), call(1, '{"y":2}', "b", "g"), stop())
    items = [kind for kind in kinds(events) if kind.startswith("output_item")]
    assert items == ["output_item.added", "output_item.done"] * 2


def test_calls_without_ids_get_one_each():
    _, response = streamed(
        call(0, '{"x":1}', None, "f"), call(1, '{"y":2}', "", "g"), stop("tool_calls")
    )
    ids = [item["call_id"] for item in response["output"]]
    assert len(set(ids)) == 2
    assert all(call_id.startswith("call_") for call_id in ids)


def test_an_id_that_comes_late_does_not_change_what_was_said():
    events, response = streamed(
        call(0, '{"x"', None, "f"), call(0, ":1}", "late"), stop("tool_calls")
    )
    assert events[2]["item"]["call_id"] == response["output"][0]["call_id"] != "late"
    assert response["output"][0]["arguments"] == '{"x":1}'


def test_calls_that_share_an_index_are_told_apart():
    """Some providers number every call 0, with ids or without."""
    _, with_ids = streamed(call(0, "{}", "a", "f"), call(0, "{}", "b", "f"), stop())
    assert [item["call_id"] for item in with_ids["output"]] == ["a", "b"]
    _, without = streamed(call(0, '{"x":1}', None, "f"), call(0, '{"x":2}', None, "f"), stop())
    assert [item["arguments"] for item in without["output"]] == ['{"x":1}', '{"x":2}']


def test_fragments_find_their_call_by_id_where_the_index_is_shared():
    _, response = streamed(
        call(0, '{"x"', "a", "f"), call(0, '{"y"', "b", "g"), call(0, ":1}", "a"),
        call(0, ":2}", "b"), stop(),
    )  # fmt: skip
    assert [item["arguments"] for item in response["output"]] == ['{"x":1}', '{"y":2}']


def test_an_id_given_twice_is_replaced():
    """Some providers use the function's name as the id."""
    _, response = streamed(call(0, "{}", "f", "f"), call(1, "{}", "f", "f"), stop())
    assert len({item["call_id"] for item in response["output"]}) == 2


def test_a_call_without_arguments_has_an_empty_object_of_them():
    events, response = streamed(call(0, "", "a", "f"), stop("tool_calls"))
    assert response["output"][0]["arguments"] == "{}"
    assert "function_call_arguments.delta" in kinds(events)


def test_text_after_a_call_that_only_has_a_name_comes_after_it():
    _, response = streamed(Chunk(text="a"), call(0, "", "a", "f"), Chunk(text="b"), stop())
    assert [i["type"] for i in response["output"]] == ["message", "function_call", "message"]


def fragments(whole, size):
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def custom(whole, size=3):
    pieces = [call(arguments=piece) for piece in fragments(whole, size)]
    chunks = [call(0, "", "c", "patch"), *pieces, stop("tool_calls")]
    events, response = streamed(*chunks, custom_tools=["patch"])
    return events, response["output"][0]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_custom_tools_input_is_unwrapped_as_it_grows(size):
    spoken = 'Begin "Patch"\n\tä \U0001f600 \\ / end'
    events, item = custom(json.dumps({"content": spoken}), size)
    assert ("custom_tool_call", spoken) == (item["type"], item["input"])
    assert item["id"].startswith("ctc_")
    assert list(dict.fromkeys(kinds(events)[2:-1])) == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    if size < 7:
        assert kinds(events).count("custom_tool_call_input.delta") > 3


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("*** Begin Patch", "*** Begin Patch"),  # not wrapped
        ("", ""),
        ('{"content": ""}', ""),
        (' { "content" :\n"x" } ', "x"),
        ('{"why": "y", "content": "x"}', "x"),
        ('{"content": {"a": 1}}', '{"a":1}'),
        ('{"other": 1}', '{"other": 1}'),
        ("{not json", "{not json"),
        ('{"cont', '{"cont'),
        ('{"content": "a\nb"}', "a\nb"),  # a raw line break
        (r'{"content": "\d+ \ud83d \udc00"}', "\\d+ \ufffd \ufffd"),  # escapes that JSON lacks
        (r'{"content": "a\ud83d"}', "a\ufffd"),
        (r'{"content": "never closed', "never closed"),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 100])
def test_whatever_a_custom_tools_input_looks_like_it_is_read(written, read, size):
    assert read == custom(written, size)[1]["input"]


def test_refusals_are_parts_of_the_message():
    events, response = streamed(
        Chunk(text="Well. "), Chunk(refusal="I "), Chunk(refusal="can't."), stop()
    )
    assert [p["type"] for p in response["output"][0]["content"]] == ["output_text", "refusal"]
    assert response["output"][0]["content"][1]["refusal"] == "I can't."
    assert kinds(events).count("refusal.delta") == 2


def test_images_are_items_of_their_own():
    events, response = streamed(Chunk(text="Look:"), Chunk(images=("QUJD", "REVG")), stop())
    images = response["output"][1:]
    assert [item["result"] for item in images] == ["QUJD", "REVG"]
    assert {"completed"} == {item["status"] for item in images}
    assert kinds(events)[8:13] == [
        "output_item.added",
        "image_generation_call.in_progress",
        "image_generation_call.generating",
        "image_generation_call.completed",
        "output_item.done",
    ]
    assert events[8]["item"]["result"] is None


def test_an_image_after_an_open_call_waits_with_its_end():
    events, response = streamed(
        call(0, '{"x":', "a", "f"), Chunk(images=("QUJD",)), call(0, "1}"), stop()
    )
    assert [i["type"] for i in response["output"]] == ["function_call", "image_generation_call"]
    assert response["output"][0]["arguments"] == '{"x":1}'
    assert kinds(events).count("output_item.done") == 2


def test_annotations_are_said_and_kept():
    second = CITATION | {"start_index": 3}
    events, response = streamed(
        Chunk(text="So", annotations=(CITATION,)), Chunk(annotations=(second,)), stop()
    )
    assert [CITATION, second] == response["output"][0]["content"][0]["annotations"]
    said = [e for e in events if e["type"] == "response.output_text.annotation.added"]
    assert [event["annotation_index"] for event in said] == [0, 1]


def test_logprobs_are_said_and_kept():
    one, two = (
        {"token": token, "bytes": list(token.encode()), "logprob": -0.5, "top_logprobs": []}
        for token in "ab"
    )
    events, response = streamed(Chunk(text="a", logprobs=(one,)), Chunk(text="b", logprobs=(two,)))
    assert [one, two] == response["output"][0]["content"][0]["logprobs"]
    assert [[one], [two]] == [e["logprobs"] for e in events if e["type"].endswith("text.delta")]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_a_message_that_was_cut_off_says_so_everywhere(finish, reason):
    events, response = streamed(Chunk(reasoning="r"), Chunk(text="a"), stop(finish))
    assert ("incomplete", {"reason": reason}) == (
        response["status"],
        response["incomplete_details"],
    )
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert done == response["output"]


def test_reasoning_that_was_cut_off_says_so():
    _, response = streamed(Chunk(reasoning="r"), stop("length"))
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("arguments", "kept", "status"),
    [
        ('{"x":', '{"x":', "incomplete"),
        ("", "", "incomplete"),
        ('{"x":1}', '{"x":1}', "completed"),  # a whole call was not cut off
    ],
)
def test_a_call_is_cut_off_where_its_arguments_are(arguments, kept, status):
    _, response = streamed(call(0, arguments, "a", "f"), stop("length"))
    item = response["output"][0]
    assert (kept, status) == (item["arguments"], item["status"])


def test_an_earlier_call_without_arguments_was_not_cut_off():
    _, response = streamed(call(0, "", "a", "f"), Chunk(text="b"), stop("length"))
    assert [(item["type"], item["status"]) for item in response["output"]] == [
        ("function_call", "completed"),
        ("message", "incomplete"),
    ]


def test_signed_thinking_goes_back_to_its_maker_as_encrypted_content():
    redacted = {"type": "redacted_thinking", "data": "sealed"}
    events, response = streamed(
        Chunk(reasoning="Let ", thinking_blocks=({"type": "thinking", "thinking": "Let "},)),
        Chunk(reasoning="me", thinking_blocks=({"type": "thinking", "thinking": "me"},)),
        Chunk(thinking_blocks=({"type": "thinking", "thinking": "", "signature": "sig"},)),
        Chunk(thinking_blocks=(redacted,)),
        Chunk(text="Hi"),
        stop(),
    )
    item = response["output"][0]
    thinking = {"type": "thinking", "thinking": "Let me", "signature": "sig"}
    assert [thinking, redacted] == json.loads(item["encrypted_content"])
    assert summary(item) == "Let me"
    assert "encrypted_content" not in events[2]["item"]
    done = next(e for e in events if e["type"] == "response.output_item.done")
    assert item == done["item"]


def test_redacted_thinking_alone_is_a_reasoning_item():
    block = {"type": "redacted_thinking", "data": "sealed"}
    _, response = streamed(Chunk(thinking_blocks=(block,)), Chunk(text="Hi"), stop())
    assert [block] == json.loads(response["output"][0]["encrypted_content"])
    assert response["output"][0]["summary"] == []


def test_unsigned_thinking_has_no_encrypted_content():
    block = {"type": "thinking", "thinking": "a", "signature": None}
    _, response = streamed(Chunk(reasoning="a", thinking_blocks=(block,)), stop())
    assert "encrypted_content" not in response["output"][0]


def test_minted_ids_are_unique_and_of_the_known_forms():
    assert mint_id("msg") != mint_id("msg")
    assert len(mint_id("msg").removeprefix("msg_")) == 32
    assert len(mint_id("rs").removeprefix("rs_")) == 36


# Properties

WORDS = st.text(alphabet='ab{}":\\un \n0dcä', max_size=5)
NAMES = st.sampled_from([None, "", "f", "g", "patch"])
BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["thinking", "redacted_thinking", "other"]),
        "thinking": st.none() | WORDS,
        "signature": st.none() | WORDS,
        "data": WORDS,
    },
)
DELTAS = st.builds(
    ToolDelta, st.integers(0, 2), st.sampled_from([None, "", "a", "b"]), NAMES, WORDS
)
CHUNKS = st.builds(
    Chunk,
    text=WORDS,
    reasoning=WORDS,
    refusal=WORDS,
    thinking_blocks=st.lists(BLOCKS, max_size=2).map(tuple),
    tool_calls=st.lists(DELTAS, max_size=3).map(tuple),
    annotations=st.lists(st.just(CITATION), max_size=1).map(tuple),
    images=st.lists(st.just("QUJD"), max_size=1).map(tuple),
    finish_reason=st.sampled_from([None, None, "stop", "length", "content_filter"]),
    usage=st.sampled_from([None, USAGE]),
)
# Chunks as providers send them mostly say one thing; only so do long open items come about.
ONE_THING = st.one_of(
    st.builds(Chunk, text=WORDS),
    st.builds(Chunk, reasoning=WORDS),
    st.builds(Chunk, refusal=WORDS),
    st.builds(Chunk, tool_calls=st.tuples(DELTAS)),
    st.just(Chunk(images=("QUJD",))),
    st.just(Chunk(annotations=(CITATION,))),
)
STREAMS = st.lists(st.one_of(CHUNKS, ONE_THING, ONE_THING), max_size=12)


@settings(deadline=None)  # a loaded machine is no defect
@given(STREAMS)
def test_any_chunks_give_a_stream_that_strict_clients_accept(chunks):
    _, response = streamed(*chunks, custom_tools=["patch"])
    for kind in ("text", "refusal"):
        said = "".join(getattr(chunk, kind) for chunk in chunks)
        parts = [p for i in response["output"] if i["type"] == "message" for p in i["content"]]
        assert said == "".join(part.get(kind, "") for part in parts)
    thoughts = [item for item in response["output"] if item["type"] == "reasoning"]
    assert "".join(chunk.reasoning for chunk in chunks) == "".join(map(summary, thoughts))


VALUES = st.dictionaries(st.text(max_size=3), st.text(max_size=6) | st.integers(), max_size=3)


@settings(deadline=None)  # a loaded machine is no defect
@given(st.data())
def test_no_fragment_of_any_parallel_call_is_lost(data):
    whole = [json.dumps(value) for value in data.draw(st.lists(VALUES, min_size=1, max_size=4))]
    left = dict(enumerate(whole))
    chunks = [call(index, "", f"id_{index}", f"f{index}") for index in left]
    while left:
        index = data.draw(st.sampled_from(sorted(left)))
        size = data.draw(st.integers(1, 5))
        chunks.append(call(index, left[index][:size]))
        left[index] = left[index][size:]
        if not left[index]:
            del left[index]
        if data.draw(st.booleans()):
            chunks.append(Chunk(text="t"))
    _, response = streamed(*chunks, stop())
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    assert {f"f{i}": text for i, text in enumerate(whole)} == {
        item["name"]: item["arguments"] for item in calls
    }


@settings(deadline=None)  # a loaded machine is no defect
@given(st.text(alphabet=st.characters(codec="utf-8")), st.booleans(), st.integers(1, 6))
def test_a_custom_tools_input_is_what_the_model_wrote(spoken, ascii_only, size):
    wrapped = json.dumps({"content": spoken}, ensure_ascii=ascii_only)
    assert spoken == custom(wrapped, size)[1]["input"]


def test_a_link_without_a_place_cites_the_text_since_the_last_one():
    link = {"type": "url_citation", "url": "https://e.x", "title": "T"}
    chunks = [Chunk(text="one "), Chunk(annotations=(link,)), Chunk(text="two")]
    _, response = streamed(*chunks, Chunk(annotations=(link,)), stop())
    [message] = response["output"]
    places = [
        (each["start_index"], each["end_index"]) for each in message["content"][0]["annotations"]
    ]
    assert places == [(0, 4), (4, 7)]
