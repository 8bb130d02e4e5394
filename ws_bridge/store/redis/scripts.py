"""The Lua scripts, called: each is one atomic step on one partition's keys.

Rule 1: every failure on the way is ``StoreUnavailable``; every script may be called again, whatever
became of the first call.
Rule 2: a caller that is cancelled returns at once, and its call runs to its end: a connection is
never left in the middle of an answer.
Rule 3: after three failures in a row the circuit is open: calls fail at once, but for one probe
every quarter of a second.
Rule 4: a late answer fails its own call only: one slow script must not open the circuit for all
others. A store that has answered no call for seconds is away.
Rule 5: a call that failed while this process stood still proves nothing about the store: it is made
again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import inf
from typing import Any

from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.redis.connect import UNAVAILABLE, Client, reason_of
from ws_bridge.store.redis.keys import ChannelPrefix

log = logging.getLogger(__name__)

FAILURES = 3  # in a row: the circuit opens
PROBE_SECONDS = 0.25
SILENCE_SECONDS = 3.0  # without an answer to any call: longer than any script may take
CALLS_AT_ONCE = 32
MAX_LOADS = 3  # of the scripts for one call: a server may forget them as soon as they are sent
STALL_SECONDS = 0.7  # an answer that took longer came from a server that stood still
BEAT_SECONDS = 0.25
LATE_SECONDS = 0.5  # a beat that is later shows a standstill
LATE = (RedisTimeoutError, TimeoutError)
# Refusals that pass: the same call is worth repeating.
TRANSIENT = (OutOfMemoryError, ClusterDownError, TryAgainError, NoScriptError)
TRANSIENT_PREFIXES = ("OOM", "MISCONF", "BUSY", "NOREPLICAS")
OnAnswered = Callable[[str, float], None]
LUA = files("ws_bridge.store.redis") / "lua"


class Script:
    """One script and its name on the server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (LUA / f"{name}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - the server's choice


CREATE, APPEND, CLAIM, READ, FOLLOW = map(Script, ("create", "append", "claim", "read", "follow"))
CANCEL, DELETE, RELEASE, OVERDUE = map(Script, ("cancel", "delete", "release", "overdue"))
CONVERSE, KEEP, INDEX, HOLD = map(Script, ("converse", "keep", "index", "hold"))
COUNT = Script("count")
BOOK, TALLY, SETTLE = map(Script, ("book", "tally", "settle"))
ALL = (
    *(CREATE, APPEND, CLAIM, READ, FOLLOW, CANCEL, DELETE, RELEASE, OVERDUE),
    *(CONVERSE, KEEP, INDEX, HOLD, COUNT, BOOK, TALLY, SETTLE),
)


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A script with its keys, all of one partition, and its arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | int | bytes]

    def command(self, prefix: str = "") -> tuple[str | int | bytes, ...]:
        """The command that the server runs; all names in it begin with the operator's prefix."""
        keys, args = self.keys, self.args
        if prefix:
            keys = [prefix + key for key in keys]
            args = [prefix + one if isinstance(one, ChannelPrefix) else one for one in args]
        return ("EVALSHA", self.script.sha, len(keys), *keys, *args)


@dataclass(slots=True)
class CircuitBreaker:
    """Whether calls are sent at all. ``now`` is monotonic, in seconds."""

    now: Callable[[], float]
    failures: int = 0  # in a row
    answer_count: int = 0  # of all calls so far
    answered_at: float = -inf  # when the last answer came
    silent_since: float = inf  # when the first call was sent that no answer has followed
    probe_at: float = 0.0
    is_logged: bool = False  # that the store is away
    refuses_writes: bool = False  # it answers, and no server can renew a lease

    @property
    def is_open(self) -> bool:
        """Whether the store is known to be away."""
        return self.failures >= FAILURES

    @property
    def is_healthy(self) -> bool:
        """Whether the store answers, and takes writes."""
        return not (self.is_open or self.refuses_writes)

    def check(self) -> None:
        """Raise ``StoreUnavailable`` unless a call may be sent now."""
        if self.is_open:
            if self.now() < self.probe_at:
                raise StoreUnavailable
            self.probe_at = self.now() + PROBE_SECONDS

    def record_failure(self, reason: BaseException, sent_at: float | None = None) -> None:
        """A call has failed; a late one counts for little if others were answered meanwhile."""
        if isinstance(reason, LATE) and sent_at is not None:
            if self.answered_at > sent_at:
                return
            self.silent_since = min(self.silent_since, sent_at)
            if self.now() - self.silent_since < SILENCE_SECONDS and not self.is_open:
                self.failures = max(self.failures, 1)  # the next answer comes after an outage
                return
            self.failures = FAILURES
        self.failures += 1
        self.probe_at = self.now() + PROBE_SECONDS
        if self.is_open and not self.is_logged:
            self.is_logged = True
            log.warning("store_away reason=%s", reason_of(reason))

    def record_success(self) -> None:
        """A call was answered."""
        if self.is_logged:
            log.info("store_back")
        self.is_logged = False
        self.failures = 0
        self.answer_count += 1
        self.answered_at, self.silent_since = self.now(), inf


class StandstillDetector:
    """Whether this process stood still: it beats while ``run`` runs, and a late beat shows it.

    A process that was stopped, or whose event loop was blocked, finds all its timeouts expired when
    it continues, though the answers may have arrived. Such a timeout proves nothing.
    ``now`` is monotonic, in seconds.
    """

    def __init__(
        self,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._beat_at: float | None = None  # None: it does not beat
        self._woke_at = -inf

    async def run(self) -> None:
        """Beat until cancelled."""
        try:
            while True:
                self._beat()
                await self._sleep(BEAT_SECONDS)
        finally:
            self._beat_at = None

    def stood_still_since(self, then: float) -> bool:
        """Whether the process stood still at any time after ``then``."""
        if self._beat_at is not None:
            self._beat()  # the question may come before the late beat
        return self._woke_at > then

    def _beat(self) -> None:
        now = self._now()
        if self._beat_at is not None and now - self._beat_at > BEAT_SECONDS + LATE_SECONDS:
            self._woke_at = now
            log.warning("stood_still seconds=%.1f", now - self._beat_at)
        self._beat_at = now


class Scripts:
    """Calls scripts through one client.

    ``on_recovered`` is called when the store answers after it was away, ``on_answered`` with the
    name of the script and the seconds that its round trip took. ``prefix`` goes before the names of
    all keys and channels: servers with another one share nothing with these.
    """

    def __init__(
        self,
        client: Client,
        now: Callable[[], float],
        on_recovered: Callable[[], None],
        prefix: str = "",
        on_answered: OnAnswered = lambda *_: None,
    ) -> None:
        self._prefix = prefix
        self._client = client
        self._on_recovered = on_recovered
        self._on_answered = on_answered
        self._free = asyncio.Semaphore(CALLS_AT_ONCE)
        self._calls: set[asyncio.Task[list[Any]]] = set()
        self.breaker = CircuitBreaker(now, failures=FAILURES)  # away until it has answered
        self.standstill = StandstillDetector(now)

    def stored_name(self, name: str) -> str:
        """The name under which a key or channel is on the server."""
        return self._prefix + name

    async def call(self, script: Script, keys: Sequence[str], *args: str | int | bytes) -> Any:
        """The script's answer. Raises ``StoreUnavailable``."""
        [answer] = await self.call_all([ScriptCall(script, keys, args)])
        if isinstance(answer, ResponseError):
            log_refusal(script, answer)
            raise StoreUnavailable
        return answer

    async def call_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The answers to all calls of one round trip; the answer to a refused call is its error.

        Raises ``StoreUnavailable`` if any call failed on the way.
        """
        if not calls:
            return []
        self.breaker.check()
        task = asyncio.create_task(self._run(calls))
        self._calls.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Return when every call has ended."""
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def load(self) -> None:
        """Make the scripts known to every server."""
        for script in ALL:
            await self._client.script_load(script.text)

    def _forget(self, task: asyncio.Task[list[Any]]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that still waits has it; else it is of no use

    async def _run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        async with self._free:
            began = self.breaker.now()
            try:
                answers = await self._send_loaded(calls)
            except UNAVAILABLE as failure:
                if not self.standstill.stood_still_since(began):
                    self.breaker.record_failure(failure, began)
                    raise StoreUnavailable from None
                answers = None
        if answers is None:
            self._on_recovered()  # the store may have been away too, and no call would show it
            return await self._run(calls)
        seconds = self.breaker.now() - began
        self._on_answered(calls[0].script.name, seconds)
        was_away = self.breaker.failures > 0 or seconds > STALL_SECONDS
        self.breaker.record_success()
        if was_away:
            self._on_recovered()
        return answers

    async def _send_loaded(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Send calls of scripts that the server may have forgotten. Raises what will pass."""
        answers = await self._send_twice(calls)
        for _ in range(MAX_LOADS):
            if not any(isinstance(answer, NoScriptError) for answer in answers):
                break
            await self.load()
            answers = await self._send(calls)
        await self._raise_transient(answers)
        return answers

    async def _send_twice(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Send, and once more if the connection was dead: after a restart all idle ones are."""
        try:
            return await self._send(calls)
        except RedisConnectionError:
            pool = getattr(self._client, "connection_pool", None)
            if pool is None:  # a cluster's client has sent it again by itself
                raise
            await pool.disconnect(inuse_connections=False)
            return await self._send(calls)

    async def _send(self, calls: Sequence[ScriptCall]) -> list[Any]:
        commands = [call.command(self._prefix) for call in calls]
        try:
            if len(commands) == 1:
                return [await self._client.execute_command(*commands[0])]
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)
        except ResponseError as refusal:
            if len(commands) > 1:
                raise
            return [refusal]
        except (AttributeError, TypeError, RuntimeError) as torn:
            # What the client and uvloop raise for a connection that was closed under it
            # (redis-py#4287).
            raise RedisConnectionError(str(torn)) from torn

    async def _raise_transient(self, answers: Sequence[Any]) -> None:
        """Raise an answer that will pass: the same calls are worth repeating."""
        for answer in answers:
            if isinstance(answer, ReadOnlyError):  # a demoted master: find the new one
                pool = getattr(self._client, "connection_pool", None)
                if pool is not None:
                    await pool.disconnect()
                raise answer
            if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
                raise answer
            is_refusal = isinstance(answer, ResponseError)
            if is_refusal and (
                isinstance(answer, TRANSIENT) or str(answer).startswith(TRANSIENT_PREFIXES)
            ):
                log.warning("store_refuses reason=%s", answer)
                self.breaker.refuses_writes |= not isinstance(
                    answer, (TryAgainError, NoScriptError)
                )
                raise StoreUnavailable


def log_refusal(script: Script, reason: ResponseError) -> None:
    """One line: the server refuses a script for a reason that does not pass."""
    log.error("store_refused script=%s reason=%s", script.name, reason)
