"""docs/protocol.md says of each family what its table says, and each table answers everything."""

from typing import get_args

import pytest
from families.section import PAGE, replaced, section
from openai.types.responses import ResponseInputItem, Tool

from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.families import TABLES
from ws_bridge.upstream.dialects.table import REFUSE, Harmless, RequestTable, Translate


def test_the_section_is_the_one_that_the_tables_make():
    """`python -m tests.families` writes it."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == replaced(page, section(TABLES))


@pytest.mark.parametrize("family", TABLES)
def test_every_option_has_a_cell(family):
    table = TABLES[family]
    assert table.default is not REFUSE or set(PASSED_ON) - set(table.options) == set()


@pytest.mark.parametrize("family", TABLES)
def test_every_harmless_cell_says_why_in_a_sentence(family):
    table = TABLES[family]
    columns = (table.tools, table.choices, table.items, table.parts, table.options, table.includes)
    whys = [cell.why for column in columns for cell in column.values() if type(cell) is Harmless]
    assert [why for why in whys if not why.endswith(".") or len(why) < 20] == []


@pytest.mark.parametrize("family", TABLES)
def test_the_names_in_a_table_are_of_the_protocol(family):
    table = TABLES[family]
    assert types(table.tools) - names_of(Tool) == set()
    assert types(table.items) - names_of(ResponseInputItem) == set()


def types(forms) -> set[str]:
    """Without who runs it: ``tool_search.client``."""
    return {form.partition(".")[0] for form in forms}


def names_of(union) -> set[str]:
    """The values of ``type`` of all members of one of the official unions."""
    found = set()
    for member in get_args(union):
        field = getattr(member, "model_fields", {}).get("type")
        if field is None:
            found |= names_of(member)
        else:
            values = get_args(field.annotation)
            found.update(name for value in values for name in (get_args(value) or (value,)))
    return found


def test_a_cell_that_is_missing_is_a_400():
    tables = {"one": RequestTable({"function": Translate()}, {}, {}, {}, {})}
    tables["two"] = RequestTable({}, {}, {}, {}, {"user": Harmless("It changes nothing here.")})
    shown = section(tables)
    assert "| `function` | yes | 400 |" in shown
    assert "| `user` | 400 | – <sup>1</sup> |" in shown  # noqa: RUF001
    assert "1. It changes nothing here." in shown
