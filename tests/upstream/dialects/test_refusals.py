"""What no family knows is refused by each of them before a byte goes out, with its place."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.dialects.table import Refuse

HELLO = {"type": "message", "role": "user", "content": "hi"}
PART = {"type": "invented", "text": "x"}
INVENTED = {
    "item": ([HELLO, {"type": "invented", "id": "x_1"}], {}, "input"),
    "tool": ([HELLO], {"tools": [{"type": "invented", "name": "f"}]}, "tools[0]"),
    "part": ([{**HELLO, "content": [PART]}], {}, "input.content[0]"),
    "part of an answer": (
        [{**HELLO, "role": "assistant", "content": [PART]}, HELLO],
        {},
        "input.content[0]",
    ),
    "option": ([HELLO], {"invented": 1}, "invented"),
}
REFUSING = [name for name, family in FAMILIES.items() if isinstance(family.table.default, Refuse)]


def written(family, items, options):
    tools = ToolTable.of(options.get("tools") or (), items)
    return FAMILIES[family].write(WriterInput("m-1", "p", items, options, tools))


@pytest.mark.parametrize("family", REFUSING)
@pytest.mark.parametrize(("items", "options", "place"), INVENTED.values(), ids=INVENTED)
def test_an_invented_type_is_refused_with_its_place(family, items, options, place):
    with pytest.raises(BridgeError) as refused:
        written(family, items, options)
    found = refused.value
    assert (found.status, found.code, found.param) == (400, "unsupported_parameter", place)


def test_the_family_of_responses_alone_lets_its_provider_judge():
    assert set(FAMILIES) - set(REFUSING) == {"responses"}
    for items, options, _ in INVENTED.values():
        assert written("responses", items, options).body["input"]
