"""The table of text completions knows every option that the bridge passes on."""

from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.completions.table import TABLE


def test_every_option_has_a_cell():
    assert set(PASSED_ON) <= set(TABLE.options)


def test_no_tool_is_offered():
    assert TABLE.tools == {}
