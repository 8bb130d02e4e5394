"""openai comes back by itself to a server that was restarted: the code it closed with lets it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from openai import OpenAI
from openai.types.websocket_reconnection import ReconnectingEvent, ReconnectingOverrides
from reading import ENDS
from servers import KEY, running

DEMO = '[[models]]\nname = "demo"\nmodel = "demo/demo"\n'


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, str]:
    """A configuration file, and the address that it names; kept for this test alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = tmp_path / "config.toml"
    path.write_text(f"[server]\nport = {port}\n{DEMO}")
    return str(path), f"http://127.0.0.1:{port}/v1"


@pytest.mark.catalogue("C28")
def test_a_restarted_server_is_come_back_to(place: tuple[str, str]):
    """A socket that is idle at the end of its server: 1012, another one, and the next turn."""
    path, url = place
    codes: list[int] = []

    def again(event: ReconnectingEvent) -> ReconnectingOverrides | None:
        if not codes:  # it is sent when there is a socket again
            connection.response.create(model="demo", input="what is my name?")
        codes.append(event.close_code)

    ends = []
    command = ("-m", "ws_bridge", "serve", "--config", path)
    with OpenAI(api_key=KEY, base_url=url, max_retries=0) as client:
        with running(*command) as server:
            server.address()
            server.pass_on()
            connection = client.responses.connect(on_reconnecting=again).enter()
            connection.response.create(model="demo", input="My name is Ada.")
            events = iter(connection)
            ends.append(next(event for event in events if event.type in ENDS))
        with running(*command) as server:
            server.address()
            server.pass_on()
            ends.append(next(event for event in events if event.type in ENDS))
            connection.close()
    assert [end.type for end in ends] == ["response.completed"] * 2
    assert codes[0] == 1012
