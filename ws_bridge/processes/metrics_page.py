"""The one page of metrics of a whole server, on an address of its own.

Rule 1: it is served by a thread of the process that outlives all others: the supervisor, or the
only process. It imports nothing heavy, and does not touch the event loop.
Rule 2: workers keep their numbers in files that this process reads (prometheus_client's mode for
several processes): a worker that is killed leaves what it has counted. Its gauges go with it.
Rule 3: the files of a worker that has ended are added to those of all ended workers, so that there
are as many files after a thousand restarts as after one.
Rule 4: what keys have used is in the store, which this process does not reach: a worker reads it
when the page asks.
Rule 5: without a key, only this machine can read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ws_bridge.config import Settings
from ws_bridge.config.addresses import is_loopback, parse_address
from ws_bridge.errors import ConfigError
from ws_bridge.processes.worker_usage import WorkerUsage

log = logging.getLogger(__name__)

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client of a worker makes its files
PREFIX = "ws-bridge-metrics-"
MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made in it
ROOM = 32 * 2**20  # bytes that must be free: to write where no room is left kills a process
YOUNG_SECONDS = 60.0  # a folder is not left over that was made just now
ENDED = "ended"  # stands for the process id in the files of all workers that have ended
READERS = 8  # at once
POLL_SECONDS = 0.5  # until the thread sees that it is to end
SECONDS = 10  # for a reader to send its request, and to take the page

USAGE_DAYS, MOST_USAGE_DAYS = 30, 400  # of `/usage`: where none are named, and at most

StartResponse = Callable[..., Any]
ReadUsage = Callable[[int], bytes | None]  # of so many days; None: it cannot be read now


class WorkerNumbers(Collector):
    """The files of the workers, read as the numbers of one process.

    ``folder`` is for the environment variable ``VARIABLE`` of the workers.
    """

    def __init__(self) -> None:
        """Make a folder for them, in memory if there is room. Raises ``ConfigError``."""
        self.folder = _make_folder()
        self._lock = threading.Lock()  # of the folder: the page's thread reads it
        self._workers: dict[int, int] = {}  # process id: number of the worker
        self._starts: Counter[int] = Counter()  # by number
        self.usage: WorkerUsage | None = None  # set by the supervisor
        self._held = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def worker_started(self, number: int, pid: int) -> None:
        """A worker runs."""
        with self._lock:
            self._workers[pid] = number
            self._starts[number] += 1

    def worker_ended(self, pid: int) -> None:
        """A worker has ended: what it has counted stays, its gauges go."""
        with self._lock:
            self._workers.pop(pid, None)
            for path in self.folder.glob(f"*_{pid}.db"):
                if not path.name.startswith("gauge_live") and path.stat().st_size:
                    _add(path, path.with_name(path.name.replace(f"_{pid}.db", f"_{ENDED}.db")))
                path.unlink()

    def collect(self) -> Iterator[Metric]:
        """All numbers, and what each process takes."""
        with self._lock:
            # A file is empty for a moment when it is made.
            files = [str(one) for one in self.folder.glob("*.db") if one.stat().st_size]
            found = [*MultiProcessCollector.merge(files), *_processes(self._workers)]
            restarts = self._starts.total() - len(self._starts)
        yield from found
        name, text = "ws_bridge_worker_restarts", "Workers started in the place of others"
        yield CounterMetricFamily(name, text, value=restarts)

    def read_usage(self, days: int) -> bytes | None:
        """What all keys have used: a worker writes it into the folder."""
        return None if self.usage is None else self.usage.read(days, self.folder)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._held)


class MetricsPage:
    """Serves a collector's numbers from ``start`` to ``close``."""

    def __init__(
        self,
        address: tuple[str, int],
        key: str,
        numbers: Collector,
        read_usage: ReadUsage | None = None,
    ) -> None:
        """Bind the address. Raises ``ConfigError``. Without a key only this machine is served.

        ``read_usage`` is called in a thread of the page.
        """
        registry = self._registry = CollectorRegistry()
        registry.register(numbers)
        self._refused = CounterMetric(
            "ws_bridge_metrics_refused", "Readers of this page without its key", registry=registry
        )
        self._read_usage = read_usage
        self._key = key.encode()
        self._page = make_wsgi_app(registry)
        try:
            self._server = _PageListener(address, self._answer)
        except OSError as refused:
            raise ConfigError(
                f"key 'metrics.listen': cannot listen on {address[0]}:{address[1]} "
                f"({refused.strerror}): choose another address, or remove the key"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="metrics", daemon=True
        )

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: Mapping[str, Any], begin: StartResponse) -> Iterable[bytes]:
        """The WSGI application."""
        path = environ["PATH_INFO"]
        if path != "/metrics" and (path != "/usage" or self._read_usage is None):
            return _empty(HTTPStatus.NOT_FOUND, begin)
        if not self._may_read(environ):
            self._refused.inc()
            status = HTTPStatus.UNAUTHORIZED if self._key else HTTPStatus.FORBIDDEN
            return _empty(status, begin, ("WWW-Authenticate", "Bearer"))
        try:
            if path == "/usage":
                return self._usage(environ, begin)
            return self._page(environ, begin)  # type: ignore[no-any-return]
        except Exception:  # the edge of the thread
            log.exception("metrics_unreadable")
            return _empty(HTTPStatus.INTERNAL_SERVER_ERROR, begin)

    def _usage(self, environ: Mapping[str, Any], begin: StartResponse) -> Iterable[bytes]:
        """What all keys have used, as JSON."""
        [text] = parse_qs(environ.get("QUERY_STRING", "")).get("days", [str(USAGE_DAYS)])[-1:]
        days = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
        if not 1 <= days <= MOST_USAGE_DAYS:
            return _empty(HTTPStatus.BAD_REQUEST, begin)
        body = self._read_usage(days) if self._read_usage is not None else None
        if body is None:
            return _empty(HTTPStatus.SERVICE_UNAVAILABLE, begin)
        status = HTTPStatus.OK
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        begin(f"{status.value} {status.phrase}", [*headers, ("Cache-Control", "no-store")])
        return [body]

    def _may_read(self, environ: Mapping[str, Any]) -> bool:
        if self._key:
            scheme, _, key = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
            given = key.strip().encode("latin-1")
            return scheme.lower() == "bearer" and hmac.compare_digest(given, self._key)
        # A foreign name means a web page that has given its own name this machine's address.
        return is_loopback(_hostname(environ.get("HTTP_HOST", "localhost")))


def serve_numbers(
    settings: Settings, numbers: Collector, read_usage: ReadUsage | None = None
) -> MetricsPage | None:
    """Serve the page if the configuration asks for it; the caller closes it.

    Raises ``ConfigError``.
    """
    config = settings.config.metrics
    if not config.listen:
        return None
    address = parse_address(config.listen)
    key = settings.secrets.get(config.key, "").strip()
    page = MetricsPage((address.host, address.port), key, numbers, read_usage)
    page.start()
    return page


@contextlib.contextmanager
def numbers_of_workers(settings: Settings) -> Iterator[WorkerNumbers | None]:
    """The numbers of workers that are started in this block, and their page, if there is one.

    Raises ``ConfigError``.
    """
    os.environ.pop(VARIABLE, None)  # what another program left for its own workers
    if not settings.config.metrics.listen:
        yield None
        return
    with contextlib.closing(WorkerNumbers()) as numbers:
        page = serve_numbers(settings, numbers, numbers.read_usage)
        os.environ[VARIABLE] = str(numbers.folder)  # for the workers, which inherit it
        try:
            yield numbers
        finally:
            del os.environ[VARIABLE]
            if page is not None:
                page.close()


class _PageListener(ThreadingMixIn, WSGIServer):
    """A few readers at a time, each in a thread."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], application: Callable[..., Any]) -> None:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        self._places = threading.BoundedSemaphore(READERS)
        super().__init__(found[0][4][:2], _Handler)  # type: ignore[arg-type]
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind, without the question for this machine's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a reader in a thread, or close its connection if there are too many."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a reader."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader has gone, or was too slow: nobody is told."""


class _Handler(WSGIRequestHandler):
    timeout = SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's
        """Log nothing."""


def _empty(status: HTTPStatus, begin: StartResponse, *headers: tuple[str, str]) -> Iterable[bytes]:
    begin(f"{status.value} {status.phrase}", [("Content-Length", "0"), *headers])
    return []


def _hostname(host: str) -> str:
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


def _processes(workers: Mapping[int, int]) -> Iterable[Metric]:
    """Memory, CPU and files of each process; this one is worker 0."""
    found: dict[str, Metric] = {}
    for pid, number in {os.getpid(): 0, **workers}.items():
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            given = (metric.name, metric.documentation, metric.type)
            labels = {"worker": str(number)}
            samples = [one._replace(labels=labels) for one in metric.samples]
            found.setdefault(metric.name, Metric(*given)).samples += samples
    return found.values()


def _add(source: Path, target: Path) -> None:
    """Add the numbers of a file to those of another."""
    sums = MmapedDict(str(target))
    for key, value, *_ in MmapedDict.read_all_values_from_file(str(source)):
        sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    sums.close()


def _make_folder() -> Path:
    """A new folder, where a file can be written without a disk if possible."""
    for place in _places():
        with contextlib.suppress(OSError):
            _remove_left_over(Path(place))
            if shutil.disk_usage(place).free >= ROOM:
                return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    raise ConfigError(
        f"key 'metrics.listen': the workers' numbers need {ROOM // 2**20} MiB in a folder that can "
        f"be written: mount {MEMORY}, or set TMPDIR, or remove the key"
    )


def _places() -> Iterator[str]:
    yield MEMORY
    with contextlib.suppress(OSError):
        yield tempfile.gettempdir()


def _remove_left_over(place: Path) -> None:
    """Remove the folders of servers that were killed: nobody holds their locks."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
                continue
            with (folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
