"""What OpenRouter has read in a file goes back to it, so that it need not read it again."""

from __future__ import annotations

from typing import Any

import pytest
from support.chat_play import SEALS, STOP, call, chunk, play

from ws_bridge.protocol.history import PROVIDER_TURN
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.openai_chat import FAMILY
from ws_bridge.upstream.dialects.openai_chat.file_annotations import read_files, side_data_of

PAGES: Any = [{"type": "text", "text": "One."}]
FILE: Any = {"type": "file", "file": {"hash": "h1", "name": "a.pdf", "content": PAGES}}
OTHER: Any = {"type": "file", "file": {"hash": "h2", "content": []}}
CITED: Any = {"type": "url_citation", "url_citation": {"url": "https://x.test/", "title": "x"}}
USER: Any = {"role": "user", "content": "And?"}


def kept(*chunks: Any, provider: str = "openrouter") -> tuple[Any, Any]:
    """The side data of an answer, and its items."""
    played = play(*chunks, STOP, provider=provider)
    return played.drafts[-1].fields.get("side_data"), played.output


def messages(*items: Any, provider: str = "openrouter") -> Any:
    given = WriterInput("m", provider, list(items), {}, seals=SEALS)
    return FAMILY.write(given).body["messages"]


def turn(side_data: Any, items: Any) -> Any:
    return {"type": PROVIDER_TURN, "side_data": side_data, "items": items}


def test_files_that_were_read_are_kept_once_each_and_citations_are_shown() -> None:
    side_data, items = kept(
        chunk(content="One", annotations=[FILE, CITED]),
        chunk(content=".", annotations=[FILE, OTHER]),
    )
    assert side_data == {"annotations": [FILE, OTHER]}
    assert [note["url"] for note in items[0]["content"][0]["annotations"]] == ["https://x.test/"]


def test_an_answer_without_files_has_no_side_data() -> None:
    assert kept(chunk(content="a", annotations=[CITED]))[0] is None
    assert side_data_of({}) is None


def test_other_providers_do_not_want_them() -> None:
    side_data, items = kept(chunk(content="a", annotations=[FILE]), provider="groq")
    assert side_data is None
    sent = messages(turn({"annotations": [FILE]}, items), USER, provider="groq")
    assert sent == [{"role": "assistant", "content": "a"}, USER]


def test_files_of_an_answer_without_items_have_no_message_to_stand_in() -> None:
    assert messages(USER, turn({"annotations": [FILE]}, []), USER) == [USER, USER]


def test_searches_that_a_provider_ran_are_not_sent_back() -> None:
    ran = {"index": 0, "type": "search", "arguments": '{"query": "q"}', "output": "found"}
    side_data, items = kept(chunk(executed_tools=[ran]), chunk(content="a"), provider="groq")
    assert side_data is None
    assert [item["type"] for item in items] == ["web_search_call", "message"]
    sent = messages(*items, USER, provider="groq")
    assert sent == [{"role": "assistant", "content": "a"}, USER]


def test_they_go_back_in_the_message_that_had_them() -> None:
    side_data, items = kept(
        chunk(reasoning="Hm."),
        chunk(content="a", annotations=[FILE]),
        chunk(tool_calls=[call(0, "call_1", "f", "{}")]),
    )
    result = {
        "type": "function_call_output",
        "call_id": items[-1]["call_id"],
        "output": "42",
    }
    plain = messages(USER, *items, result, USER)
    assert plain[1]["reasoning"] == "Hm."
    assert messages(USER, turn(side_data, items), result, USER) == [
        plain[0],
        {**plain[1], "annotations": [FILE]},
        *plain[2:],
    ]


@pytest.mark.parametrize(
    "side_data",
    [
        {},
        {"annotations": None},
        {"annotations": []},
        {"annotations": FILE},
        {"annotations": [FILE, CITED]},
        {"annotations": [FILE, "text"]},
        {"annotations": [{**FILE, "of_a_later_release": 1}]},
        {"annotations": [{"type": "file", "file": "text"}]},
        {"annotations": [{"type": "file", "file": {"name": "a.pdf"}}]},
        {"annotations": [{"type": "file", "file": {"hash": 1}}]},
        {"annotations": [{"type": "file", "file": {"hash": "h", "content": "text"}}]},
        {"annotations": [{"type": "file", "file": {"hash": "h", "invented": 1}}]},
        {"parts": [{"text": "a"}]},
    ],
)
def test_side_data_of_another_form_is_nothing(side_data: Any) -> None:
    _, items = kept(chunk(content="a"))
    sent = messages(turn(side_data, items), USER)
    assert sent == [{"role": "assistant", "content": "a"}, USER]


def test_annotations_that_are_no_list_are_none() -> None:
    assert read_files("text") == {}
