"""The reader of Messages: blocks, ends, errors, pauses, and streams in any pieces."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_checker import check_events
from upstreams.claude import (
    SEALS,
    STOPPED,
    call,
    goodbye,
    hello,
    read,
    read_on,
    reader,
    result,
    text,
    thought,
)
from upstreams.frames import block_delta, frame, start, stop

from ws_bridge.protocol.tools import ToolTable

TOOLS = ToolTable.of(
    [
        {"type": "function", "name": "f"},
        {"type": "function", "name": "web_search"},
        {"type": "custom", "name": "write"},
        {"type": "shell"},
        {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "list"}]},
    ]
)


def test_a_text_is_one_message_of_the_wires_model_with_its_usage():
    told = read(hello(), text(0, "He", "llo"), text(1, "."), goodbye())
    assert told.response["status"] == "completed"
    assert told.response["model"] == "claude-x"
    assert told.response["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 10,
    }
    assert [part["text"] for item in told.output for part in item["content"]] == ["Hello."]


def test_nothing_is_told_before_the_model_says_something():
    reading = reader()
    assert reading.feed(hello() + frame({"type": "ping"}) + start({"type": "text"})) == []
    assert reading.feed(block_delta({"type": "text_delta", "text": ""})) == []
    assert len(reading.feed(block_delta({"type": "text_delta", "text": "a"}))) == 5


def test_each_signed_thought_is_an_item_that_holds_its_block():
    redacted = {"type": "redacted_thinking", "data": "D"}
    told = read(
        hello(),
        thought(0, "Hm", "m", signature="S1"),
        start(redacted, 1) + stop(1),
        thought(2, signature="S2"),
        text(3, "a"),
        goodbye(),
    )
    assert [item["type"] for item in told.output] == ["reasoning"] * 3 + ["message"]
    assert [SEALS.open(item["encrypted_content"])["blocks"] for item in told.output[:3]] == [
        [{"type": "thinking", "thinking": "Hmm", "signature": "S1"}],
        [redacted],
        [{"type": "thinking", "thinking": "", "signature": "S2"}],
    ]
    assert [len(item["summary"]) for item in told.output[:3]] == [1, 0, 0]


def test_a_thought_without_a_signature_has_no_seal_and_takes_none_of_another():
    told = read(hello(), thought(0, "a", signature=""), thought(1, "b"), text(2, "c"), goodbye())
    assert ["encrypted_content" in item for item in told.output] == [False, True, False]


@pytest.mark.parametrize(
    ("pieces", "begins_with"),
    [(('{"a"', ": 1}"), {}), (("", '{"a": 1}'), {}), ((), {"a": 1}), (("",), {"a": 1})],
)
def test_a_calls_input_comes_in_pieces_or_in_its_beginning(pieces, begins_with):
    told = read(hello(), call(0, "f", *pieces, input=begins_with), goodbye("tool_use"), tools=TOOLS)
    [item] = told.output
    assert (item["type"], item["call_id"], item["name"]) == ("function_call", "toolu_1", "f")
    assert json.loads(item["arguments"]) == {"a": 1}
    assert item["status"] == told.response["status"] == "completed"


def test_a_call_without_input_has_an_empty_object():
    told = read(hello(), call(0, "f", ""), call(1, "f", call_id="b"), goodbye("tool_use"))
    assert [item["arguments"] for item in told.output] == ["{}", "{}"]


def test_the_clients_tools_keep_their_types_and_names():
    told = read(
        hello(),
        call(0, "write", '{"content": "x"}', call_id="a"),
        call(1, "shell", '{"commands": ["ls"]}', call_id="b"),
        call(2, "crm__list", "{}", call_id="c"),
        call(3, "web_search", "{}", call_id="d"),
        goodbye("tool_use"),
        tools=TOOLS,
    )
    kinds = [item["type"] for item in told.output]
    assert kinds == ["custom_tool_call", "shell_call", "function_call", "function_call"]
    assert told.output[0]["input"] == "x"
    assert (told.output[2]["namespace"], told.output[2]["name"]) == ("crm", "list")
    assert told.output[3]["name"] == "web_search"


@pytest.mark.parametrize("wire_id", ["a:b/c", "x" * 65, "", None, 7])
def test_a_call_id_is_short_and_plain(wire_id):
    [item] = read(hello(), call(0, "f", "{}", call_id=wire_id), goodbye("tool_use")).output
    assert item["call_id"].replace("_", "a").isalnum()
    assert len(item["call_id"]) <= 64


@pytest.mark.parametrize("pieces", [('{"a": 1',), ("",), ()])
def test_a_call_that_is_cut_is_incomplete(pieces):
    told = read(hello(), text(0, "a"), call(1, "f", *pieces), goodbye("max_tokens"), tools=TOOLS)
    assert told.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert told.output[-1]["status"] == "incomplete"


def test_a_call_with_broken_input_is_never_completed():
    told = read(hello(), call(0, "f", '{"a": 1'), text(1, "b"), goodbye("tool_use"))
    assert [item["status"] for item in told.output] == ["incomplete", "completed"]
    told = read(hello(), call(0, "f", '{"a": 1'), goodbye("tool_use"))
    assert (told.response["status"], told.output[0]["status"]) == ("incomplete", "incomplete")


def test_half_of_a_surrogate_pair_in_an_input_breaks_no_call():
    [item] = read(hello(), call(0, "f", '{"a": "\\ud83d"}'), goodbye("tool_use")).output
    assert item["status"] == "completed"


def test_a_message_that_begins_amid_another_leaves_the_cut_call_incomplete():
    cut = start({"type": "tool_use", "id": "t1", "name": "f", "input": {}}, 1)
    cut += block_delta({"type": "input_json_delta", "partial_json": '{"a'}, 1)
    told = read(
        hello(),
        thought(0, "Hm"),
        cut,
        hello(usage={"input_tokens": 5, "output_tokens": 1}),
        thought(0, "Oh"),
        call(1, "f", '{"a": 1}', call_id="t2"),
        goodbye("tool_use"),
        tools=TOOLS,
    )
    calls = [(item["call_id"], item["status"]) for item in told.output if "call_id" in item]
    assert calls == [("t1", "incomplete"), ("t2", "completed")]
    assert told.response["usage"]["input_tokens"] == 5


def test_a_message_may_come_whole_in_its_beginning():
    content = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f"}]
    told = read(hello(content, stop_reason="tool_use"), STOPPED)
    assert [item["type"] for item in told.output] == ["message", "function_call"]


def test_an_answer_in_json_is_an_answer():
    body = {
        "type": "message",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "S"},
            {"type": "text", "text": "a"},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    told = read(json.dumps(body).encode())
    assert [item["type"] for item in told.output] == ["reasoning", "message"]
    assert told.response["usage"]["total_tokens"] == 3


LINK = {"type": "web_search_result_location", "url": "https://a.example", "title": "A"}


def test_a_citation_is_of_its_own_block_also_where_it_comes_first():
    told = read(hello(), text(0, "One. "), text(1, "Two.", cited=[LINK]), text(2, " 3"), goodbye())
    [part] = told.output[0]["content"]
    [annotation] = part["annotations"]
    assert part["text"][annotation["start_index"] : annotation["end_index"]] == "Two."


def test_a_citation_of_no_text_is_none():
    told = read(hello(), text(0, cited=[LINK]), text(1, "a"), goodbye())
    assert told.output[0]["content"][0]["annotations"] == []


SEARCH = call(0, "web_search", '{"query": "q"}', call_id="srv_1", kind="server_tool_use")
FOUND = result(1, "web_search_tool_result", [{"type": "web_search_result", "url": "https://a"}])


def test_a_search_of_the_providers_own_is_no_call_of_the_clients():
    told = read(hello(), SEARCH, FOUND, text(2, "a"), goodbye(), tools=TOOLS)
    assert [item["type"] for item in told.output] == ["web_search_call", "message"]
    assert told.output[0]["action"]["sources"] == [{"type": "url", "url": "https://a"}]
    assert told.output[0]["status"] == "completed"


def test_what_is_unknown_is_not_shown_and_breaks_nothing():
    told = read(
        hello(),
        call(0, "advisor", call_id="srv_1", kind="server_tool_use"),
        result(1, "advisor_tool_result", {"type": "advisor_result", "text": "no"}),
        start({"type": "poem", "text": "no"}, 2)
        + block_delta({"type": "text_delta", "text": "no"}, 2)
        + stop(2),
        frame({"type": "event_of_later_days"}),
        frame("null"),
        text(3, "a"),
        goodbye(),
    )
    assert [item["type"] for item in told.output] == ["message"]
    assert told.output[0]["content"][0]["text"] == "a"


def test_a_hosted_call_without_a_result_is_incomplete():
    search = call(1, "tool_search_tool_bm25", "{}", call_id="srv_2", kind="server_tool_use")
    told = read(hello(), SEARCH, search, call(2, "f", "{}"), goodbye("tool_use"))
    assert [item["status"] for item in told.output] == ["incomplete", "incomplete", "completed"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *((word, None) for word in ("end_turn", "stop_sequence", "tool_use")),
        ("max_tokens", "max_output_tokens"),
        ("model_context_window_exceeded", "max_output_tokens"),
        ("refusal", "content_filter"),
        ("a_word_of_later_days", None),
    ],
)
def test_an_end_is_told_by_its_word(word, reason):
    told = read(hello(), text(0, "a"), goodbye(word))
    assert told.response["status"] == ("incomplete" if reason else "completed")
    assert (told.response["incomplete_details"] or {}).get("reason") == reason


@pytest.mark.parametrize("word", ["error", "network_error", "abort"])
def test_an_end_that_is_a_failure_is_one(word):
    assert word in read(hello(), text(0, "a"), goodbye(word)).error.message


@pytest.mark.parametrize("word", ["a_word_of_later_days", None, ["end_turn"]])
def test_an_unknown_end_without_words_is_a_failure(word):
    assert read(hello(), goodbye(word)).error is not None


def test_why_a_model_refused_is_a_refusal():
    details = {"type": "refusal", "category": "bio", "explanation": "It stops here."}
    told = read(hello(), text(0, "First, "), goodbye("refusal", stop_details=details))
    assert [part["type"] for part in told.output[0]["content"]] == ["output_text", "refusal"]
    assert told.output[0]["content"][1]["refusal"] == "It stops here."
    assert told.response["incomplete_details"] == {"reason": "content_filter"}


@pytest.mark.parametrize(
    ("event", "message", "status"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "Busy", 529),
        ({"type": "error", "message": "Flat"}, "Flat", 502),
        ({"error": "Only text"}, "Only text", 502),
    ],
)
@pytest.mark.parametrize("said", [(), (text(0, "a"),)])
def test_an_error_keeps_the_providers_words(event, message, status, said):
    told = read(hello(), *said, frame(event, "error"), goodbye())
    assert (told.error.message, told.error.status) == (message, status)
    assert bool(told.drafts) == bool(said)


@pytest.mark.parametrize("body", [b'{"error": {"message": "No"}}', b"[]", b'{"a": 1}', b"{"])
def test_json_that_is_no_answer_is_an_error(body):
    assert read(body).error is not None


def test_a_stream_without_its_end_is_truncated():
    assert read(hello(), text(0, "a")).error is not None
    assert read().error is not None
    told = read(hello(), text(0, "a"), goodbye().removesuffix(STOPPED))
    assert told.response["status"] == "completed"  # all was said but the last event


def test_an_unknown_end_needs_the_wires_last_event():
    wire = goodbye("a_word_of_later_days").removesuffix(STOPPED)
    assert read(hello(), text(0, "a"), wire).error is not None


def test_blocks_without_a_number_or_a_beginning_are_read():
    begin = {"type": "content_block_start", "content_block": {"type": "text", "text": "a"}}
    more = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}}
    ended = {"type": "content_block_stop"}
    wire = b"".join(map(frame, (begin, more, ended, begin, ended)))
    assert read(hello(), wire, goodbye()).output[0]["content"][0]["text"] == "aba"
    alone = block_delta({"type": "thinking_delta", "thinking": "Hm"}, 5)
    told = read(hello(), alone, block_delta(more["delta"], 6), goodbye())
    assert [item["type"] for item in told.output] == ["reasoning", "message"]


# A pause

BODY = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}


def test_a_paused_answer_goes_on_in_the_same_response():
    reading = reader()
    first = read_on(
        reading,
        hello(container={"id": "container_1"}),
        thought(0, "Hm"),
        text(1, ""),
        call(2, "web_search", '{"query": "q"}', call_id="srv_1", kind="server_tool_use"),
        goodbye("pause_turn"),
    )
    assert not reading.is_over
    body = reading.continuation(BODY)
    assert body == {
        **BODY,
        "container": "container_1",
        "messages": [
            *BODY["messages"],
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "sig"},
                    {
                        "type": "server_tool_use",
                        "id": "srv_1",
                        "name": "web_search",
                        "input": {"query": "q"},
                    },
                ],
            },
        ],
    }
    then = read_on(reading, hello(), FOUND, text(2, "a"), goodbye("pause_turn"))
    again = reading.continuation(body)
    assert [one["role"] for one in again["messages"]] == ["user", "assistant"]
    assert [one["type"] for one in again["messages"][1]["content"]] == [
        *("thinking", "server_tool_use", "web_search_tool_result", "text"),
    ]
    last = read_on(reading, hello(), text(0, "b"), goodbye())
    last.drafts = first.drafts + then.drafts + last.drafts
    assert check_events(last.events) == []
    assert [item["type"] for item in last.output] == ["reasoning", "web_search_call", "message"]
    assert last.output[1]["status"] == "completed"
    assert last.response["usage"]["total_tokens"] == 3 * (3 + 7)


def test_a_pause_that_is_not_resumed_is_incomplete():
    reading = reader()
    told = read_on(reading, hello(), SEARCH, goodbye("pause_turn"))
    told.drafts += reading.finish()
    assert check_events(told.events) == []
    assert told.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert told.output[0]["status"] == "incomplete"
    assert (reading.is_over, reading.paused) == (True, None)


@pytest.mark.parametrize("blocks", [(), (call(0, "f", "{}"),)])
def test_a_pause_in_which_the_provider_has_nothing_to_do_is_incomplete(blocks):
    """There are no words of its own, or the client must answer first."""
    told = read(hello(), *blocks, goodbye("pause_turn"))
    assert told.response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_resumed_answer_that_is_cut_off_is_truncated():
    reading = reader()
    read_on(reading, hello(), text(0, "a"), goodbye("pause_turn"))
    reading.continuation(BODY)
    assert read_on(reading).error is not None


# Any stream, in any pieces

WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=6)
BLOCKS = st.one_of(
    WORDS.map(lambda words: lambda at: text(at, words, "ü", cited=[LINK])),
    WORDS.map(lambda words: lambda at: thought(at, words, signature=words)),
    st.just(lambda at: start({"type": "redacted_thinking", "data": "D"}, at) + stop(at)),
    WORDS.map(lambda words: lambda at: call(at, "f", json.dumps({"a": words}), call_id=f"t{at}")),
    st.just(lambda at: call(at, "code_execution", "{}", call_id=f"s{at}", kind="server_tool_use")),
    st.just(lambda _at: frame({"type": "ping"})),
)
WIRES = st.builds(
    lambda blocks, reason: (
        b"".join([hello(), *(make(at) for at, make in enumerate(blocks))]),
        goodbye(reason),
    ),
    st.lists(BLOCKS, max_size=5),
    st.sampled_from(["end_turn", "max_tokens", "refusal"]),
)


def _without_ids(told):
    drafts = json.dumps([[draft.type, draft.fields] for draft in told.drafts])
    ids = [item["id"] for item in told.output]
    for place, one in enumerate(ids):
        drafts = drafts.replace(one, f"id{place}")
    return drafts


@settings(deadline=None, derandomize=True, max_examples=60)
@given(WIRES, st.integers(1, 40), st.data())
def test_any_stream_ends_once_and_the_same_in_any_pieces(wire, size, data):
    said, end = wire
    whole = read(said, end, tools=TOOLS)
    assert whole.error is None
    assert _without_ids(read(said, end, tools=TOOLS, size=size)) == _without_ids(whole)
    cut = read(said[: data.draw(st.integers(0, len(said)))], tools=TOOLS)
    assert cut.error is not None
    assert not any(draft.type == "response.completed" for draft in cut.drafts)


ODD = st.recursive(
    st.just("\ud83d") | st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
KEYS = ("index", "content_block", "delta", "message", "usage", "stop_reason", "id", "input")
ODD_EVENTS = st.builds(
    lambda kind, fields, inner: frame({"type": kind, **fields, **inner}),
    st.sampled_from(
        ["message_start", "content_block_start", "content_block_delta", "message_delta"]
    ),
    st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ODD)),
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.integers(0, 1),
            "delta": st.fixed_dictionaries(
                {"type": st.sampled_from(["text_delta", "citations_delta", "input_json_delta"])},
                optional={"text": ODD, "citation": ODD, "partial_json": ODD, "stop_reason": ODD},
            ),
            "content_block": st.fixed_dictionaries(
                {
                    "type": st.sampled_from(
                        ["text", "thinking", "tool_use", "server_tool_use", "mcp_tool_result"]
                    )
                },
                optional={
                    **dict.fromkeys(("id", "input", "text", "citations", "tool_use_id"), ODD),
                    "name": st.sampled_from(["web_search", "code_execution", "f", 1, "\ud83d"]),
                },
            ),
        },
    ),
)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.lists(ODD_EVENTS, max_size=5))
def test_no_event_is_a_crash(events):
    """An answer or a clear error; nothing else is raised."""
    told = read(hello(), *events, text(7, "a"), goodbye())
    assert told.error is not None or told.response["status"] in ("completed", "incomplete")
