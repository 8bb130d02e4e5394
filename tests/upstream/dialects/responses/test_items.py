"""Which item, part and text an event means, whatever the provider calls them."""

from itertools import count

import pytest

from ws_bridge.upstream.dialects.responses.items import GrowingText, OpenItems
from ws_bridge.upstream.dialects.responses.kinds import TEXTS

TEXT = TEXTS["response.output_text"]
MESSAGE = frozenset({"message"})
CALL = frozenset({"function_call"})


@pytest.fixture
def items():
    numbers = count()
    return OpenItems(mint=lambda prefix: f"{prefix}_minted{next(numbers)}")


def message(name="msg_0"):
    return {"type": "message", "id": name}


def call(name, item_id=None):
    return {"type": "function_call", "id": item_id, "call_id": name, "name": "f"}


def test_an_id_stands_above_an_index(items):
    first, second = items.add(message("a"), 0), items.add(message("b"), 1)
    assert items.find("a", 1, MESSAGE) is first
    assert items.find("unknown", 1, MESSAGE) is second
    assert items.find(None, None, MESSAGE) is second


def test_an_item_without_an_id_gets_one_and_is_found_by_its_call(items):
    added = items.add(call("call_1"), None)
    assert added.id == "fc_minted0"
    assert items.find("call_1", None, CALL) is added


def test_an_id_that_was_given_already_is_not_given_again(items):
    first, second = items.add(message("a"), 0), items.add(message("a"), 1)
    assert (first.id, second.id) == ("a", "msg_minted0")
    assert items.find("a", None, MESSAGE) is second


def test_an_item_that_was_made_up_takes_the_names_that_it_gets(items):
    made = items.make_up("message", None, None)
    assert items.has_begun(message("a"), 3)
    assert items.find("a", None, MESSAGE) is items.find(None, 3, MESSAGE) is made
    assert not items.has_begun(message("b"), 4)


def test_an_item_that_is_added_twice_has_begun(items):
    items.add(message("a"), 0)
    assert items.has_begun(message("a"), 0)
    assert not items.has_begun(message("b"), 0)
    assert not items.has_begun(call("c", "a"), 0)


def test_what_is_new_by_id_and_index_is_another_item(items):
    items.add(message("a"), 0)
    assert items.find("b", 1, MESSAGE) is None


def test_a_call_is_never_found_for_a_text(items):
    items.add(call("call_1", "fc_1"), 0)
    assert items.find(None, 0, MESSAGE) is None


def test_a_delta_after_its_item_is_another_items_and_an_end_is_late(items):
    late = items.add(message("a"), 0)
    late.done = {}
    assert items.find("x", 0, MESSAGE, is_delta=True) is None
    assert items.find("x", 0, MESSAGE) is late


@pytest.mark.parametrize("value", [[], {}, True, 1.0, "0"])
def test_odd_names_are_no_names(items, value):
    added = items.add(message("a"), value)
    assert items.find(value if value != "0" else None, value, MESSAGE) is added


def test_final_forms_are_matched_by_name_then_by_place_then_by_order(items):
    a, b, c = items.add(message("a"), 0), items.add(message("b"), 5), items.add(message("c"), None)
    forms = [message("x"), message("a"), message("y"), message("z")]
    assert [item for _, item in items.match(forms)] == [b, a, c, None]
    assert [item for _, item in items.match([message("x"), message("y")])] == [a, b]


def test_calls_with_other_call_ids_are_not_one(items):
    first, second = items.add(call("one"), None), items.add(call("two"), None)
    assert items.find_finished(call("two"), None) is second
    assert items.find_finished(call("three"), None) is None
    assert items.find_finished(call(None), None) is first


def test_a_part_is_found_by_its_place_or_it_is_the_open_one(items):
    item = items.add(message(), 0)
    first = item.add_part("content_index", {"type": "output_text"}, TEXT, 0)
    second = item.add_part("content_index", {"type": "output_text"}, TEXT, 4)
    assert second.number == 1
    assert item.find_part("content_index", 0, "output_text") is first
    assert item.find_part("content_index", 9, "output_text") is second
    assert item.find_part("content_index", 0, "refusal") is None
    first.is_done = second.is_done = True
    assert item.find_part("content_index", 0) is None


@pytest.mark.parametrize(
    ("deltas", "final", "rest", "text"),
    [
        (["a", "b"], "ab", "", "ab"),
        (["a"], "abc", "bc", "abc"),
        (["a"], "other", "", "other"),
        (["a"], "", "", "a"),
        (["a"], None, "", "a"),
        ([], 7, "", ""),
        (["a\ud83d"], "a\ud83d", "\ufffd", "a\ufffd"),
        (["a\ud83d", "\ude42"], "a🙂", "", "a🙂"),
    ],
)
def test_a_text_ends_with_what_its_deltas_lack(deltas, final, rest, text):
    growing = GrowingText(TEXT)
    for delta in deltas:
        growing.take(delta)
    assert (growing.finish(final), growing.text, growing.is_done) == (rest, text, True)


def test_a_text_that_its_item_began_with_needs_no_delta():
    growing = GrowingText(TEXT, "all")
    assert (growing.finish("all"), growing.text) == ("", "all")


def test_a_final_form_may_be_sealed_and_named_again(items):
    item = items.add({"type": "reasoning", "id": "rs"}, 0)
    item.done = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "a"}
    assert item.is_final_form(item.done | {"id": "rs_2", "encrypted_content": "b"})
    assert not item.is_final_form(item.done | {"summary": [{"type": "summary_text", "text": "x"}]})
    assert not item.is_final_form({"type": "reasoning", "id": "rs", "summary": []})
    item.has_own_id = False
    assert not item.is_final_form(item.done | {"id": "rs_2"})
    assert not item.is_final_form("x")
