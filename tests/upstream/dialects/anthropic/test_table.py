"""The table of the dialect against the official types: what is new there is refused."""

import typing

import pytest
from openai.types.responses import ResponseInputItem, Tool

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.upstream.dialects.anthropic.table import TABLE
from ws_bridge.upstream.dialects.table import Refuse

REFUSED_TOOLS = {
    *("computer", "computer_use_preview", "file_search", "image_generation", "namespace"),
    "programmatic_tool_calling",
}


def types_of(union):
    members = typing.get_args(typing.get_args(union)[0])
    return {
        name
        for member in members
        for name in typing.get_args(member.model_fields["type"].annotation)
        if isinstance(name, str)
    }


def test_every_official_tool_is_decided_about():
    """Namespaces are opened before the table is asked."""
    assert types_of(Tool) - TABLE.tools.keys() == REFUSED_TOOLS


def test_items_that_the_dialect_has_no_words_for_are_refused():
    refused = {name for name in types_of(ResponseInputItem) if name not in TABLE.items}
    assert {"computer_call_output", "program", "compaction"} <= refused
    assert not {"message", "function_call_output", "mcp_call"} & refused


def test_every_option_is_decided_about():
    assert {name for name in PASSED_ON if name not in TABLE.options} == set()
    refused = {name for name, cell in TABLE.options.items() if isinstance(cell, Refuse)}
    assert refused == {"prompt", "top_logprobs"}


@pytest.mark.parametrize(
    ("column", "name"),
    [
        *(("parts", name) for name in ("input_image.id", "input_file.id", "input_audio")),
        *(("tools", "of_later_days"), ("items", "of_later_days"), ("options", "of_later_days")),
        *(("choices", "mcp"), ("includes", "message.output_text.logprobs")),
    ],
)
def test_what_is_not_named_is_refused(column, name):
    with pytest.raises(UpstreamError) as refusal:
        TABLE.takes(column, name, "the place")
    assert (refusal.value.status, refusal.value.param) == (400, "the place")
