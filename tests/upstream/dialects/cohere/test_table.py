"""Cohere's table decides about every option that reaches a provider."""

from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.cohere.table import TABLE


def test_every_option_has_a_cell():
    assert set(PASSED_ON) <= set(TABLE.options)
