"""The Lua scripts, called: each is one atomic step on one partition's keys.

Rule 1: everything that goes wrong on the way is ``StoreUnavailable``; every script may be called
again, whatever became of the first call.
Rule 2: a caller that is cancelled leaves at once, and its call comes to its own end: a connection
is never left in the middle of an answer.
Rule 3: after three failures in a row nobody waits any more: calls are refused at once but for one
probe every quarter of a second.
Rule 4: an answer that is late is its caller's failure alone: one slow script must not turn all the
others away. A store that answers nobody for seconds is away.
Rule 5: a call that failed while this process stood still has told nothing: it is made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
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
from ws_bridge.store.redis.connect import AWAY, Client
from ws_bridge.store.redis.standstill import StandstillDetector

log = logging.getLogger(__name__)

FAILURES = 3
PROBE_SECONDS = 0.25
SILENCE_SECONDS = 3.0  # no answer to anybody: longer than any step of ours may take
CALLS_AT_ONCE = 32
LOADS = 3  # of the scripts for one call: a server may forget them as soon as they are sent
STALL_SECONDS = 0.7  # an answer that took longer came from a server that stood still
LATE = (RedisTimeoutError, TimeoutError)
LUA = files("ws_bridge.store.redis") / "lua"


class Script:
    """One script and its name on the server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (LUA / f"{name}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - the server's choice


CREATE, APPEND, CLAIM, READ, FOLLOW = map(Script, ("create", "append", "claim", "read", "follow"))
CANCEL, DELETE, RELEASE, OVERDUE = map(Script, ("cancel", "delete", "release", "overdue"))
CONVERSE, KEEP = map(Script, ("converse", "keep"))
ALL = (CREATE, APPEND, CLAIM, READ, FOLLOW, CANCEL, DELETE, RELEASE, OVERDUE, CONVERSE, KEEP)


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A script with its keys, all of one partition, and its arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | int | bytes]

    def command(self) -> tuple[str | int | bytes, ...]:
        """As the server wants it."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)


@dataclass(slots=True)
class CircuitBreaker:
    """Whether it is worth asking. ``now`` is monotonic, in seconds."""

    now: Callable[[], float]
    failures: int = 0
    answers: int = 0  # all that came through
    answered_at: float = -inf  # when the last one did
    silent_since: float = inf  # when the first call was asked of which nothing has come since
    probe_at: float = 0.0
    is_told: bool = False  # whether the log knows
    is_refusing: bool = False  # it answers, and takes no writes: nobody can renew a lease

    @property
    def is_open(self) -> bool:
        """Whether the store is known to be away."""
        return self.failures >= FAILURES

    @property
    def is_well(self) -> bool:
        """Whether the store answers, and takes what it is given."""
        return not (self.is_open or self.is_refusing)

    def check(self) -> None:
        """Raise ``StoreUnavailable`` unless the store may be asked now."""
        if self.is_open:
            if self.now() < self.probe_at:
                raise StoreUnavailable
            self.probe_at = self.now() + PROBE_SECONDS

    def failed(self, reason: BaseException, asked_at: float | None = None) -> None:
        """A call did not come through; one that was late says little if others were answered."""
        if isinstance(reason, LATE) and asked_at is not None:
            if self.answered_at > asked_at:
                return
            self.silent_since = min(self.silent_since, asked_at)
            if self.now() - self.silent_since < SILENCE_SECONDS and not self.is_open:
                self.failures = max(self.failures, 1)  # the next answer comes after an outage
                return
            self.failures = FAILURES
        self.failures += 1
        self.probe_at = self.now() + PROBE_SECONDS
        if self.is_open and not self.is_told:
            self.is_told = True
            log.warning("store_away reason=%s", type(reason).__name__)

    def succeeded(self) -> None:
        """A call came through."""
        if self.is_told:
            log.info("store_back")
        self.is_told = False
        self.failures = 0
        self.answers += 1
        self.answered_at, self.silent_since = self.now(), inf


class Scripts:
    """Calls scripts through one client. ``back`` is told when the store was away and is back."""

    def __init__(self, client: Client, now: Callable[[], float], back: Callable[[], None]) -> None:
        self._client = client
        self._back = back
        self._free = asyncio.Semaphore(CALLS_AT_ONCE)
        self._asking: set[asyncio.Task[list[Any]]] = set()
        self.breaker = CircuitBreaker(now, failures=FAILURES)  # away until it has answered
        self.pulse = StandstillDetector(now)

    async def call(self, script: Script, keys: Sequence[str], *args: str | int | bytes) -> Any:
        """The script's answer. Raises ``StoreUnavailable``."""
        [answer] = await self.call_all([ScriptCall(script, keys, args)])
        if isinstance(answer, ResponseError):
            log.error("store_refused script=%s reason=%s", script.name, answer)
            raise StoreUnavailable
        return answer

    async def call_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The answers to all calls of one round trip; one that a server refused is its error.

        Raises ``StoreUnavailable`` if any did not come through at all.
        """
        if not calls:
            return []
        self.breaker.check()
        asking = asyncio.create_task(self._ask(calls))
        self._asking.add(asking)
        asking.add_done_callback(self._forget)
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """Return when every call has come to its end."""
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def load(self) -> None:
        """Make the scripts known to every server."""
        for script in ALL:
            await self._client.script_load(script.text)

    def _forget(self, asking: asyncio.Task[list[Any]]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # known to whoever still waited for it

    async def _ask(self, calls: Sequence[ScriptCall]) -> list[Any]:
        async with self._free:
            began = self.breaker.now()
            try:
                answers = await self._send_known(calls)
            except AWAY as failure:
                if not self.pulse.stood_still_since(began):
                    self.breaker.failed(failure, began)
                    raise StoreUnavailable from None
                answers = None
        if answers is None:
            self._back()  # the store may have been away too: nobody here would know
            return await self._ask(calls)
        was_away = self.breaker.failures > 0 or self.breaker.now() - began > STALL_SECONDS
        self.breaker.succeeded()
        if was_away:
            self._back()
        return answers

    async def _send_known(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Send scripts that the server may have forgotten; raises what will pass."""
        answers = await self._send_anew(calls)
        for _ in range(LOADS):
            if not any(isinstance(answer, NoScriptError) for answer in answers):
                break
            await self.load()
            answers = await self._send(calls)
        await self._complain(answers)
        return answers

    async def _send_anew(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Send, and once more if the connection was dead: after a restart all idle ones are."""
        try:
            return await self._send(calls)
        except RedisConnectionError:
            pool = getattr(self._client, "connection_pool", None)
            if pool is None:  # a cluster's client has seen to it
                raise
            await pool.disconnect(inuse_connections=False)
            return await self._send(calls)

    async def _send(self, calls: Sequence[ScriptCall]) -> list[Any]:
        commands = [call.command() for call in calls]
        try:
            if len(commands) == 1:
                return [await self._client.execute_command(*commands[0])]
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)
        except ResponseError as refused:
            if len(commands) > 1:
                raise
            return [refused]
        except (AttributeError, TypeError, RuntimeError) as torn:
            # The client's and uvloop's words for a connection that was closed under it
            # (redis-py#4287).
            raise RedisConnectionError(str(torn)) from torn

    async def _complain(self, answers: Sequence[Any]) -> None:
        """Raise what will pass: the same calls are worth repeating."""
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
                isinstance(answer, PASSING) or str(answer).startswith(PASSING_WORDS)
            ):
                log.warning("store_refuses reason=%s", answer)
                self.breaker.is_refusing |= not isinstance(answer, (TryAgainError, NoScriptError))
                raise StoreUnavailable


PASSING = (OutOfMemoryError, ClusterDownError, TryAgainError, NoScriptError)
PASSING_WORDS = ("OOM", "MISCONF", "BUSY", "NOREPLICAS")
