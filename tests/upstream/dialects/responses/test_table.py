"""The table of the Responses providers passes what it does not name."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.responses.table import FIELDS_NEEDED, TABLE


@pytest.mark.parametrize("column", ["tools", "choices", "items", "parts", "options", "includes"])
def test_unknown_types_are_the_providers_to_judge(column):
    assert TABLE.takes(column, "time_machine", "here")


def test_all_options_are_sent():
    options = {"prompt": {"id": "p"}, "service_tier": "flex", "odd": 1}
    assert TABLE.options_to_translate(options, drop=True) == options


def test_an_item_reference_is_refused():
    with pytest.raises(UpstreamError):
        TABLE.takes("items", "item_reference", "input")


def test_hosted_calls_need_their_ids():
    assert all("id" in fields for fields in FIELDS_NEEDED.values())
