"""How much of this process one client key may take, and how often an address may be turned away.

Rule 1: a limit of 0 is none; without keys everybody is one owner, and no key has a limit.
Rule 2: what is taken comes back by itself: with the block it was taken for, or, for a response,
because whoever counts looks whether it still runs. No notice can be missed, so no place is lost.
Rule 3: a minute is any 60 seconds: a sliding window, exact, so what ``Retry-After`` says is true.
Only when a place becomes free is not known to anybody: then it says one second.
Rule 4: every create counts when its turn comes: warm-ups, successors of steers, and those that are
refused later. What another server had begun and this one goes on with does not: nobody asked here.
Rule 5: each process counts for itself, from zero. Keys are read at its start, so a key cannot be
taken back while a socket is open, and nothing has to look at it again.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv6Address, ip_address

from ws_bridge.config import Limits
from ws_bridge.errors import RateLimited
from ws_bridge.job import Job
from ws_bridge.jobs import Create, Jobs
from ws_bridge.server.auth import EVERYBODY

Now = Callable[[], float]
Runs = Callable[[str, str], bool]  # whether the response of that id and owner is being generated

WINDOW_SECONDS = 60.0
# That many names are told apart; of more the longest idle are forgotten. A full table of addresses
# is some 9 MB; whoever has more of them is not held up by a limit for each.
MOST_NAMES = 10_000

WORDS = {
    "connections_per_key": "Too many connections are open with this key ({}).",
    "running_per_key": "Too many responses are running with this key ({}).",
    "creates_per_minute": "Too many responses were created with this key ({} per minute).",
    "refused_per_minute": "Too many requests from this address were refused ({} per minute).",
}


class Rate:
    """So many in any 60 seconds, for each name."""

    def __init__(self, most: int, now: Now) -> None:
        self._most = most
        self._now = now
        self._times: OrderedDict[str, array[float]] = OrderedDict()  # the longest idle one first

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._times)

    def wait(self, name: str) -> float:
        """Seconds until one more fits; 0: it does now."""
        times = self._times.get(name)
        if times is None or len(times) < self._most:
            return 0.0
        return max(0.0, times[0] + WINDOW_SECONDS - self._now())

    def count(self, name: str) -> None:
        """One more has come."""
        if not self._most:
            return
        times = self._times.setdefault(name, array("d"))
        times.append(self._now())
        del times[: -self._most]  # only the last so many can be in the way of the next
        self._times.move_to_end(name)
        self._forget()

    def _forget(self) -> None:
        """Drop the names that can no longer wait, and the longest idle ones of too many."""
        over = self._now() - WINDOW_SECONDS
        while len(self._times) > MOST_NAMES or next(iter(self._times.values()))[-1] <= over:
            self._times.popitem(last=False)


class Budgets:
    """The counts of one process. ``breached`` is told the limit's name at every refusal."""

    def __init__(
        self, limits: Limits, *, runs: Runs, breached: Callable[[str], None], now: Now
    ) -> None:
        self._most: dict[str, int] = {kind: getattr(limits, kind) for kind in WORDS}
        self._runs = runs
        self._breached = breached
        self._open: dict[str, int] = {}
        self._beginning: dict[str, int] = {}
        self._begun: dict[str, set[str]] = {}
        self._creates = Rate(limits.creates_per_minute, now)
        self._refusals = Rate(limits.refused_per_minute, now)

    @contextmanager
    def connection(self, owner: str) -> Iterator[None]:
        """One more socket of the key, as long as the block lasts. Raises ``RateLimited``."""
        if self._is_full("connections_per_key", owner, self.connections(owner)):
            raise self._refusal("connections_per_key")
        with _one_more(self._open, owner):
            yield

    @contextmanager
    def response(self, owner: str) -> Iterator[Callable[[str], None]]:
        """One more response of the key: in the block it begins, and then its id is to be told.

        A response whose id is not told has ended with the block. Raises ``RateLimited``.
        """
        if self._runs_enough(owner):
            raise self._refusal("running_per_key")
        if owner != EVERYBODY:
            if wait := self._creates.wait(owner):
                raise self._refusal("creates_per_minute", wait)
            self._creates.count(owner)
        with _one_more(self._beginning, owner):
            yield lambda response_id: self._hold(owner, response_id)

    def refused(self, remote: str | None) -> None:
        """A request of the address is refused. Raises ``RateLimited`` if too many were before."""
        address = address_of(remote)
        if wait := self._refusals.wait(address):
            raise self._refusal("refused_per_minute", wait)
        self._refusals.count(address)

    def connections(self, owner: str) -> int:
        """How many sockets of the key are open."""
        return self._open.get(owner, 0)

    def running(self, owner: str) -> int:
        """How many responses of the key begin or run."""
        begun = {one for one in self._begun.pop(owner, ()) if self._runs(one, owner)}
        if begun:
            self._begun[owner] = begun
        return self._beginning.get(owner, 0) + len(begun)

    def names(self) -> int:
        """How many keys and addresses are remembered, in all tables."""
        tables = (self._open, self._beginning, self._begun, self._creates, self._refusals)
        return sum(len(table) for table in tables)

    def _is_full(self, kind: str, owner: str, taken: int) -> bool:
        return 0 < self._most[kind] <= taken and owner != EVERYBODY

    def _runs_enough(self, owner: str) -> bool:
        """Whether it is at its limit; who still runs is looked at only if all of them were."""
        full = partial(self._is_full, "running_per_key", owner)
        begun = self._beginning.get(owner, 0) + len(self._begun.get(owner, ()))
        return full(begun) and full(self.running(owner))

    def _hold(self, owner: str, response_id: str) -> None:
        if self._most["running_per_key"] and owner != EVERYBODY:
            self._begun.setdefault(owner, set()).add(response_id)

    def _refusal(self, kind: str, wait: float = 1.0) -> RateLimited:
        self._breached(kind)
        seconds = max(1, math.ceil(wait))
        words = WORDS[kind].format(self._most[kind])
        error = RateLimited(f"{words} Try again in {seconds}s.")
        error.retry_after = seconds
        return error


class Creates:
    """``jobs.start`` within the budget of the create's key: the one door for every transport."""

    def __init__(self, jobs: Jobs, budgets: Budgets) -> None:
        self._jobs = jobs
        self._budgets = budgets

    async def start(self, create: Create) -> Job:
        """Begin a response. Raises ``BridgeError`` if it is refused: nothing was begun then."""
        with self._budgets.response(create.owner) as begun:
            job = await self._jobs.start(create)
            begun(job.id)
        return job


def generating(jobs: Jobs) -> Runs:
    """Whether a response runs here and has not said its last.

    Its job lives a little longer; a client that heard the end may begin the next one at once.
    """

    def runs(response_id: str, owner: str) -> bool:
        job = jobs.find(response_id, owner)
        return job is not None and job.result is None and not job.stream.is_closed

    return runs


def address_of(remote: str | None) -> str:
    """What counts as one address: of IPv6 the /64, for that is what one customer has."""
    try:
        address = ip_address(remote or "")
    except ValueError:
        return remote or ""  # a UNIX socket's
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else f"{address.packed[:8].hex(':', 2)}::/64"
    return str(address)


@contextmanager
def _one_more(counts: dict[str, int], owner: str) -> Iterator[None]:
    counts[owner] = counts.get(owner, 0) + 1
    try:
        yield
    finally:
        counts[owner] -= 1
        if not counts[owner]:
            del counts[owner]
