"""`/v1/responses`, upgraded: the pump around ``protocol.connection``.

Rule 1: the receiving side never waits for a response, so control frames are heard at any time.
Rule 2: a socket that cannot keep up holds up nobody but itself: it reads from streams by position.
Rule 3: the last branch of every failure tells the client nothing but a ``BridgeError``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    BridgeError,
    ConnectionLimitReached,
    InvalidRequest,
    RateLimited,
    ServerDraining,
)
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.spec import Create, EndReason
from ws_bridge.pacing import aside
from ws_bridge.protocol.actions import (
    AcceptSteer,
    Action,
    CloseConnection,
    ConnectionLimits,
    SendFrame,
    StartResponse,
    StopResponse,
)
from ws_bridge.protocol.client_frames import read_frame
from ws_bridge.protocol.connection import Connection
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.protocol.steering import accepted
from ws_bridge.protocol.turn_cache import TurnCache
from ws_bridge.server.auth import EVERYBODY, answered_protocol
from ws_bridge.server.quotas import LimitedCreates
from ws_bridge.server.transport.listener import begin_frames
from ws_bridge.server.websocket.heartbeat import Heartbeat
from ws_bridge.server.websocket.outbox import Outbox

log = logging.getLogger(__name__)

AT_ONCE, SPREAD_SECONDS = 128, 10.0  # a drain closes no more idle sockets at once, and all in this
HURRIED_SECONDS = 2.0  # for what has ended by then to be told
LAST_TURN_SECONDS = 300.0  # a turn that runs at the connection's end of life may finish in this
ENDINGS = {"cancel": EndReason.CANCELLED, "interrupt": EndReason.INTERRUPTED}


@dataclass(frozen=True, slots=True)
class SocketPolicy:
    """What the operator decided about sockets."""

    rules: ConnectionLimits
    max_message_bytes: int
    connection_minutes: float
    unread_seconds: float
    finish_on_disconnect: bool


class Sockets:
    """All open sockets of this process: opens them, counts them, closes them at the drain."""

    def __init__(
        self, jobs: LimitedCreates, policy: SocketPolicy, cache: TurnCache, clock: Clock
    ) -> None:
        self._jobs = jobs
        self.cache = cache
        self._policy = policy
        self._clock = clock
        self._open: set[Socket] = set()
        self._rounds = Heartbeat(clock, policy.connection_minutes * 60)

    async def serve(self, request: web.Request, owner: str) -> web.WebSocketResponse:
        """Upgrade a request and serve it until it closes."""
        ws = web.WebSocketResponse(
            max_msg_size=self._policy.max_message_bytes + 1,  # aiohttp's is the first refused
            compress=False,
            protocols=answered_protocol(request),
        )
        begin_frames(request, ws)
        await ws.prepare(request)
        outbox = Outbox(request, ws, self._clock, self._policy.unread_seconds)
        rules = replace(self._policy.rules, default_model=request.query.get("model") or None)
        connection = Connection(rules, self.cache, "" if owner == EVERYBODY else owner)
        socket = Socket(ws, outbox, owner, connection, jobs=self._jobs, policy=self._policy)
        self._open.add(socket)
        self._rounds.add(socket)
        try:
            await socket.serve()
        finally:
            self._open.discard(socket)
            self._rounds.discard(socket)
        return ws

    async def run(self) -> None:
        """Ping every socket, and end those of their age, for ever."""
        await self._rounds.run()

    async def drain(self, hurry: asyncio.Event) -> None:
        """Close each socket as soon as nothing runs on it; nothing new begins on any.

        Many are not sent away all at once: they come back at once, to servers that have others.
        When ``hurry`` is set, a client that does not answer the close is waited for no longer.
        """
        hurried = asyncio.create_task(hurry.wait())
        closing: set[asyncio.Task[None]] = set()
        sockets = list(self._open)
        for number, socket in enumerate(sockets):
            if number and number % AT_ONCE == 0:
                await asyncio.wait([hurried], timeout=SPREAD_SECONDS * AT_ONCE / len(sockets))
            closing.add(asyncio.create_task(socket.drain()))
        everyone = asyncio.gather(*closing, return_exceptions=True)
        await asyncio.wait((everyone, hurried), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([everyone], timeout=HURRIED_SECONDS)
        await _cancelled([hurried, *closing])

    def connections(self) -> int:
        """How many sockets are open."""
        return len(self._open)

    def lanes(self) -> int:
        """How many lanes run or wait, over all sockets."""
        return sum(socket.connection.lanes for socket in self._open)


class Socket:
    """One open socket."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        outbox: Outbox,
        owner: str,
        connection: Connection,
        *,
        jobs: LimitedCreates,
        policy: SocketPolicy,
    ) -> None:
        self.connection = connection
        self._ws = ws
        self._outbox = outbox
        self._owner = owner
        self._jobs = jobs
        self._policy = policy
        self._turns: list[asyncio.Task[None]] = []  # a set is 160 bytes more, for each idle socket
        self._running: dict[str | None, Job] = {}
        self._stops: dict[str | None, EndReason] = {}
        self._afterwards: dict[str | None, list[Draft]] = {}
        self._retiring: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Pump until the client is gone or was sent away."""
        try:
            async for message in self._ws:
                if message.type is WSMsgType.TEXT:
                    work = partial(read_frame, message.data, self.connection.rules)
                    await self._act(
                        self.connection.apply(await aside(work, size=len(message.data)))
                    )
                elif message.type is WSMsgType.BINARY:
                    refusal = InvalidRequest("Binary messages are not supported; send text.")
                    await self._act(self.connection.refuse_frame(refusal))
        finally:
            self._let_go()
            await _cancelled([one for one in (self._retiring, *self._turns) if one])
            await self._outbox.end()
            self.connection.close()

    async def ping(self) -> None:
        """Show that there is life; never waits for the client."""
        await self._outbox.ping()

    def retire(self) -> None:
        """Begin to end the connection at its age."""
        self._retiring = asyncio.create_task(self._grow_old())

    async def drain(self) -> None:
        """Refuse new creates, let what runs finish, close."""
        await self._act(self.connection.refuse(ServerDraining()))
        await self._at_rest()
        await self._outbox.close(WSCloseCode.SERVICE_RESTART, b"server is restarting")

    async def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SendFrame):
                await self._outbox.send([orjson.dumps(action.frame)])
            elif isinstance(action, StartResponse):
                turn = asyncio.create_task(self._turn(action))
                self._turns.append(turn)
                turn.add_done_callback(self._turns.remove)
            elif isinstance(action, StopResponse):
                self._stop(action)
            elif isinstance(action, CloseConnection):
                await self._outbox.close(action.code, action.reason)
            elif isinstance(action, AcceptSteer):
                self._say(action.lane, accepted(action.steer))
                if job := self._running.get(action.lane):
                    job.steer()
            else:
                self._say(action.lane, action.draft)

    def _say(self, lane: str | None, draft: Draft) -> None:
        """Say an event of the lane's running response, or right after its end."""
        job = self._running.get(lane)
        if job is not None and not job.publish(draft):
            self._afterwards.setdefault(lane, []).append(draft)

    async def _turn(self, start: StartResponse) -> None:
        """Run one create on its lane, then whatever may go after it."""
        job: Job | None = None
        refusal: BridgeError | None = None
        try:
            job = await self._jobs.start(Create.of(start, self._owner))
            self._running[start.lane] = job
            self.connection.response_created(start.lane, job.id)
            if ending := self._stops.pop(start.lane, None):
                job.stop_soon(ending)
            await self._forward(job, start.lane)
        except BridgeError as error:
            refusal = error.alone()  # the stream has it, and what led to it has the stream
            await self._refuse(start, error)
        except Exception:  # the edge of the task: a bug here must not hang the lane
            log.exception("turn_crashed")
            await self._refuse(start, BridgeError())
        # A cancelled answer did not fail, nor one without room yet: its parent can be asked again.
        failed = job is None or job.result is None or job.result["status"] == "failed"
        failed = failed and not isinstance(refusal, RateLimited)
        last = await self._say_afterwards(job, start.lane)
        # Without an await from here on: what is said of the lane is said of its next response.
        self._running.pop(start.lane, None)
        self._stops.pop(start.lane, None)
        await self._act(self.connection.response_ended(start, failed=failed, last=last))

    async def _refuse(self, start: StartResponse, error: BridgeError) -> None:
        """Answer a create with an error; nobody asked for a successor: its steers go back."""
        if not start.is_successor:
            await self._outbox.send([orjson.dumps(error.frame(start.lane))])

    async def _forward(self, job: Job, lane: str | None) -> None:
        number = -1
        while batch := await job.stream.subscribe(self._pass_on, number):
            number = batch[-1].number
            if batch[-1].is_terminal:
                self.connection.keep_turn(lane, job.turn())
            await self._outbox.send([event.text for event in batch])

    def _pass_on(self, batch: Sequence[Event]) -> bool:
        """What need not be waited for, as nearly all."""
        if batch[-1].is_terminal:
            return False
        return self._outbox.send_now([event.text for event in batch])

    async def _say_afterwards(self, job: Job | None, lane: str | None) -> int:
        """What came too late for the response's own events; the last number said."""
        last = job.stream.events[-1].number if job and job.stream.events else -1
        while drafts := self._afterwards.pop(lane, []):  # more may come while these are sent
            for draft in drafts:
                last += 1
                await self._outbox.send([Event.of(draft, last, lane).text])
        return last

    def _stop(self, stop: StopResponse) -> None:
        ending = ENDINGS[stop.how]
        if job := self._running.get(stop.lane):
            job.stop_soon(ending)
        else:
            self._stops[stop.lane] = ending  # its create is still looking up its parent

    def _let_go(self) -> None:
        """The client is gone: stored responses run on, the others end with it (contract P2).

        One that was let go because it did not read did not ask for an end of its stored ones.
        Without an await: whoever serves a client that is gone may itself be cancelled any moment.
        """
        finish = self._policy.finish_on_disconnect or self._outbox.is_slow
        for job in self._running.values():
            if not (job.spec.envelope.store and finish):
                job.stop_soon(EndReason.CANCELLED)

    async def _at_rest(self) -> None:
        """Return when nothing runs and nothing waits."""
        while self._turns:
            await asyncio.wait(self._turns)

    async def _grow_old(self) -> None:
        """End the connection at its age: between turns, with a code that lets clients come back."""
        error = ConnectionLimitReached(self._policy.connection_minutes)
        await self._act(self.connection.refuse(error))
        try:
            async with asyncio.timeout(LAST_TURN_SECONDS):
                await self._at_rest()
        except TimeoutError:
            log.info("last_turn_outlives_its_connection")
        await self._act([SendFrame(error.frame())])
        await self._outbox.close(WSCloseCode.GOING_AWAY, b"connection limit reached")


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
