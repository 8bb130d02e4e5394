"""Bedrock's table decides about every option that reaches a provider."""

from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.bedrock.request import SYSTEM_TOOLS
from ws_bridge.upstream.dialects.bedrock.table import TABLE
from ws_bridge.upstream.dialects.table import CLIENT_TOOLS


def test_every_option_has_a_cell():
    assert set(PASSED_ON) <= set(TABLE.options)


def test_every_hosted_tool_has_a_system_tool():
    assert set(TABLE.tools) - set(CLIENT_TOOLS) == set(SYSTEM_TOOLS)
