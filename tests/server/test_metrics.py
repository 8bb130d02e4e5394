"""The numbers that Prometheus reads."""

import asyncio
import re
from collections import defaultdict
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.errors import UpstreamError
from ws_bridge.jobs.observe import JobFinished, JobStarted
from ws_bridge.protocol.events import COMPLETED, Draft
from ws_bridge.server import metrics as metrics_module
from ws_bridge.server.metrics import Metrics, tokens_of
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.prices import PriceRow

USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
}
KEYS = {"auth": {"keys_env": ["TEAM_A", "TEAM_B"]}}
ENVIRON = {"TEAM_A": "key-a", "TEAM_B": "key-b,key-c"}


def head(key):
    return {"headers": {"Authorization": f"Bearer {key}"}}


def samples(bridge, name):
    """The values of one series of the whole server, by the values of its labels."""
    bridge.bridge.metrics.refresh()
    return {
        tuple(one.labels.values()): one.value
        for metric in bridge.bridge.metrics.registry.collect()
        for one in metric.samples
        if one.name == name
    }


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - looks at what other tasks do
            await asyncio.sleep(0)


async def client_page(bridge, key=None):
    async with bridge.session.get(bridge.url + "/metrics", **(head(key) if key else {})) as got:
        assert got.status == 200
        assert got.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return (await got.text()).splitlines()


async def test_metrics_count_outcomes_events_and_connections(serve):
    bridge = await serve(Scripted(answer("x"), [UpstreamError(status=401)]))
    client = await bridge.connect()
    await client.turn(input="1")
    await client.turn(input="2")
    lines = await client_page(bridge)
    by = 'provider="openai",transport="websocket"'
    assert f'ws_bridge_responses_total{{model="m",outcome="completed",{by}}} 1.0' in lines
    assert f'ws_bridge_responses_total{{model="m",outcome="refused",{by}}} 1.0' in lines
    assert 'ws_bridge_responses_started_total{transport="websocket"} 2.0' in lines
    assert "ws_bridge_events_total 9.0" in lines
    assert "ws_bridge_connections 1.0" in lines
    assert "ws_bridge_sockets_total 1.0" in lines
    assert "ws_bridge_store_lag_events 0.0" in lines
    assert 'ws_bridge_first_event_seconds_count{model="m",outcome="completed"} 1.0' in lines
    (tasks,) = [line for line in lines if line.startswith("ws_bridge_tasks ")]
    assert float(tasks.split()[1]) >= 2  # of this request and of the socket


async def test_tokens_and_cost_are_counted_by_model_provider_key_transport_and_outcome(serve):
    """Of a wildcard's models and of a name's keys there is one series."""

    class Priced(Scripted):
        async def open(self, request):
            opened = await super().open(request)
            row = {"input_cost_per_token": 0.5, "output_cost_per_token": 2.0}
            opened.prices = PriceRow.of(row)
            return opened

    end = Draft(COMPLETED, {"response": {"output": [done_item("x")], "usage": USAGE}})
    turn = [*opening(), *message("x"), end]
    bridge = await serve(Priced(turn, turn, turn), KEYS, ENVIRON)
    for key, model in (("key-b", "claude-1"), ("key-c", "claude-2"), ("key-a", "m")):
        client = await bridge.connect(**head(key))
        assert (await client.turn(input="1", model=model))[-1]["type"] == "response.completed"
        await client.ws.close()
    wild = ("claude-*", "anthropic", "TEAM_B", "websocket", "completed")
    plain = ("m", "openai", "TEAM_A", "websocket", "completed")
    assert samples(bridge, "ws_bridge_responses_total") == {wild: 2, plain: 1}
    assert samples(bridge, "ws_bridge_cost_usd_total") == {wild: 39, plain: 19.5}
    kinds = {"input": 11, "output": 7, "cached": 4, "reasoning": 3}
    assert samples(bridge, "ws_bridge_tokens_total") == {
        (*labels, kind): count * times
        for labels, times in ((wild, 2), (plain, 1))
        for kind, count in kinds.items()
    }
    for name in (
        "ws_bridge_first_event_seconds_count",
        "gen_ai_client_operation_duration_seconds_count",
        "gen_ai_client_operation_time_to_first_chunk_seconds_count",
    ):
        assert samples(bridge, name) == {("claude-*", "completed"): 2, ("m", "completed"): 1}


async def test_what_runs_and_what_waits_is_counted(serve):
    gate = asyncio.Event()
    bridge = await serve(Scripted([*opening(), gate, *message("x"), completed(done_item("x"))]))
    client = await bridge.connect()
    await client.create(input="1")
    await client.until("response.in_progress")
    await client.create(input="2")
    await until(lambda: samples(bridge, "ws_bridge_responses_queued") == {(): 1})
    labels = ("m", "openai", "local", "websocket")
    assert samples(bridge, "ws_bridge_running") == {labels: 1}
    gate.set()
    await client.until("response.completed")
    await client.until("response.completed")
    await until(lambda: samples(bridge, "ws_bridge_running") == {labels: 0})
    assert samples(bridge, "ws_bridge_responses_queued") == {(): 0}


async def test_refusals_are_counted_by_reason_on_every_way(serve):
    bridge = await serve(Scripted(), KEYS, ENVIRON)
    async with bridge.session.get(bridge.url + "/v1/models") as got:
        assert got.status == 401
    await bridge.json("POST", "/v1/responses", "key-a", model="unknown", input="x")
    client = await bridge.connect(**head("key-a"))
    await client.turn(input="1", model="unknown")
    await client.ws.send_str("{")
    await client.event()
    await client.ws.send_json({"type": "response.create", "model": "m", "input": 7})
    await client.event()
    assert samples(bridge, "ws_bridge_refused_total") == {
        ("invalid_api_key",): 1,
        ("model_not_found",): 2,
        ("invalid_request_error",): 2,
    }


async def test_a_providers_failure_is_no_refusal_of_ours(serve):
    bridge = await serve(Scripted([UpstreamError(status=401)], [UpstreamError(status=401)]))
    await (await bridge.connect()).turn(input="1")
    assert (await bridge.post("/v1/responses", model="m", input="1"))[0] == 401
    assert samples(bridge, "ws_bridge_refused_total") == {}


async def test_ends_of_sockets_are_counted_by_their_code(serve):
    bridge = await serve(Scripted())
    for code in (1000, 4321, 1001):
        client = await bridge.connect()
        await client.ws.close(code=code)
    client = await bridge.connect()
    client.ws._response.connection.transport.abort()
    expected = {("1000",): 1, ("other",): 1, ("1001",): 1, ("1006",): 1}
    await until(lambda: samples(bridge, "ws_bridge_socket_closes_total") == expected)


async def test_clients_are_not_shown_the_names_of_keys(serve):
    """On their port all keys are one; what a worker counts has its number."""
    bridge = await serve(Scripted(answer("x"), answer("y")), KEYS, ENVIRON, worker=3)
    for key in ("key-a", "key-b"):
        await (await bridge.connect(**head(key))).turn(input="1")
    lines = await client_page(bridge, "key-a")
    by = 'provider="openai",transport="websocket",worker="3"'
    assert f'ws_bridge_responses_total{{model="m",outcome="completed",{by}}} 2.0' in lines
    assert not [line for line in lines if "TEAM_" in line or "key=" in line]
    assert [key for _, _, key, *_ in samples(bridge, "ws_bridge_responses_total")] == [
        "TEAM_A",
        "TEAM_B",
    ]


async def test_blocks_count_what_is_kept_and_what_is_released(serve):
    bridge = await serve(Scripted())

    async def blocks():
        (line,) = [one for one in await client_page(bridge) if one.startswith("ws_bridge_blocks ")]
        return float(line.split()[1])

    before = await blocks()
    kept = [object() for _ in range(100_000)]
    assert await blocks() > before + 90_000
    kept.clear()
    assert await blocks() < before + 10_000


def finished(number, **fields):
    given = {"model": "m", "provider": "openai", "transport": "http", "outcome": "completed"}
    given |= {"error": "", "events": 1, "first_event_seconds": 0.1, "seconds": 1.0, "usage": USAGE}
    return JobFinished(**given | {"id": f"resp_{number}", "entry": "m", **fields})


def test_beyond_so_many_series_all_others_are_one(monkeypatch):
    monkeypatch.setattr(metrics_module, "MOST_SERIES", 10)
    metrics = Metrics()
    for number in range(1000):
        metrics.observe(finished(number, key=f"key-{number % 100}"))
    found = [
        one
        for metric in metrics.registry.collect()
        for one in metric.samples
        if one.name == "ws_bridge_responses_total"
    ]
    assert sum(one.value for one in found) == 1000
    assert len(found) == 11
    assert [one.labels["model"] for one in found].count("other") == 1


def test_beyond_so_many_sets_of_labels_all_other_running_responses_are_one(monkeypatch):
    monkeypatch.setattr(metrics_module, "MOST_SERIES", 10)
    metrics = Metrics()

    def running():
        found = [one for metric in metrics.registry.collect() for one in metric.samples]
        return [one for one in found if one.name == "ws_bridge_running"]

    for number in range(100):
        metrics.observe(JobStarted(f"resp_{number}", "m", "http", "m", "openai", f"key-{number}"))
    assert sorted(one.value for one in running()) == [*[1] * 10, 90]
    for number in range(100):
        metrics.observe(finished(number))
    assert {one.value for one in running()} == {0}


def test_a_response_that_ends_twice_or_began_elsewhere_leaves_no_running_one():
    metrics = Metrics()
    metrics.observe(JobStarted("resp_1", "m", "http", "m", "openai", "-"))
    metrics.observe(finished(1))
    metrics.observe(finished(1))
    metrics.observe(finished(2))
    labels = {"model": "m", "provider": "openai", "key": "-", "transport": "http"}
    assert metrics.registry.get_sample_value("ws_bridge_running", labels) == 0


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": None, "input_tokens_details": None},
        {"input_tokens": "7", "output_tokens": -1, "output_tokens_details": []},
    ],
)
def test_what_is_no_number_of_tokens_counts_nothing(usage):
    assert list(tokens_of(usage)) == []


PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


async def test_the_page_for_operators_has_every_metric_with_its_type_and_labels(serve):
    bridge = await serve(Scripted(answer("x"), [UpstreamError(status=503)]))
    client = await bridge.connect()
    await client.turn(input="1")
    await client.turn(input="2", model="unknown")
    metrics = bridge.bridge.metrics
    metrics.observe(finished(1, cost=0.5))
    metrics.limit_reached("followers")
    metrics.cooled(Target("m", "openai/m"))
    metrics.store_called("append", 0.001)
    metrics.answered("/healthz", "GET", 200)
    metrics.socket_closed(1000)
    metrics.refresh()
    text = generate_latest(metrics.registry).decode()
    labels = defaultdict(set)
    for name, given in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        labels[re.sub(r"_(bucket|count|sum)$", "", name)] |= set(re.findall(r"(\w+)=", given))
    shown = {
        name: (kind, labels[name] - {"le"})
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    }
    section = PAGE.read_text(encoding="utf-8").partition("\n## Metrics\n")[2]
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| ", re.MULTILINE)
    documented = row.findall(section.partition("\n## ")[0])
    assert {
        name: (kind, set(re.findall(r"\w+", given))) for name, kind, given in documented
    } == shown
