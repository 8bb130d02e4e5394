"""Clients that hold sockets, spread over processes and loopback addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.bench.processes import Worker

Json = dict[str, Any]

PROCESSES = 2
ADDRESSES = 8  # a process's own: one address has ports for 28,000 sockets, closed ones among them


def addresses(process: int) -> list[str]:
    """Where a process's sockets come from: all of 127.0.0.0/8 is this machine."""
    return [f"127.0.{process + 1}.{number + 1}" for number in range(ADDRESSES)]


class Crowd:
    """All holders as one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._workers = [Worker("tests.bench.holder") for _ in range(PROCESSES)]

    def open(self, count: int, seconds: float) -> Json:
        """Open so many sockets evenly over so many seconds; when all are, or are refused."""
        told = self._all("open", self._shares(count), seconds=seconds)
        return {
            "opened": sum(one["opened"] for one in told),
            "failed": sum(one["failed"] for one in told),
            "seconds": max(one["seconds"] for one in told),
            "slowest": max(one["slowest"] for one in told),
        }

    def churn(self, count: int) -> Json:
        """Connect and leave so many times."""
        told = self._all("churn", self._shares(count))
        failed = sum(one["failed"] for one in told)
        return {"failed": failed, "seconds": max(one["seconds"] for one in told)}

    def tell(self) -> Json:
        """Sockets held, pings heard, sockets dropped by the server, and how those ended."""
        told = [worker.ask(do="tell") for worker in self._workers]
        sums: Json = {key: sum(one[key] for one in told) for key in ("held", "pings", "dropped")}
        reasons: Counter[str] = Counter()
        for one in told:
            reasons.update(one["reasons"])
        return sums | {"reasons": dict(reasons)}

    def drop(self) -> None:
        """Be gone, all at once."""
        for worker in self._workers:
            worker.ask(do="drop")

    def stop(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.stop()

    def _shares(self, count: int) -> list[int]:
        return [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]

    def _all(self, job: str, counts: Sequence[int], **more: Any) -> list[Json]:
        """One job in all processes, side by side."""
        for number, (worker, count) in enumerate(zip(self._workers, counts, strict=True)):
            places = {"url": self._url, "addresses": addresses(number)}
            worker.send({"do": job, "count": count, **places, **more})
        return [worker.receive() for worker in self._workers]
