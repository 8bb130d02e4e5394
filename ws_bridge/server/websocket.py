"""`/v1/responses`, upgraded: the pump around ``protocol.connection``.

Rule 1: the receiving side never waits for a response, so control frames are heard at any time.
Rule 2: a socket that cannot keep up holds up nobody but itself: it reads from streams by position.
Rule 3: the last branch of every failure tells the client nothing but a ``BridgeError``.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError, ConnectionLimitReached, InvalidRequest, ServerDraining
from ws_bridge.job import Job
from ws_bridge.jobs import Create, Jobs
from ws_bridge.plan import Ending
from ws_bridge.protocol.actions import Accept, Action, Rules, Say, Start, Stop
from ws_bridge.protocol.connection import Connection
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.protocol.steering import accepted
from ws_bridge.server.auth import answered_protocol

log = logging.getLogger(__name__)

PING_SECONDS = 25.0  # proxies cut what is silent for 60 s
LAST_TURN_SECONDS = 300.0  # a turn that runs at the connection's end of life may finish in this

ENDINGS = {"cancel": Ending.CANCELLED, "interrupt": Ending.INTERRUPTED}


@dataclass(frozen=True, slots=True)
class SocketPolicy:
    """What the operator decided about sockets."""

    rules: Rules
    max_message_bytes: int
    connection_minutes: float
    finish_on_disconnect: bool


class Sockets:
    """All open sockets of this process: opens them, counts them, closes them at the drain."""

    def __init__(self, jobs: Jobs, policy: SocketPolicy, clock: Clock) -> None:
        self._jobs = jobs
        self._policy = policy
        self._clock = clock
        self._open: set[Socket] = set()

    async def serve(self, request: web.Request, owner: str) -> web.WebSocketResponse:
        """Upgrade a request and serve it until it closes."""
        ws = web.WebSocketResponse(
            max_msg_size=self._policy.max_message_bytes,
            compress=False,
            protocols=answered_protocol(request),
        )
        await ws.prepare(request)
        model = request.query.get("model")
        socket = Socket(
            ws, owner, jobs=self._jobs, policy=self._policy, clock=self._clock, model=model
        )
        self._open.add(socket)
        try:
            await socket.serve()
        finally:
            self._open.discard(socket)
        return ws

    async def drain(self) -> None:
        """Refuse new creates on every socket; close each as soon as nothing runs on it."""
        await asyncio.gather(*(socket.drain() for socket in list(self._open)))

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
        owner: str,
        *,
        jobs: Jobs,
        policy: SocketPolicy,
        clock: Clock,
        model: str | None,
    ) -> None:
        self.connection = Connection(replace(policy.rules, default_model=model))
        self._ws = ws
        self._owner = owner
        self._jobs = jobs
        self._policy = policy
        self._clock = clock
        self._turns: set[asyncio.Task[None]] = set()
        self._running: dict[str | None, Job] = {}
        self._stops: dict[str | None, Ending] = {}
        self._afterwards: dict[str | None, list[Draft]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def serve(self) -> None:
        """Pump until the client is gone or was sent away."""
        chores = [
            asyncio.create_task(self._ping()),
            asyncio.create_task(self._grow_old()),
        ]
        try:
            async for message in self._ws:
                if message.type is WSMsgType.TEXT:
                    await self._act(self.connection.receive(message.data))
                elif message.type is WSMsgType.BINARY:
                    refusal = InvalidRequest("Binary messages are not supported; send text.")
                    await self._act([Say(refusal.frame())])
        finally:
            self._let_go()
            await _cancelled([*chores, *self._turns])

    async def drain(self) -> None:
        """Refuse new creates, let what runs finish, close."""
        await self._act(self.connection.refuse(ServerDraining()))
        await self._idle.wait()
        await self._ws.close(code=WSCloseCode.SERVICE_RESTART, message=b"server is restarting")

    async def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Say):
                await self._send(orjson.dumps(action.frame))
            elif isinstance(action, Start):
                self._idle.clear()
                turn = asyncio.create_task(self._turn(action))
                self._turns.add(turn)
                turn.add_done_callback(self._turns.discard)
            elif isinstance(action, Stop):
                self._stop(action)
            elif isinstance(action, Accept):
                self._say(action.lane, accepted(action.steer))
                if job := self._running.get(action.lane):
                    job.steer()
            else:
                self._say(action.lane, action.draft)

    def _say(self, lane: str | None, draft: Draft) -> None:
        """Say an event of the lane's running response, or right after its end."""
        job = self._running.get(lane)
        if job is not None and not job.say(draft):
            self._afterwards.setdefault(lane, []).append(draft)

    async def _turn(self, start: Start) -> None:
        """Run one create on its lane, then whatever may go after it."""
        job: Job | None = None
        try:
            job = await self._jobs.start(
                Create(start.request, self._owner, "websocket", start.lane, start.parent)
            )
            self._running[start.lane] = job
            self.connection.began(start.lane, job.id)
            if ending := self._stops.pop(start.lane, None):
                job.stop_soon(ending)
            await self._forward(job, start.lane)
        except BridgeError as error:
            await self._refuse(start, error)
        except Exception:  # the edge of the task: a bug here must not hang the lane
            log.exception("turn_crashed")
            await self._refuse(start, BridgeError())
        # A cancelled answer did not fail: its parent can be asked again.
        failed = job is None or job.result is None or job.result["status"] == "failed"
        last = await self._say_afterwards(job, start.lane)
        # Without an await from here on: what is said of the lane is said of its next response.
        self._running.pop(start.lane, None)
        self._stops.pop(start.lane, None)
        await self._act(self.connection.ended(start, failed=failed, last=last))
        if self.connection.is_idle:
            self._idle.set()

    async def _refuse(self, start: Start, error: BridgeError) -> None:
        """Answer a create with an error; nobody asked for a successor: its steers go back."""
        if not start.is_successor:
            await self._send(orjson.dumps(error.frame(start.lane)))

    async def _forward(self, job: Job, lane: str | None) -> None:
        async for batch in job.stream.read():
            if batch[-1].is_terminal:
                self.connection.finished(lane, job.turn())
            for event in batch:
                await self._send(event.text)

    async def _say_afterwards(self, job: Job | None, lane: str | None) -> int:
        """What came too late for the response's own events; the last number said."""
        last = job.stream.events[-1].number if job and job.stream.events else -1
        while drafts := self._afterwards.pop(lane, []):  # more may come while these are sent
            for draft in drafts:
                last += 1
                await self._send(Event.of(draft, last, lane).text)
        return last

    def _stop(self, stop: Stop) -> None:
        ending = ENDINGS[stop.how]
        if job := self._running.get(stop.lane):
            job.stop_soon(ending)
        else:
            self._stops[stop.lane] = ending  # its create is still looking up its parent

    async def _send(self, text: bytes) -> None:
        """Send one frame; to a client that is gone it is nothing."""
        if not self._ws.closed:
            try:
                await self._ws.send_frame(text, WSMsgType.TEXT)
            except ConnectionError:
                log.debug("socket_gone")

    def _let_go(self) -> None:
        """The client is gone: stored responses run on, the others end with it (contract P2).

        Without an await: whoever serves a client that is gone may itself be cancelled any moment.
        """
        for job in self._running.values():
            if not (job.plan.envelope.store and self._policy.finish_on_disconnect):
                job.stop_soon(Ending.CANCELLED)
        self._idle.set()  # no turn of this socket is waited for any more, by a drain neither

    async def _ping(self) -> None:
        while True:
            await self._clock.sleep(PING_SECONDS)
            try:
                await self._ws.ping()
            except ConnectionError:
                return

    async def _grow_old(self) -> None:
        """End the connection at its age: between turns, with a code that lets clients come back."""
        await self._clock.sleep(self._policy.connection_minutes * 60)
        error = ConnectionLimitReached(self._policy.connection_minutes)
        await self._act(self.connection.refuse(error))
        try:
            async with asyncio.timeout(LAST_TURN_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.info("last_turn_outlives_its_connection")
        await self._act([Say(error.frame())])
        await self._ws.close(code=WSCloseCode.GOING_AWAY, message=b"connection limit reached")


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and return when they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
