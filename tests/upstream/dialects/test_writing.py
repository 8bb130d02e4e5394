"""A writer gets values, what it refuses is a 400, and what it fails at is our fault."""

import logging

import pytest
from upstreams.asking import HELLO

from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.dialects.base import ProviderRequest
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.writing import ModelFacts, place_of, write_request
from ws_bridge.upstream.errors import NotSent

FACTS = ModelFacts("model-1", "small", supports_reasoning=True, max_output_tokens=64, streams=False)
CONTENT = "what the client wrote"


def written(write, **options):
    target = Target("x", "small/model-1", drop_params=True, prompt_cache=False)
    return write_request(write, Request(target, Chain(None, (HELLO,)), options), FACTS)


def raising(failure):
    def write(_):
        raise failure

    return write


def test_a_writer_gets_the_request_the_model_and_the_operator_s_wishes():
    seen = []

    def write(given):
        seen.append(given)
        return ProviderRequest({"ok": True})

    tool = {"type": "function", "name": "f"}
    assert written(write, tools=[tool], temperature=0).body == {"ok": True}
    (given,) = seen
    assert (given.model, given.provider, given.items) == ("model-1", "small", [HELLO])
    assert given.options == {"tools": [tool], "temperature": 0}
    assert list(given.tools.tools) == ["f"]
    assert (given.supports_reasoning, given.max_output_tokens, given.streams) == (True, 64, False)
    assert (given.drop_params, given.prompt_cache) == (True, False)


@pytest.mark.parametrize(
    "refusal",
    [
        InvalidRequest("It is no tool.", code="unsupported_parameter", param="tools[0]"),
        refused("tool", "x", "tools[0]"),
    ],
)
def test_what_a_writer_refuses_is_a_400_of_the_request(refusal, caplog):
    with pytest.raises(UpstreamError) as raised:
        written(raising(refusal))
    found = raised.value
    assert found.message == refusal.message
    assert (found.status, found.code, found.param) == (400, "unsupported_parameter", "tools[0]")
    assert caplog.records == []


def test_tools_of_one_name_are_refused_before_the_writer_is_asked():
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "f"}]
    with pytest.raises(UpstreamError) as raised:
        written(raising(AssertionError), tools=tools)
    assert (raised.value.status, raised.value.param) == (400, "tools[1]")


def test_a_bug_of_a_writer_is_a_500_and_one_line_without_content(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(NotSent) as raised:
        written(raising(KeyError(CONTENT)))
    assert raised.value.status == 500
    assert CONTENT not in raised.value.message
    (line,) = caplog.records
    assert line.getMessage().startswith("request_not_written model=small/model-1 kind=KeyError")
    assert "place=test_writing.py:" in line.getMessage()
    assert CONTENT not in line.getMessage()
    assert line.exc_info is None


def test_a_place_is_where_it_was_raised():
    with pytest.raises(ZeroDivisionError) as raised:
        written_number(0)
    assert place_of(raised.value).startswith("test_writing.py:")


def written_number(number):
    return 1 / number
