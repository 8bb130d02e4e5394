"""Values with their places become the arguments of one call."""

import pytest

from ws_bridge.upstream.dialects.gemini.partial_calls import LONGEST_LIST, PartialCall


def arguments(*pieces, **call):
    partial = PartialCall()
    partial.take({"name": "f", **call}, "")
    for piece in pieces:
        partial.take({"partialArgs": [piece]}, "")
    return partial.arguments


def at(path, **value):
    return {"jsonPath": path, **value}


def test_values_of_all_kinds_stand_at_their_places():
    assert arguments(
        at("$.a.b[1].c", stringValue="x"),
        at("$.a.b[0]", numberValue=0.5),
        at("$.t", boolValue=False),
        at("$['odd.name']", nullValue="NULL_VALUE"),
        at('$["q\\"uote"]', numberValue=1),
    ) == {"a": {"b": [0.5, {"c": "x"}]}, "t": False, "odd.name": None, 'q"uote': 1}


def test_texts_go_on_even_with_equal_pieces():
    pieces = [at("$.a", stringValue="x", willContinue=True)] * 3 + [at("$.a", stringValue="")]
    assert arguments(*pieces) == {"a": "xxx"}


def test_whole_arguments_may_come_with_the_pieces():
    assert arguments(at("$.b", numberValue=2), args={"a": 1}) == {"a": 1, "b": 2}


@pytest.mark.parametrize("path", [None, 1, "", "$", "a", "$.", "$..a", "$.a[", "$[*]", "$.a b[x]"])
def test_a_path_that_is_none_is_left_out(path):
    assert arguments(at(path, numberValue=1)) == {}


def test_a_list_does_not_grow_beyond_all_bounds():
    assert arguments(at(f"$.a[{LONGEST_LIST}]", numberValue=1)) == {}
    assert arguments(at("$.a[99999999999999999999]", numberValue=1)) == {}


def test_pieces_that_contradict_each_other_keep_the_first():
    assert arguments(at("$.a", numberValue=1), at("$.a.b", numberValue=2)) == {"a": 1}
    assert arguments(at("$.a[0]", numberValue=1), at("$.a.b", numberValue=2)) == {"a": [1]}
    assert arguments(at("$[0]", numberValue=1)) == {}


def test_what_has_no_value_is_left_out():
    assert arguments(at("$.a"), "x", None) == {}


def test_a_list_of_pieces_in_another_form_says_nothing():
    partial = PartialCall()
    partial.take({"name": 1, "partialArgs": {"a": 1}, "args": [1]}, "c2ln")
    assert (partial.name, partial.arguments, partial.signature) == ("", {}, "c2ln")
