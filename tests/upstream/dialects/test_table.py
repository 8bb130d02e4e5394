"""What a table does not name is refused, with its place; a harmless thing says why."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects import table as tables
from ws_bridge.upstream.dialects.table import (
    CLIENT_CHOICES,
    CLIENT_ITEMS,
    CLIENT_TOOLS,
    COMMON_OPTIONS,
    HOSTED_ITEMS,
    INCLUDES,
    REFUSE,
    TEXT_PARTS,
    TRANSLATE,
    Harmless,
    Refuse,
    RequestTable,
    family_table,
    known,
)

TABLE = RequestTable(
    tools=CLIENT_TOOLS,
    choices=CLIENT_CHOICES,
    items=CLIENT_ITEMS | HOSTED_ITEMS,
    parts=TEXT_PARTS,
    options=COMMON_OPTIONS | {"temperature": TRANSLATE, "top_logprobs": REFUSE},
    includes=INCLUDES,
)


@pytest.mark.parametrize("column", ["tools", "choices", "items", "parts", "options", "includes"])
def test_an_unknown_name_is_refused_with_its_place(column):
    with pytest.raises(UpstreamError) as caught:
        TABLE.takes(column, "invented", "tools[3]")
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        400,
        "unsupported_parameter",
        "tools[3]",
    )
    assert "'invented' is not supported" in caught.value.message


def test_options_that_are_harmless_are_left_out():
    given = {"temperature": 0.5, "metadata": {"a": "b"}, "user": "u"}
    assert TABLE.options_to_translate(given) == {"temperature": 0.5}


def test_an_option_that_changes_the_answer_is_refused():
    with pytest.raises(UpstreamError) as caught:
        TABLE.options_to_translate({"top_logprobs": 2})
    assert caught.value.param == "top_logprobs"


def test_the_operator_may_have_options_dropped_instead():
    given = {"top_logprobs": 2, "invented": 1, "temperature": 1}
    assert TABLE.options_to_translate(given, drop=True) == {"temperature": 1}


def test_every_harmless_cell_of_the_common_tables_says_why():
    for cells in (COMMON_OPTIONS, HOSTED_ITEMS, INCLUDES):
        assert all(cell.why.endswith(".") for cell in cells.values() if isinstance(cell, Harmless))


def test_a_long_name_is_cut_in_the_message():
    assert len(tables.refused("tool", "x" * 9999, "tools[0]").message) < 200


def test_the_rows_of_the_docs_are_the_names_of_all_tables():
    assert known([TABLE], "tools") == list(CLIENT_TOOLS)


def test_a_familys_own_cells_stand_behind_the_common_ones_and_replace_them():
    own = Refuse("Not here.")
    table = family_table(parts={}, options={"user": own, "new": own}, items={"message": own})
    assert table.options == COMMON_OPTIONS | {"user": own, "new": own}
    assert list(table.options)[: len(COMMON_OPTIONS)] == list(COMMON_OPTIONS)
    assert table.items == CLIENT_ITEMS | HOSTED_ITEMS | {"message": own}
    assert (table.tools, table.choices) == (CLIENT_TOOLS, CLIENT_CHOICES)
    assert (table.parts, table.includes, table.default) == (TEXT_PARTS, INCLUDES, REFUSE)
