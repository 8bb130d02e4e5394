"""What no item carries goes back to Anthropic as it came, and to no other maker."""

import pytest
from upstreams.claude import (
    SEALS,
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
from upstreams.frames import frame

from ws_bridge.protocol.history import PROVIDER_TURN, Chain, Turn
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.anthropic.request import write
from ws_bridge.upstream.dialects.anthropic.stream import MessagesReader
from ws_bridge.upstream.dialects.base import ReaderInput, WriterInput

F = {"type": "function", "name": "f"}
ASKED = {"type": "message", "role": "user", "content": "Go"}
MORE = {"type": "message", "role": "user", "content": "And then?"}
GO = {"role": "user", "content": [{"type": "text", "text": "Go"}]}
THEN = {"role": "user", "content": [{"type": "text", "text": "And then?"}]}
PAGE = {"type": "web_search_result", "url": "https://a", "encrypted_content": "E", "page_age": None}
CITED = {
    "type": "web_search_result_location",
    "url": "https://a",
    "title": "A",
    "cited_text": "a",
    "encrypted_index": "I",
}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [PAGE]}
CODE = {"type": "server_tool_use", "id": "srv_1", "name": "code_execution", "input": {"code": "1"}}
RAN = {"type": "code_execution_20250825", "tool_id": "srv_1"}


def said(words, **more):
    return {"type": "text", "text": words, **more}


def searched(index=0):
    return call(index, "web_search", '{"query":"q"}', call_id="srv_1", kind="server_tool_use") + (
        result(index + 1, "web_search_tool_result", [PAGE])
    )


def side_data(told):
    return told.drafts[-1].fields.get("side_data")


def sent(*items, **options):
    options = {"tools": [F], "max_output_tokens": 9, **options}
    tools = ToolTable.of(options["tools"])
    return write(WriterInput("claude-sonnet-4-5", "anthropic", list(items), options, tools, SEALS))


def turn(given, *items):
    return {"type": PROVIDER_TURN, "side_data": given, "items": list(items)}


def messages(given, *items, after=(MORE,)):
    return sent(ASKED, turn(given, *items), *after).body["messages"]


def use(call_id="toolu_1"):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def done(call_id="toolu_1"):
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


def tool_use(**more):
    return {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, **more}


DONE = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [said("ok")]}],
}


def test_a_turn_with_a_search_goes_back_block_by_block():
    told = read(
        hello(),
        thought(0, "Hm", signature="S"),
        searched(1),
        text(3, ""),
        text(4, "It is a", cited=[CITED]),
        text(5, " "),
        text(6, "."),
        goodbye(),
    )
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "S"},
        SEARCH,
        FOUND,
        said("It is a ", citations=[CITED]),
        said("."),
    ]
    assert side_data(told) == {"blocks": blocks}
    body = sent(ASKED, turn(side_data(told), *told.output), MORE).body
    assert body["messages"] == [GO, {"role": "assistant", "content": blocks}, THEN]


def test_another_maker_gets_the_items():
    told = read(hello(), searched(), text(2, "a"), goodbye())
    past = Turn("resp_1", (ASKED,), tuple(told.output), "m", side_data=side_data(told))
    chain = Chain(past, (MORE,))
    assert [item["type"] for item in chain.items_for("m")] == ["message", PROVIDER_TURN, "message"]
    body = sent(*chain.items_for("another")).body
    assert body["messages"] == [GO, {"role": "assistant", "content": [said("a")]}, THEN]


@pytest.mark.parametrize(
    "frames",
    [
        [text(0, "a")],
        [thought(0, "Hm"), text(1, "a")],
        [text(0, "a", cited=[{"type": "char_location", "file_id": None, "cited_text": "a"}])],
        [call(0, "f", "{}")],
        [call(0, "f", "{}", caller={"type": "direct"})],
        [],
    ],
)
def test_what_the_items_say_is_not_kept_twice(frames):
    assert side_data(read(hello(), *frames, goodbye())) is None


def test_an_answer_that_pauses_is_kept_whole():
    reading = reader()
    begun = call(0, "web_search", '{"query":"q"}', call_id="srv_1", kind="server_tool_use")
    read_on(reading, hello(), text(0, "Wait."), begun, goodbye("pause_turn"))
    reading.continuation({"messages": [GO]})
    told = read_on(
        reading,
        hello(),
        result(0, "web_search_tool_result", [PAGE]),
        text(1, "a"),
        goodbye(),
    )
    assert side_data(told) == {"blocks": [said("Wait."), SEARCH, FOUND, said("a")]}


def test_a_compaction_goes_back_with_its_beta():
    begin = {"type": "compaction", "content": None}
    delta = {"type": "compaction_delta", "content": "All so far", "encrypted_content": "E"}
    frames = [
        frame({"type": "content_block_start", "index": 0, "content_block": begin}),
        frame({"type": "content_block_delta", "index": 0, "delta": delta}),
        frame({"type": "content_block_stop", "index": 0}),
    ]
    given = side_data(read(hello(), *frames, text(1, "a"), goodbye()))
    block = {"type": "compaction", "content": "All so far", "encrypted_content": "E"}
    assert given == {"blocks": [block, said("a")]}
    request = sent(ASKED, turn(given), MORE)
    assert request.body["messages"][1]["content"] == [block, said("a")]
    assert request.headers["anthropic-beta"] == "compact-2026-01-12"


def test_a_call_that_code_has_made_goes_back_with_its_caller_and_the_container():
    begun = call(0, "code_execution", '{"code":"1"}', call_id="srv_1", kind="server_tool_use")
    told = read(
        hello(),
        begun,
        call(1, "f", "{}", caller=RAN),
        goodbye("tool_use", container={"id": "container_1", "expires_at": "2026"}),
        tools=ToolTable.of([F]),
    )
    given = {"blocks": [CODE, tool_use(caller=RAN)], "container": "container_1"}
    assert side_data(told) == given
    request = sent(ASKED, turn(given, *told.output), done())
    assert request.body["messages"] == [
        GO,
        {"role": "assistant", "content": [CODE, tool_use(caller=RAN)]},
        DONE,
    ]
    assert request.body["container"] == "container_1"
    assert request.headers["anthropic-beta"] == "code-execution-2025-08-25"


@pytest.mark.parametrize(
    ("expires_at", "now", "is_named"),
    [
        ("2026-01-01T00:00:00Z", 1767225599.0, True),
        ("2026-01-01T00:00:00Z", 1767225600.0, False),
        ("2026-01-01T00:00:00.5", 1767225600.4, True),
        ("soon", 1e12, True),
        (None, 1e12, True),
        ("2025-01-01T00:00:00Z", 1e12, True),  # when it was told of, too: clocks differ
    ],
)
def test_a_container_is_named_until_it_has_expired(expires_at, now, is_named):
    ended = goodbye(container={"id": "container_1", "expires_at": expires_at})
    reading = MessagesReader(ReaderInput(seals=SEALS, now=1_750_000_000.0))
    told = read_on(reading, hello(), text(0, "a"), ended)
    items = [ASKED, turn(side_data(told), *told.output), MORE]
    given = WriterInput("claude-sonnet-4-5", "anthropic", items, {}, seals=SEALS, now=now)
    body = write(given).body
    assert body.get("container") == ("container_1" if is_named else None)
    assert body["messages"] == [GO, {"role": "assistant", "content": [said("a")]}, THEN]


def test_the_newest_container_is_named_unless_the_client_names_one():
    turns = [turn({"blocks": [said("a")], "container": f"container_{number}"}) for number in (1, 2)]
    items = [ASKED, turns[0], MORE, turns[1], MORE]
    code = {"type": "code_interpreter", "container": "container_9"}
    assert sent(*items).body["container"] == "container_2"
    assert sent(*items, tools=[code]).body["container"] == "container_9"
    assert "container" not in sent(ASKED, turn({"blocks": [], "container": 7}), MORE).body


def test_a_call_waits_for_its_result_only_beside_the_clients_calls():
    waiting = {"blocks": [said("a"), CODE]}
    assert messages(waiting)[1]["content"] == [said("a")]
    answered = {"blocks": [CODE, tool_use(caller=RAN)]}
    over = messages(answered, use(), after=(done(), {**MORE, "role": "assistant"}, MORE))
    assert over[1]["content"] == [tool_use()]
    ran = {"type": "code_execution_tool_result", "tool_use_id": "srv_1", "content": {}}
    result_of = turn({"blocks": [ran, said("a")]})
    paired = messages(answered, use(), after=(done(), result_of, MORE))
    assert [block for one in (paired[1], paired[3]) for block in one["content"]] == [
        CODE,
        tool_use(caller=RAN),
        ran,
        said("a"),
    ]
    assert sent(ASKED, result_of, MORE).body["messages"][1]["content"] == [said("a")]


def test_a_call_that_was_cut_is_in_no_block():
    given = {"blocks": [SEARCH, FOUND, said("a"), tool_use()]}
    assert messages(given)[1]["content"] == [SEARCH, FOUND, said("a")]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"blocks": None},
        {"blocks": "a"},
        {"blocks": []},
        {"blocks": [None]},
        {"blocks": [{}]},
        {"blocks": [{"type": ["text"]}]},
        {"blocks": [SEARCH, FOUND, {"type": "image", "source": {}}]},
        {"blocks": [{**SEARCH, "input": "q"}, FOUND]},
        {"blocks": [SEARCH, {**FOUND, "cache_control": {"type": "ephemeral"}}]},
        {"blocks": [said("")]},
        {"blocks": [SEARCH, FOUND]},  # the call of the items is missing
        {"blocks": [SEARCH, FOUND, {**tool_use(), "id": "toolu_2"}]},
    ],
)
def test_what_is_not_understood_falls_back_to_the_items(given):
    words = {"type": "message", "role": "assistant", "content": "It is a."}
    assert messages(given, words, use(), after=(done(),)) == [
        GO,
        {"role": "assistant", "content": [said("It is a."), tool_use()]},
        DONE,
    ]


@pytest.mark.parametrize(
    "block", [{}, {"type": "new"}, {"type": 7}, {"type": "compaction", "content": None}]
)
def test_an_unknown_block_is_not_kept(block):
    begin = frame({"type": "content_block_start", "index": 2, "content_block": block})
    told = read(hello(), searched(), begin, text(3, "a"), goodbye())
    assert side_data(told) == {"blocks": [SEARCH, FOUND, said("a")]}


def test_a_field_of_the_stream_alone_is_not_sent_back():
    cited = {"type": "char_location", "cited_text": "a", "file_id": None}
    odd = call(2, "web_search", call_id="srv_2", kind="server_tool_use", partial=True)
    told = read(hello(), searched(), odd, text(3, "a", cited=[cited]), goodbye())
    assert side_data(told)["blocks"][2:] == [
        {**SEARCH, "id": "srv_2", "input": {}},
        said("a", citations=[{"type": "char_location", "cited_text": "a"}]),
    ]


def test_own_blocks_have_no_cache_marks():
    given = {"blocks": [SEARCH, FOUND, said("a" * 5000)]}
    first, own, last = messages(given)
    assert own["content"] == given["blocks"]
    assert "cache_control" in first["content"][0]
    assert "cache_control" in last["content"][0]
