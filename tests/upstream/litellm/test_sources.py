"""Sources: answers that are no stream become one; `test_upstream.py` has the streams."""

from support.event_checker import check_events
from upstreams.asking import Answered
from upstreams.responses import final_response

from ws_bridge.protocol.tools import NO_TOOLS
from ws_bridge.upstream.litellm.sources import source_of


async def test_a_finished_response_is_replayed_once():
    response = final_response("gpt-rtools", {})
    source = source_of(response, None, NO_TOOLS)
    answer = Answered(list(await source.read()))
    assert check_events(answer.events()) == []
    assert answer.response["output"] == response["output"]
    assert await source.read() is None
