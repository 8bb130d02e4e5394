"""Calls of Nova's own tools as items."""

import pytest

from ws_bridge.upstream.dialects.bedrock.hosted import hosted_call, hosted_result


@pytest.mark.parametrize(
    ("arguments", "query", "queries"),
    [('{"query":"a"}', "a", ["a"]), ("{}", "", []), ("[1]", "", []), ("{", "", [])],
)
def test_a_search_has_its_query(arguments, query, queries):
    assert hosted_call("nova_grounding", arguments) == {
        "type": "web_search_call",
        "action": {"type": "search", "query": query, "queries": queries},
    }


def test_code_is_shown():
    assert hosted_call("nova_code_interpreter", '{"snippet":"1"}')["code"] == "1"


def test_another_tool_has_no_item():
    assert hosted_call("invented", "{}") is None


@pytest.mark.parametrize(
    ("pieces", "is_error", "fields"),
    [
        ([], False, {}),
        ([{"json": {"stdOut": "a", "stdErr": "b"}}], False, {"outputs": "a\nb"}),
        ([{"text": "a"}, {"text": "b"}], True, {"status": "failed", "outputs": "ab"}),
        ([{"json": [1]}, 7, {}], True, {"status": "failed"}),
    ],
)
def test_a_result_is_its_logs(pieces, is_error, fields):
    expected = dict(fields)
    if "outputs" in expected:
        expected["outputs"] = [{"type": "logs", "logs": fields["outputs"]}]
    assert hosted_result(pieces, is_error=is_error) == expected
