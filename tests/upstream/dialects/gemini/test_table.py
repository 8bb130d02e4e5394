"""Gemini's table has a cell for all that a client can ask for."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.gemini.table import TABLE
from ws_bridge.upstream.dialects.gemini.tools import DEFAULTS, HOSTED
from ws_bridge.upstream.dialects.table import CLIENT_TOOLS, Translate


def test_every_documented_option_has_a_cell():
    assert set(PASSED_ON) == set(TABLE.options)


def test_every_hosted_tool_that_is_translated_has_its_name_at_google():
    translated = {name for name, cell in TABLE.tools.items() if isinstance(cell, Translate)}
    assert translated == set(HOSTED) | (set(CLIENT_TOOLS) - {"tool_search"})
    assert set(HOSTED.values()) == set(DEFAULTS)


@pytest.mark.parametrize("column", ["tools", "choices", "items", "parts", "options", "includes"])
def test_what_is_not_in_the_table_is_refused(column):
    with pytest.raises(UpstreamError) as failed:
        TABLE.takes(column, "hologram", "here")
    assert (failed.value.status, failed.value.param) == (400, "here")
