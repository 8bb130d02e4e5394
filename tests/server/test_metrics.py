"""The numbers that Prometheus reads."""

from scripted import Scripted, answer

from ws_bridge.errors import UpstreamError


async def test_metrics_count_outcomes_events_and_connections(serve):
    bridge = await serve(Scripted(answer("x"), [UpstreamError(status=401)]))
    client = await bridge.connect()
    await client.turn(input="1")
    await client.turn(input="2")
    async with bridge.session.get(bridge.url + "/metrics") as got:
        assert got.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = (await got.text()).splitlines()
    assert 'ws_bridge_responses_total{outcome="completed",provider="openai"} 1.0' in lines
    assert 'ws_bridge_responses_total{outcome="refused",provider="openai"} 1.0' in lines
    assert 'ws_bridge_responses_started_total{transport="websocket"} 2.0' in lines
    assert "ws_bridge_events_total 9.0" in lines
    assert "ws_bridge_connections 1.0" in lines
    assert "ws_bridge_store_lag_events 0.0" in lines
    assert "ws_bridge_first_event_seconds_count 1.0" in lines
    (tasks,) = [line for line in lines if line.startswith("ws_bridge_tasks ")]
    assert float(tasks.split()[1]) >= 2  # of this request and of the socket
