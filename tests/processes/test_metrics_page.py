"""The page of metrics: what workers have counted, who may read it, what it leaves behind.

The workers are processes that count as a server's do, and are killed as one is.
"""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ws_bridge.config import Config, Settings
from ws_bridge.config.model import MetricsConfig
from ws_bridge.errors import ConfigError
from ws_bridge.processes import metrics_page
from ws_bridge.processes.metrics_page import (
    PREFIX,
    VARIABLE,
    MetricsPage,
    WorkerNumbers,
    numbers_of_workers,
)

ROOT = Path(__file__).parents[2]
# A worker that has counted so much says so, and waits to be killed.
WORKER = """
import asyncio, sys, threading
from ws_bridge.jobs.observe import JobFinished, JobStarted
from ws_bridge.server.metrics import Metrics
metrics, responses = Metrics(1), int(sys.argv[1])
metrics.gauge("held", "x", lambda: responses)
metrics.gauge("worst", "x", lambda: responses, "livemin")
metrics.gauge("gone", "x", lambda: responses, "sum")
for number in range(responses):
    given = dict(id=str(number), model="m", transport="http", entry="m", provider="p", key="K")
    metrics.observe(JobStarted(**given))
    more = dict(outcome="completed", error="", events=2, first_event_seconds=0.2, seconds=0.4)
    metrics.observe(JobFinished(**given, **more, usage={"input_tokens": 5}))
metrics.observe(JobStarted(**given | {"id": "running"}))
async def refresh():
    metrics.refresh()
asyncio.run(refresh())
print("counted", flush=True)
threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Folders are made here."""
    place = tmp_path / "memory"
    place.mkdir()
    monkeypatch.setattr(metrics_page, "MEMORY", str(place))
    return place


@pytest.fixture
def numbers():
    opened = WorkerNumbers()
    yield opened
    opened.close()


@pytest.fixture
def worker(numbers):
    """A function that starts a worker, which has counted so many responses when it returns."""
    started = []

    def start(responses, number=1):
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", WORKER, str(responses)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, VARIABLE: str(numbers.folder)},
        )
        started.append(process)
        assert process.stdout.readline() == "counted\n"
        numbers.worker_started(number, process.pid)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def values(collector):
    """Series and values of a page, the processes' own left out."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    found = re.findall(r"^([a-z]\S*) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if not name.startswith("process_")}


RESPONSES = (
    'ws_bridge_responses_total{key="K",model="m",outcome="completed",provider="p",transport="http"}'
)
GAUGES = ("ws_bridge_held", "ws_bridge_worst", "ws_bridge_gone")
RUNNING = 'ws_bridge_running{key="K",model="m",provider="p",transport="http"}'


def test_a_worker_that_is_killed_takes_no_count_along_and_all_of_its_gauges(numbers, worker):
    first, second = worker(3, number=1), worker(4, number=2)
    before = values(numbers)
    assert before[RESPONSES] == 7
    assert before["ws_bridge_events_total"] == 14
    assert before[RESPONSES.replace("responses", "tokens").replace("}", ',type="input"}')] == 35
    first_event = 'ws_bridge_first_event_seconds_bucket{le="0.25",model="m",outcome="completed"}'
    assert before[first_event] == 7
    assert before[RUNNING] == 2
    assert [before[name] for name in GAUGES] == [7, 3, 7]
    first.send_signal(signal.SIGKILL)
    first.wait()
    numbers.worker_ended(first.pid)
    after = values(numbers)
    gauges = {name for name in before if "_total" not in name and "seconds" not in name}
    counts = set(before) - gauges
    assert {name: after[name] for name in counts} == {name: before[name] for name in counts}
    assert after[RUNNING] == 1
    assert [after[name] for name in GAUGES] == [4, 4, 7]
    third = worker(5, number=1)
    again = values(numbers)
    assert again[RESPONSES] == 12
    assert again["ws_bridge_worker_restarts_total"] == 1
    assert not list(numbers.folder.glob(f"*_{first.pid}.db"))
    for process in (second, third):
        process.kill()
        process.wait()
        numbers.worker_ended(process.pid)
    assert values(numbers)[RESPONSES] == 12


def write(folder, pid, count):
    """The files of a worker that has counted so much."""
    for name, more in (
        ("counter", ""),
        ("histogram", ""),
        ("gauge", "_livesum"),
        ("gauge", "_sum"),
    ):
        file = MmapedDict(str(folder / f"{name}{more}_{pid}.db"))
        series = f"some_{name}{more}" + ("_sum" if name == "histogram" else "")
        file.write_value(mmap_key(f"some_{name}{more}", series, [], [], "x"), float(count), 0.0)
        file.close()


def test_a_thousand_restarts_leave_as_many_files_as_one(numbers):
    for number in range(1000):
        numbers.worker_started(1, 100_000 + number)
        write(numbers.folder, 100_000 + number, number)
        numbers.worker_ended(100_000 + number)
    assert len(list(numbers.folder.glob("*.db"))) == 3
    assert sum(one.stat().st_size for one in numbers.folder.iterdir()) < 2**20
    found = values(numbers)
    assert (
        found["some_counter"] == found["some_histogram_sum"] == found["some_gauge_sum"] == 499_500
    )
    assert "some_gauge_livesum" not in found
    assert found["ws_bridge_worker_restarts_total"] == 999


def test_a_file_that_is_being_made_is_no_error(numbers):
    (numbers.folder / "counter_7.db").touch()
    assert values(numbers) == {"ws_bridge_worker_restarts_total": 0}
    numbers.worker_ended(7)
    assert [one.name for one in numbers.folder.iterdir()] == ["lock"]


def test_each_process_has_its_own_figures(numbers, worker):
    process = worker(1, number=2)
    found = {
        (one.name, one.labels["worker"]): one.value
        for metric in numbers.collect()
        for one in metric.samples
        if "worker" in one.labels
    }
    names = {name for name, _ in found}
    assert {
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    } <= names
    assert {number for _, number in found} == {"0", "2"}
    process.kill()
    process.wait()
    numbers.worker_ended(process.pid)
    left = {one.labels.get("worker") for metric in numbers.collect() for one in metric.samples}
    assert left == {"0", None}


# The folder


def test_what_a_killed_server_has_left_is_removed_and_nothing_else(memory):
    left, used, young = (memory / f"{PREFIX}{name}" for name in ("left", "used", "young"))
    other = memory / "other"
    for folder in (left, used, young, other):
        folder.mkdir()
        (folder / "lock").touch()
        if folder is not young:
            os.utime(folder, (0, 0))
    with (used / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        numbers = WorkerNumbers()
        assert {one.name for one in memory.iterdir()} == {
            *(used.name, young.name, other.name, numbers.folder.name)
        }
    numbers.close()
    assert not numbers.folder.exists()


def test_where_memory_has_no_room_the_folder_is_made_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_page, "MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    numbers = WorkerNumbers()
    assert numbers.folder.parent == tmp_path
    numbers.close()


def test_without_any_place_one_line_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_page, "MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing too"))
    with pytest.raises(ConfigError, match="32 MiB in a folder that can be written: mount"):
        WorkerNumbers()


# The page


def settings(listen="127.0.0.1:0", key=""):
    section = MetricsConfig(listen=listen, key_env="PAGE" if key else "")
    return Settings(Config(metrics=section), {"PAGE": key} if key else {})


@pytest.fixture
def page(monkeypatch):
    """A function that serves a page with one counter."""
    monkeypatch.setattr(metrics_page, "POLL_SECONDS", 0.01)
    opened = []

    def serve(key="", host="127.0.0.1", read_usage=None):
        registry = CollectorRegistry()
        Counter("ws_bridge_some", "x", registry=registry).inc()
        opened.append(MetricsPage((host, 0), key, registry, read_usage))
        opened[-1].start()
        return opened[-1]

    yield serve
    for one in opened:
        one.close()


def get(page, path="/metrics", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{page.port}{path}")
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_without_a_key_this_machine_can_read_it(page):
    served = page()
    status, text = get(served)
    assert (status, "ws_bridge_some_total 1.0" in text) == (200, True)
    assert get(served, Host="localhost:9464")[0] == 200
    assert get(served, "/")[0] == get(served, "/v1/models")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "192.0.2.1", "[zz]", ""])
def test_a_web_page_under_another_name_cannot(page, host):
    """Its own name may lead to this machine, and then it is of the same origin."""
    assert get(page(), Host=host) == (403, "")


def test_the_usage_of_all_keys_stands_beside_the_numbers(page):
    asked = []

    def read_usage(days):
        asked.append(days)
        return b'{"days": %d}' % days if days < 400 else None

    served = page(read_usage=read_usage)
    assert get(served, "/usage") == (200, '{"days": 30}')
    assert get(served, "/usage?days=7&x=1") == (200, '{"days": 7}')
    assert get(served, "/usage?days=400") == (503, "")
    for wrong in ("0", "401", "-1", "x", "1.5", "%C2%B2"):
        assert get(served, f"/usage?days={wrong}")[0] == 400
    assert asked == [30, 7, 400]


def test_the_usage_is_guarded_as_the_numbers_are(page):
    served = page(key="the key", read_usage=lambda _: b"{}")
    assert get(served, "/usage")[0] == 401
    assert get(served, "/usage", Authorization="Bearer the key") == (200, "{}")
    assert get(page(read_usage=lambda _: b"{}"), "/usage", Host="evil.example") == (403, "")
    assert get(page(), "/usage")[0] == 404


def test_with_a_key_only_who_has_it_can_read_it(page):
    served = page(key="the key")
    assert get(served, Authorization="Bearer the key", Host="any.example")[0] == 200
    assert get(served, Authorization="bearer  the key ")[0] == 200
    for wrong in ("Bearer the", "Basic the key", "the key", "Bearer ", "Bearer \xff"):
        assert get(served, Authorization=wrong) == (401, "")
    assert get(served)[0] == 401
    _, text = get(served, Authorization="Bearer the key")
    assert "ws_bridge_metrics_refused_total 6.0" in text


def test_many_slow_readers_do_not_pile_up(page, monkeypatch):
    """Beyond a few, a connection is closed at once."""
    monkeypatch.setattr(metrics_page, "READERS", 2)
    served = page()
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(2)]
    third = socket.create_connection(("127.0.0.1", served.port))
    assert third.recv(1) == b""
    for one in (*held, third):
        one.close()
    while True:  # their places are free again, soon
        try:
            assert get(served)[0] == 200
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.01)
        else:
            return


def test_an_address_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"'metrics.listen': cannot listen on 127.0.0.1:{port}"
        ):
            MetricsPage(("127.0.0.1", port), "", CollectorRegistry())


def test_a_collector_that_breaks_is_a_500_and_one_line(page, caplog):
    served = page()

    class Broken:
        def collect(self):
            raise OSError("no such file")

    served._registry.register(Broken())
    assert get(served) == (500, "")
    (line,) = caplog.messages
    assert line == "metrics_unreadable"
    assert get(served)[0] == 500


def test_workers_inherit_the_folder_as_long_as_there_is_a_page(memory):
    with numbers_of_workers(settings()) as numbers:
        assert os.environ[VARIABLE] == str(numbers.folder)
        assert numbers.folder.parent == memory
    assert VARIABLE not in os.environ
    assert list(memory.iterdir()) == []


def test_without_a_page_workers_keep_their_numbers_to_themselves(memory, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/of/another/program")
    with numbers_of_workers(settings(listen="")) as numbers:
        assert numbers is None
        assert VARIABLE not in os.environ
    assert list(memory.iterdir()) == []
