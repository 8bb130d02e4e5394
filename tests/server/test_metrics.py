"""The numbers that Prometheus reads."""

import re
from pathlib import Path

from support.scripted_upstream import Scripted, answer

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


async def test_blocks_tell_what_is_kept_and_what_is_let_go(serve):
    bridge = await serve(Scripted())

    async def blocks():
        async with bridge.session.get(bridge.url + "/metrics") as got:
            return float(re.search(r"^ws_bridge_blocks (\S+)$", await got.text(), re.MULTILINE)[1])

    before = await blocks()
    kept = [object() for _ in range(100_000)]
    assert await blocks() > before + 90_000
    kept.clear()
    assert await blocks() < before + 10_000


PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


async def test_the_page_for_operators_has_every_metric_with_its_type_and_labels(serve):
    bridge = await serve(Scripted(answer("x")))
    client = await bridge.connect()
    await client.turn(input="1")
    bridge.bridge._metrics.breached("followers")
    async with bridge.session.get(bridge.url + "/metrics") as got:
        text = await got.text()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    shown = {name: (kind, set()) for name, kind in types.items() if not name.endswith("_created")}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        if name in shown:  # a histogram's buckets are none of its labels
            shown[name][1].update(re.findall(r"(\w+)=", labels))
    row = re.compile(r"^\| `(ws_bridge_\w+)` \| (\w+) \| (.*?) ?\| ", re.MULTILINE)
    told = row.findall(PAGE.read_text(encoding="utf-8"))
    assert {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in told} == shown
