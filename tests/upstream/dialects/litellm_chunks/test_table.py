"""The table of what litellm opens decides about all that a client can ask for."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.protocol.tools import KINDS
from ws_bridge.upstream.dialects.litellm_chunks.table import TABLE


def test_every_option_has_a_cell():
    assert set(PASSED_ON) <= set(TABLE.options)


def test_only_tools_that_the_client_runs_are_offered():
    assert set(TABLE.tools) - {"tool_search"} == set(KINDS)


@pytest.mark.parametrize(
    ("column", "name", "hint"),
    [
        ("tools", "web_search", ""),
        ("parts", "input_file.url", "'file_data'"),
        ("includes", "message.output_text.logprobs", "'top_logprobs'"),
    ],
)
def test_what_not_every_provider_knows_is_refused_and_says_what_to_send_instead(column, name, hint):
    with pytest.raises(UpstreamError, match=hint) as refused:
        TABLE.takes(column, name, "here")
    assert (refused.value.status, refused.value.param) == (400, "here")


def test_drop_params_leaves_out_what_is_refused():
    options = {"temperature": 1, "stop": "x"}
    assert TABLE.options_to_translate(options, drop=True) == {"temperature": 1}
