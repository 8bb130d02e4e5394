"""How much of this process one client key may take, and how often an address may be turned away.

Rule 1: a limit of 0 is none; without keys all clients are one owner, and it has no key's limit.
What an owner's rules say goes before ``[limits]``.
Rule 2: a place is given back without a notice: with the block it was taken for, or, for a response,
by a look at whether it still runs. So no place is lost.
Rule 3: ``Retry-After`` is true (`rates`). Where the time at which a place becomes free is unknown,
it is one second.
Rule 4: every create counts when its turn comes: warm-ups, successors of steers, and those that are
refused later. A response that another server began and this one resumes does not count.
Rule 5: requests count in bytes until they are answered: a body until its answer is done, a create
until its response has ended. They count by their size in memory: ``COPIES`` of the text, or of its
objects if they are larger, and of the turns that it continues. A single one may be of any size:
one is single while all others together take no more than an eighth of the limit.
Rule 6: each process counts for itself, from zero. New limits hold for what comes next: nothing that
runs is ended by them.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, ip_address

from ws_bridge.config import Limits
from ws_bridge.config.memory import ALONE, COPIES
from ws_bridge.errors import RateLimited
from ws_bridge.jobs.idempotency import FoundResponse
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.registry import JobRegistry
from ws_bridge.jobs.spec import Create
from ws_bridge.protocol.events import Event
from ws_bridge.server.auth import LOCAL_OWNER
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.server.rates import Rate, TokenRate
from ws_bridge.types import Now

Runs = Callable[[str, str], bool]  # whether the response of that id and owner is being generated

MIB = 2**20
SMALL = COPIES * 64 * 1024  # bytes: so little is served whatever all others have asked together
CHECK_EVERY = 64  # responses of a key that begin: those that are over are dropped then

MESSAGES = {
    "connections_per_key": "Too many connections are open with this key ({}).",
    "running_per_key": "Too many responses are running with this key ({}).",
    "creates_per_minute": "Too many responses were created with this key ({} per minute).",
    "tokens_per_minute": "Too many tokens were used with this key ({} per minute).",
    "refused_per_minute": "Too many requests from this address were refused ({} per minute).",
    "asked_mib_per_key": "What was asked with this key and is not answered is too much ({} MiB).",
    "asked_mib": "What was asked of this server and is not answered is too much ({} MiB).",
    "followers_per_key": "Too many responses are followed with this key ({}).",
    "followers": "Too many responses are followed on this server ({}).",
}
# Limits that a client may have of its own, and what ``KeyRules`` calls them.
OF_A_CLIENT = {
    "connections_per_key": "connections",
    "running_per_key": "running",
    "creates_per_minute": "creates_per_minute",
    "tokens_per_minute": "tokens_per_minute",
}


class Quotas:
    """The counts of one process. ``limit_reached`` gets the limit's name at each refusal."""

    def __init__(
        self,
        limits: Limits,
        *,
        rules: ClientRules,
        runs: Runs,
        limit_reached: Callable[[str], None],
        now: Now,
    ) -> None:
        self._rules = rules
        self._runs = runs
        self._limit_reached = limit_reached
        self._open: dict[str, int] = {}
        self._beginning: dict[str, int] = {}
        # By key: the ids of responses, and the bytes that each was asked.
        self._begun: dict[str, dict[str, int]] = {}
        self._asked: dict[str, int] = {}  # bytes, for as long as their block lasts
        self._followers: dict[str, int] = {}
        self._creates, self._refused = Rate(now), Rate(now)
        self._tokens = TokenRate(now)
        self._rates: tuple[tuple[str, Rate | TokenRate], ...] = (
            ("creates_per_minute", self._creates),
            ("tokens_per_minute", self._tokens),
        )
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """Have these limits from now on; the counts stay."""
        self.limits = limits
        self._most: dict[str, int] = {kind: getattr(limits, kind) for kind in MESSAGES}

    @contextmanager
    def connection(self, owner: str) -> Iterator[None]:
        """Count a socket of the key, as long as the block lasts. Raises ``RateLimited``."""
        if self._is_full("connections_per_key", owner, self.connections(owner)):
            raise self._refusal("connections_per_key", owner)
        with _more(self._open, owner):
            yield

    @contextmanager
    def response(
        self, owner: str, size: int = 0, claim: MemoryClaim | None = None
    ) -> Iterator[MemoryClaim]:
        """Count a response of the key: it begins in the block, and has the claim then.

        Its request takes ``size`` bytes, some of which ``claim`` may have already. A response that
        does not get the claim has ended with the block. Raises ``RateLimited``.
        """
        if self._runs_enough(owner):
            raise self._refusal("running_per_key", owner)
        with self.asked(owner) if claim is None else nullcontext(claim) as held:
            held.grow(size)
            for kind, rate in self._rates:
                if wait := rate.wait(owner, self._most_of(kind, owner)):
                    raise self._refusal(kind, owner, wait)
            self._creates.count(owner, self._most_of("creates_per_minute", owner))
            with _more(self._beginning, owner):
                yield held

    @contextmanager
    def asked(self, owner: str, size: int = 0) -> Iterator[MemoryClaim]:
        """So many bytes, and what the claim grows by, until the block is over.

        Raises ``RateLimited``.
        """
        claim = MemoryClaim(self, owner)
        claim.grow(size)
        try:
            yield claim
        finally:
            claim.release()

    def check_asked(self, owner: str, size: int, own: int = 0) -> None:
        """Raise ``RateLimited`` if so many bytes are too many beside all others.

        ``own`` are the bytes that the caller has already.
        """
        for kind, owners in (("asked_mib_per_key", [owner]), ("asked_mib", None)):
            most = self._most[kind] * MIB
            has_no_limit = owner == LOCAL_OWNER if owners else size <= SMALL
            if has_no_limit or not most:
                continue
            if self.asked_bytes(owners) - own + size > most:
                for one in owners or list(self._begun):
                    self.running(one)  # drops those that are over
                others = self.asked_bytes(owners) - own
                if others > most // ALONE and others + size > most:
                    raise self._refusal(kind, owner)

    def add_asked(self, owner: str, more: int) -> None:
        """So many bytes more are held for a key, or less; nothing is checked."""
        self._asked[owner] = self._asked.get(owner, 0) + more
        if not self._asked[owner]:
            del self._asked[owner]

    def begun(self, owner: str, response_id: str, size: int) -> None:
        """A response has begun, and takes so many bytes until it has ended."""
        is_counted = self._most_of("running_per_key", owner)
        if not size and not is_counted:
            return
        begun = self._begun.setdefault(owner, {})
        begun[response_id] = size
        if len(begun) % CHECK_EVERY == 0:
            self.running(owner)

    @contextmanager
    def follower(self, owner: str) -> Iterator[None]:
        """Count a reader of a response's events, as long as the block lasts.

        Raises ``RateLimited``.
        """
        if self._is_full("followers_per_key", owner, self._followers.get(owner, 0)):
            raise self._refusal("followers_per_key", owner)
        if sum(self._followers.values()) >= self._most["followers"]:
            raise self._refusal("followers", owner)
        with _more(self._followers, owner):
            yield

    def refused(self, remote: str | None) -> None:
        """Count a refusal of the address. Raises ``RateLimited`` if too many came before."""
        address = address_of(remote)
        most = self._most["refused_per_minute"]
        if wait := self._refused.wait(address, most):
            raise self._refusal("refused_per_minute", wait=wait)
        self._refused.count(address, most)

    def used(self, owner: str, tokens: int) -> None:
        """So many tokens were used for the key's response, which has ended."""
        if self._most_of("tokens_per_minute", owner):
            self._tokens.count(owner, tokens)

    def connections(self, owner: str) -> int:
        """How many sockets of the key are open."""
        return self._open.get(owner, 0)

    def running(self, owner: str) -> int:
        """How many responses of the key begin or run."""
        known = self._begun.pop(owner, {})
        begun = {one: size for one, size in known.items() if self._runs(one, owner)}
        if begun:
            self._begun[owner] = begun
        return self._beginning.get(owner, 0) + len(begun)

    def asked_bytes(self, owners: Iterable[str] | None = None) -> int:
        """Bytes that were asked and are not known to be answered: of some keys, or of all."""
        if owners is None:
            owners = {*self._asked, *self._begun}
        begun = (self._begun.get(owner, {}).values() for owner in owners)
        return sum(map(sum, begun)) + sum(self._asked.get(owner, 0) for owner in owners)

    def followers(self) -> int:
        """How many readers follow a response's events."""
        return sum(self._followers.values())

    def names(self) -> int:
        """How many keys and addresses are remembered, in all tables."""
        tables = (self._open, self._beginning, self._begun, self._asked, self._followers)
        rates = (self._creates, self._refused, self._tokens)
        return sum(len(table) for table in (*tables, *rates))

    def _is_full(self, kind: str, owner: str, taken: int) -> bool:
        return 0 < self._most_of(kind, owner) <= taken

    def _most_of(self, kind: str, owner: str) -> int:
        """The owner's limit for its key: its own, or that of the server; 0 is none."""
        if owner == LOCAL_OWNER:
            return 0
        own = getattr(self._rules.of(owner), OF_A_CLIENT[kind]) if kind in OF_A_CLIENT else None
        return self._most[kind] if own is None else int(own)

    def _runs_enough(self, owner: str) -> bool:
        """Whether the key is at its limit; ended responses are looked for only if it seems so."""
        full = partial(self._is_full, "running_per_key", owner)
        begun = self._beginning.get(owner, 0) + len(self._begun.get(owner, ()))
        return full(begun) and full(self.running(owner))

    def _refusal(self, kind: str, owner: str = "", wait: float = 1.0) -> RateLimited:
        self._limit_reached(kind)
        seconds = max(1, math.ceil(wait))
        most = self._most_of(kind, owner) if kind in OF_A_CLIENT else self._most[kind]
        message = MESSAGES[kind].format(most)
        return RateLimited(f"{message} Try again in {seconds}s.", retry_after=seconds)


class MemoryClaim:
    """The bytes of this process that one request of a key takes, from its arrival to its end."""

    __slots__ = ("_owner", "_quotas", "size")

    def __init__(self, quotas: Quotas, owner: str) -> None:
        self._quotas = quotas
        self._owner = owner
        self.size = 0

    def grow(self, size: int) -> None:
        """Take so many bytes in all, if that is more. Raises ``RateLimited``, and takes none."""
        if size > self.size:
            self._quotas.check_asked(self._owner, size, self.size)
            self.set(size)

    def set(self, size: int) -> None:
        """Take so many bytes in all; no limit is checked."""
        if size != self.size:
            self._quotas.add_asked(self._owner, size - self.size)
            self.size = size

    def pass_to(self, response_id: str) -> None:
        """Hand the bytes over to a response, for as long as it runs."""
        self._quotas.begun(self._owner, response_id, self.size)
        self.set(0)

    def release(self) -> None:
        """Give all bytes back."""
        self.set(0)


class LimitedCreates:
    """``jobs.start`` within the quotas of the create's key: all transports start jobs here."""

    def __init__(self, jobs: JobRegistry, quotas: Quotas, rules: ClientRules) -> None:
        self._jobs = jobs
        self._quotas = quotas
        self._rules = rules

    def check_room(self, owner: str, size: int) -> None:
        """Raise ``RateLimited`` if there is no room for a create of so many bytes of memory."""
        if size:
            self._quotas.check_asked(owner, COPIES * size)

    def claim(self, owner: str) -> MemoryClaim:
        """An empty claim; the caller releases it."""
        return MemoryClaim(self._quotas, owner)

    async def start(self, create: Create, claim: MemoryClaim | None = None) -> Job | FoundResponse:
        """Start a response, or find that of an earlier create with the same key.

        The request may have a claim already. A response that is found counts as followed, and as
        no create: its own may be what the key has too many of.
        Raises ``BridgeError`` if the create is refused: nothing was started then.
        """
        self._rules.check_model(create.owner, create.request.model or "")
        if (found := await self._jobs.find_earlier(create)) is not None:
            return self._followed(found)
        with self._quotas.response(create.owner, COPIES * create.size, claim) as held:
            own = held.size
            job = await self._jobs.start_or_find(
                create, lambda size: held.grow(own + COPIES * size)
            )
            if isinstance(job, FoundResponse):
                return self._followed(job)
            held.pass_to(job.id)
        return job

    async def cancel(self, found: FoundResponse) -> None:
        """Ask for the end of a response that was found. Raises ``StoreUnavailable``."""
        await self._jobs.cancel_found(found)

    def _followed(self, found: FoundResponse) -> FoundResponse:
        return replace(found, events=self._counted(found))

    async def _counted(self, found: FoundResponse) -> AsyncGenerator[Sequence[Event], None]:
        with self._quotas.follower(found.owner):
            async with aclosing(found.events) as events:
                async for batch in events:
                    yield batch


def generating(jobs: JobRegistry) -> Runs:
    """A function of id and owner: whether the response runs here and has not published its end.

    Its job lives a little longer; a client that has the end may start the next one at once.
    """

    def runs(response_id: str, owner: str) -> bool:
        job = jobs.find(response_id, owner)
        return job is not None and job.result is None and not job.stream.is_closed

    return runs


def address_of(remote: str | None) -> str:
    """The name that an address counts under: of IPv6 the /64, which one customer has."""
    try:
        address = ip_address(remote or "")
    except ValueError:
        return remote or ""  # a UNIX socket's
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else f"{address.packed[:8].hex(':', 2)}::/64"
    return str(address)


@contextmanager
def _more(counts: dict[str, int], owner: str, count: int = 1) -> Iterator[None]:
    if not count:
        yield
        return
    counts[owner] = counts.get(owner, 0) + count
    try:
        yield
    finally:
        counts[owner] -= count
        if not counts[owner]:
            del counts[owner]
