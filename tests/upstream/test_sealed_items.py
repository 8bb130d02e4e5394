"""Sealed items that clients send back: each goes to its maker only."""

from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.sealing import UNSIGNED
from ws_bridge.upstream.sealed_items import REMEMBERED, SealedItems

HELLO = {"type": "message", "role": "user", "content": "hi"}


def reasoning(sealed):
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}


def seen(**items):
    seals = SealedItems()
    for maker, sealed in items.items():
        seals.record(Draft("response.output_item.done", {"item": reasoning(sealed)}), maker)
    return seals


def readable(seals, chain, maker, *, keep_unknown=True):
    return list(seals.readable(chain, maker, keep_unknown=keep_unknown).input)


def test_what_went_out_comes_back_to_its_maker_only():
    seals = seen(a="AAA", b="BBB")
    chain = Chain(None, (HELLO, reasoning("AAA"), reasoning("BBB"), HELLO))
    assert readable(seals, chain, "a") == [HELLO, reasoning("AAA"), HELLO]
    assert readable(seals, chain, "b") == [HELLO, reasoning("BBB"), HELLO]
    assert readable(seals, chain, "c") == [HELLO, HELLO]


def test_what_was_never_seen_is_the_asked_names_own():
    chain = Chain(None, (reasoning("XXX"), HELLO))
    assert readable(SealedItems(), chain, "a") == [reasoning("XXX"), HELLO]
    assert readable(SealedItems(), chain, "a", keep_unknown=False) == [HELLO]


def test_earlier_turns_are_read_the_same_way_and_keep_their_ids():
    seals = seen(a="AAA")
    first = Turn("resp_1", (HELLO, reasoning("AAA")), (reasoning("own"),), "b")
    second = Turn("resp_2", (HELLO,), (), "b", first)
    fitted = seals.readable(Chain(second, (HELLO,)), "b", keep_unknown=True).parent
    assert (fitted.id, fitted.parent.id) == ("resp_2", "resp_1")
    assert fitted.parent.input == (HELLO,)
    assert fitted.parent.output == (reasoning("own"),)
    chain = Chain(second, (HELLO,))
    assert seals.readable(chain, "a", keep_unknown=True) is chain


def test_this_bridges_summaries_open_reasoning_and_all_else_are_everybodys():
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    odd = {"type": "reasoning", "summary": [], "encrypted_content": None}
    chain = Chain(None, (UNSIGNED.seal("They talked."), bare, odd, HELLO))
    assert seen(a="AAA").readable(chain, "z", keep_unknown=False) is chain


def test_what_is_left_out_leaves_the_summary_as_it_is():
    sealed = UNSIGNED.seal("They talked.")
    chain = UNSIGNED.open(Chain(None, (reasoning("AAA"), sealed, HELLO)))
    fitted = seen(a="AAA").readable(chain, "b", keep_unknown=True)
    assert fitted.input == (sealed, HELLO)
    assert fitted.items_for("b") == UNSIGNED.open(fitted).items_for("b") != [HELLO]


def test_the_latest_seal_says_who_made_the_conversation():
    seals = seen(a="AAA", b="BBB")
    items = (reasoning("BBB"), reasoning("AAA"), reasoning("XXX"), HELLO)
    assert seals.latest_maker(Chain(None, items)) == "a"
    assert seals.latest_maker(Chain(None, (HELLO, reasoning("XXX")))) == ""


def test_no_more_is_remembered_than_the_bound():
    seals = seen(a="first")
    for number in range(REMEMBERED):
        item = reasoning(str(number))
        seals.record(Draft("response.output_item.done", {"item": item}), "b")
    assert seals.latest_maker(Chain(None, (reasoning("first"),))) == ""
    assert seals.latest_maker(Chain(None, (reasoning("0"),))) == "b"
