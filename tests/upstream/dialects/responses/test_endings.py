"""The ends that a provider left out, made from what it has sent."""

import pytest

from ws_bridge.protocol.events import Draft
from ws_bridge.upstream.dialects.responses.endings import (
    built,
    filled,
    own_text_end,
    part_end,
    placed,
)
from ws_bridge.upstream.dialects.responses.items import OpenItem
from ws_bridge.upstream.dialects.responses.kinds import TEXTS

TEXT, ARGUMENTS = TEXTS["response.output_text"], TEXTS["response.function_call_arguments"]
AT = {"item_id": "i", "output_index": 0, "content_index": 0}
BLANK = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def message(*deltas):
    item = OpenItem(
        {"id": "i", "type": "message", "role": "assistant", "status": "in_progress"},
        0,
        is_made_up=False,
    )
    part = item.add_part("content_index", BLANK, TEXT, 0)
    assert part.text is not None
    for delta in deltas:
        part.text.take(delta)
    return item, part


def call(arguments):
    fields = {"id": "i", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    item = OpenItem(fields | {"status": "in_progress"}, 0, is_made_up=False)
    item.own_text(ARGUMENTS).take(arguments)
    return item


@pytest.mark.parametrize("fields", [{}, {"type": "message"}, {"type": "function_call"}])
def test_the_text_of_an_item_ends_as_its_events_say_whatever_its_type(fields):
    item = OpenItem({"id": "i", "name": "f", **fields}, 0, is_made_up=False)
    item.own_text(ARGUMENTS).take("{")
    assert item.text is not None
    [end] = own_text_end(item, item.text, None)
    assert end.type == "response.function_call_arguments.done"
    assert end.fields == {"item_id": "i", "output_index": 0, "arguments": "{", "name": "f"}


def test_a_part_ends_with_its_text():
    item, part = message("a", "b")
    assert list(part_end(item, "content_index", part, {})) == [
        Draft("response.output_text.done", AT | {"text": "ab", "logprobs": []}),
        Draft("response.content_part.done", AT | {"part": BLANK | {"text": "ab"}}),
    ]
    assert part.is_done


def test_the_providers_form_of_a_part_stands():
    item, part = message("a")
    final = BLANK | {"text": "a", "logprobs": [{"token": "a"}], "more": 1}
    drafts = list(part_end(item, "content_index", part, final))
    assert drafts[-1].fields["part"] is final
    assert drafts[0].fields["logprobs"] == [{"token": "a"}]


@pytest.mark.parametrize("content", [None, [], [{"type": "output_text", "text": ""}]])
def test_a_finished_message_has_its_text(content):
    item, part = message("a")
    list(part_end(item, "content_index", part, {}))
    given = {"id": "i", "type": "message", "role": "assistant", "status": "completed"}
    done = filled(item, given | {"content": content})
    assert [part["text"] for part in done["content"]] == ["a"]


def test_a_finished_form_that_lacks_nothing_is_the_providers():
    item, _ = message("a")
    given = item.item | {"status": "completed", "content": [BLANK | {"text": "other"}]}
    assert filled(item, given) is given


@pytest.mark.parametrize(
    ("arguments", "is_complete", "status"),
    [
        ('{"a":1}', True, "completed"),
        ("", True, "completed"),
        ('{"a"', True, "incomplete"),
        ('{"a":1}', False, "incomplete"),
    ],
)
def test_a_cut_call_is_incomplete(arguments, is_complete, status):
    assert built(call(arguments), is_complete=is_complete)["status"] == status


def test_an_event_that_is_in_its_place_is_the_same():
    draft = Draft("x", AT, b"{}")
    assert placed(draft, {"item_id": "i"}) is draft
    assert placed(draft, {"output_index": False}) == Draft("x", AT | {"output_index": False})
    assert placed(draft, {"item_id": "j"}) == Draft("x", AT | {"item_id": "j"})
