"""openai comes back by itself to a server that was restarted: the code it closed with lets it."""

from __future__ import annotations

import pytest
from clients.reading import ENDS
from clients.servers import KEY, run, serving
from openai import OpenAI
from openai.types.websocket_reconnection import ReconnectingEvent, ReconnectingOverrides

DEMO = {"models": [{"name": "demo", "model": "demo/demo"}]}


@pytest.mark.catalogue("C28")
def test_a_restarted_server_is_come_back_to():
    """A socket that is idle at the end of its server: 1012, another one, and the next turn."""
    codes: list[int] = []

    def again(event: ReconnectingEvent) -> ReconnectingOverrides | None:
        if not codes:  # it is sent when there is a socket again
            connection.response.create(model="demo", input="what is my name?")
        codes.append(event.close_code)

    ends = []
    with (
        serving(DEMO) as server,
        OpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0) as client,
    ):
        connection = client.responses.connect(on_reconnecting=again).enter()
        connection.response.create(model="demo", input="My name is Ada.")
        events = iter(connection)
        ends.append(next(event for event in events if event.type in ENDS))
        run(server.terminate())
        run(server.start())
        ends.append(next(event for event in events if event.type in ENDS))
        connection.close()
    assert [end.type for end in ends] == ["response.completed"] * 2
    assert codes[0] == 1012
