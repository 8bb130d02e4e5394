"""`/v1/responses`, upgraded: frames in to ``protocol.connection``, its actions done, events out.

Rule 1: the receiving side never waits for a response, so that control frames work at any time.
Rule 2: a socket that cannot keep up delays only itself: it reads from streams by position.
Rule 3: whatever fails, the client gets a ``BridgeError`` and no other detail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import orjson
from aiohttp import WSMsgType, web

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    CRASHED,
    KEY_REVOKED,
    NOT_UTF8,
    BridgeError,
    ConnectionLimitReached,
    InvalidApiKey,
    InvalidRequest,
    RateLimited,
    ServerDraining,
)
from ws_bridge.jobs.idempotency import FoundResponse
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.spec import Create, EndReason
from ws_bridge.pacing import HEAVY_BYTES, aside, cancel_all
from ws_bridge.protocol.actions import (
    AcceptSteer,
    Action,
    CloseConnection,
    ConnectionLimits,
    SendFrame,
    StartResponse,
    StopResponse,
)
from ws_bridge.protocol.client_frames import ClientFrame, read_frame
from ws_bridge.protocol.connection import Connection
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.protocol.json_limits import reading_size
from ws_bridge.protocol.steering import accepted
from ws_bridge.protocol.turn_cache import TurnCache
from ws_bridge.server.auth import KEY_DIGEST, LOCAL_OWNER, OWNER, answered_protocol
from ws_bridge.server.metrics import Metrics
from ws_bridge.server.quotas import LimitedCreates
from ws_bridge.server.refusal_log import RefusalLog
from ws_bridge.server.transport.listener import begin_frames, message_parsed
from ws_bridge.server.websocket.heartbeat import Heartbeat
from ws_bridge.server.websocket.outbox import Outbox

log = logging.getLogger(__name__)

AT_ONCE, SPREAD_SECONDS = 128, 10.0  # a drain closes so many idle sockets in a row, and all in this
FORCED_SECONDS = 2.0  # for the ends of responses to be sent, when a drain is cut short
LAST_TURN_SECONDS = 300.0  # for the turn that runs when its connection has reached its age
CLOSED = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)
ENDINGS = {"cancel": EndReason.CANCELLED, "interrupt": EndReason.INTERRUPTED}


@dataclass(frozen=True, slots=True)
class SocketPolicy:
    """What the operator configured for every socket."""

    rules: ConnectionLimits
    max_message_bytes: int
    connection_minutes: float
    unread_seconds: float
    finish_on_disconnect: bool


class Sockets:
    """All open sockets of this process. It opens and counts them, and closes them at the drain."""

    def __init__(
        self,
        jobs: LimitedCreates,
        policy: SocketPolicy,
        cache: TurnCache,
        clock: Clock,
        *,
        metrics: Metrics,
        refusal_log: RefusalLog,
    ) -> None:
        self._jobs = jobs
        self._metrics = metrics
        self._refusal_log = refusal_log
        self.cache = cache
        self._policy = policy
        self._clock = clock
        self._open: set[Socket] = set()
        self._heartbeat = Heartbeat(clock, policy.connection_minutes * 60)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Upgrade a request and serve it until it closes."""
        owner = request[OWNER]
        ws = web.WebSocketResponse(
            max_msg_size=self._policy.max_message_bytes + 1,  # aiohttp's is the first size refused
            compress=False,
            decode_text=False,
            protocols=answered_protocol(request),
        )
        begin_frames(request, ws)
        await ws.prepare(request)
        outbox = Outbox(request, ws, self._clock, self._policy.unread_seconds)
        rules = replace(self._policy.rules, default_model=request.query.get("model") or None)
        connection = Connection(rules, self.cache, "" if owner == LOCAL_OWNER else owner)
        socket = Socket(
            *(ws, outbox, owner, connection),
            key_digest=request[KEY_DIGEST],
            jobs=self._jobs,
            policy=self._policy,
            refusal_log=self._refusal_log,
            on_parsed=partial(message_parsed, request),
        )
        self._metrics.socket_opened()
        self._open.add(socket)
        self._heartbeat.add(socket)
        try:
            await socket.serve()
        finally:
            self._metrics.socket_closed(ws.close_code)
            self._open.discard(socket)
            self._heartbeat.discard(socket)
        return ws

    def set_policy(self, policy: SocketPolicy) -> None:
        """Have this policy for sockets that are opened from now on; all have the new lifetime."""
        self._policy = policy
        self._heartbeat.lifetime = policy.connection_minutes * 60

    def close_revoked(self, is_valid: Callable[[bytes], bool]) -> None:
        """Begin to close the sockets whose key, by its digest, is not valid any more."""
        revoked = [socket for socket in self._open if not is_valid(socket.key_digest)]
        for socket in revoked:
            socket.revoke()
        if revoked:
            log.info("key_revoked sockets=%d", len(revoked))

    async def run(self) -> None:
        """Ping every socket, and close those that have reached their age, for ever."""
        await self._heartbeat.run()

    async def drain(self, force: asyncio.Event) -> None:
        """Close each socket as soon as nothing runs on it; nothing new begins on any.

        Many are not closed all at once: their clients reconnect at once, to servers that serve
        others. When ``force`` is set, clients that do not answer the close are not waited for.
        """
        forced = asyncio.create_task(force.wait())
        closing: set[asyncio.Task[None]] = set()
        sockets = list(self._open)
        for number, socket in enumerate(sockets):
            if number and number % AT_ONCE == 0:
                await asyncio.wait([forced], timeout=SPREAD_SECONDS * AT_ONCE / len(sockets))
            closing.add(asyncio.create_task(socket.drain()))
        all_closed = asyncio.gather(*closing, return_exceptions=True)
        await asyncio.wait((all_closed, forced), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([all_closed], timeout=FORCED_SECONDS)
        await cancel_all(forced, *closing)

    def connections(self) -> int:
        """How many sockets are open."""
        return len(self._open)

    def queued(self) -> int:
        """How many creates wait for their turn, over all sockets."""
        return sum(socket.connection.queued for socket in self._open)

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
        key_digest: bytes,
        jobs: LimitedCreates,
        policy: SocketPolicy,
        refusal_log: RefusalLog,
        on_parsed: Callable[[], None] = lambda: None,
    ) -> None:
        self.connection = connection
        self.owner = owner
        self.key_digest = key_digest
        self._ws = ws
        self._outbox = outbox
        self._jobs = jobs
        self._policy = policy
        self._refusal_log = refusal_log
        self._turns: list[asyncio.Task[None]] = []  # a set is 160 bytes more, for each idle socket
        self._running: dict[str | None, Job] = {}
        self._found: dict[str | None, FoundResponse] = {}  # by lane, as those that run here
        self._stops: dict[str | None, EndReason] = {}
        self._late_drafts: dict[str | None, list[Draft]] = {}
        self._closing: asyncio.Task[None] | None = None
        self._on_parsed = on_parsed
        self._waiting = jobs.claim(owner)  # what queued creates take

    async def serve(self) -> None:
        """Apply each frame of the client until the connection is closed, by either side."""
        try:
            while await self._receive_one():
                pass
        except ConnectionError:
            raise
        except Exception:  # the edge of the socket: an answer of HTTP would stand among its frames
            log.exception("socket_crashed")
            await self._outbox.close(CRASHED)
        finally:
            self._cancel_unstored()
            await cancel_all(*(one for one in (self._closing, *self._turns) if one))
            await self._outbox.release()
            self.connection.close()
            self._waiting.release()

    async def ping(self) -> None:
        """Send a ping; never waits for the client."""
        await self._outbox.ping()

    def retire(self) -> None:
        """Begin to close the connection at its age."""
        self._closing = self._closing or asyncio.create_task(self._close_at_age())

    def revoke(self) -> None:
        """Begin to close the connection at once: its key is not valid any more."""
        self._closing = asyncio.create_task(self._close_revoked(self._closing))

    async def drain(self) -> None:
        """Refuse new creates, let what runs finish, close."""
        await self._apply(self.connection.refuse(ServerDraining()))
        await self._wait_until_idle()
        await self._outbox.close(ServerDraining.close)

    async def _receive_one(self) -> bool:
        """Receive a message and do what it leads to; False: none comes any more.

        Nothing of it is held while the next one is awaited.
        """
        actions = await self._received()
        if actions is None:
            return False
        await self._apply(actions)
        return True

    async def _received(self) -> list[Action] | None:
        message = await self._ws.receive()
        if message.type is WSMsgType.TEXT:
            work = partial(read_frame, message.data, self.connection.rules)
            frame = await aside(work, size=reading_size(message.data, HEAVY_BYTES))
            self._on_parsed()
            if not frame.is_text:
                return [CloseConnection(NOT_UTF8)]
            return self._actions_of(frame)
        if message.type is WSMsgType.BINARY:
            refusal = InvalidRequest("Binary messages are not supported; send text.")
            return self.connection.refuse_frame(refusal)
        return None if message.type in CLOSED else []

    def _actions_of(self, frame: ClientFrame) -> list[Action]:
        """What a frame leads to; a create for which there is no room is refused in its turn."""
        try:
            self._jobs.check_room(self.owner, frame.weight)
        except RateLimited as refusal:
            frame = replace(frame, create=refusal.without_traceback())
        return self.connection.apply(frame)

    async def _apply(self, actions: list[Action]) -> None:
        self._waiting.set(self.connection.waiting_bytes)
        for action in actions:
            if isinstance(action, SendFrame):
                if action.frame["type"] == "error":
                    self._refusal_log.refused(action.frame["status"], action.frame["error"]["code"])
                await self._outbox.send([orjson.dumps(action.frame)])
            elif isinstance(action, StartResponse):
                turn = asyncio.create_task(self._run_create(action))
                self._turns.append(turn)
                turn.add_done_callback(self._turns.remove)
            elif isinstance(action, StopResponse):
                self._stop(action)
            elif isinstance(action, CloseConnection):
                await self._outbox.close(action.frame)
            elif isinstance(action, AcceptSteer):
                self._publish(action.lane, accepted(action.steer))
                if job := self._running.get(action.lane):
                    job.steer()
            else:
                self._publish(action.lane, action.draft)

    def _publish(self, lane: str | None, draft: Draft) -> None:
        """Publish an event of the lane's running response, or send it right after its end."""
        job = self._running.get(lane)
        if job is not None and not job.publish(draft):
            self._late_drafts.setdefault(lane, []).append(draft)

    async def _run_create(self, start: StartResponse) -> None:
        """Run one create on its lane to its end, then apply what the connection starts next."""
        job: Job | None = None
        found_end: Event | None = None
        refusal: BridgeError | None = None
        try:
            begun = await self._jobs.start(Create.of(start, self.owner))
            self.connection.response_created(start.lane, begun.id)
            if isinstance(begun, FoundResponse):
                found_end = await self._send_found(begun, start.lane)
            else:
                job = self._running[start.lane] = begun
                if ending := self._stops.pop(start.lane, None):
                    job.stop_soon(ending)
                await self._send_events(job, start.lane)
        except BridgeError as error:
            refusal = error.without_traceback()  # or it and the stream would keep each other alive
            if job is None:  # else the response's own line says it
                self._refusal_log.refused(error.status, error.code)
            await self._send_error(start, error)
        except Exception:  # the edge of the task: a bug here must not hang the lane
            log.exception("turn_crashed")
            await self._send_error(start, BridgeError())
        # A cancelled response did not fail, nor one that a limit refused: its parent stays usable.
        failed = _has_failed(job, found_end) and not isinstance(refusal, RateLimited)
        last = await self._send_late_drafts(job, start.lane)
        if found_end is not None:
            last = found_end.number
        # No await from here on: what comes for the lane after it is for its next response.
        self._running.pop(start.lane, None)
        self._found.pop(start.lane, None)
        self._stops.pop(start.lane, None)
        await self._apply(self.connection.response_ended(start, failed=failed, last=last))

    async def _send_error(self, start: StartResponse, error: BridgeError) -> None:
        """Answer a create with an error. No client asked for a successor: its steers go back."""
        if not start.is_successor:
            await self._outbox.send([orjson.dumps(error.frame(start.lane))])

    async def _send_events(self, job: Job, lane: str | None) -> None:
        number = -1
        while batch := await job.stream.subscribe(self._outbox.take, number):
            number = batch[-1].number
            if batch[-1].is_terminal:
                turn = job.turn()
                if turn is not None:
                    turn = await aside(turn.weighed, size=turn.weight(HEAVY_BYTES))
                self.connection.keep_turn(lane, turn)
            await self._outbox.send([event.text for event in batch])

    async def _send_found(self, found: FoundResponse, lane: str | None) -> Event:
        """Send all events of a response that an earlier create began; returns the last one.

        Raises as ``LogReader.read``: what was sent then is no whole response.
        """
        self._found[lane] = found
        if self._stops.pop(lane, None) is EndReason.CANCELLED:
            await self._jobs.cancel(found)
        last: Event | None = None
        async with contextlib.aclosing(found.events) as batches:
            async for batch in batches:
                last = batch[-1]
                await self._outbox.send([event.text for event in batch])
        assert last is not None  # noqa: S101 - it was read to its end
        return last

    async def _send_late_drafts(self, job: Job | None, lane: str | None) -> int:
        """Send the events that came after the response's own end; return the last number sent."""
        last = job.stream.events[-1].number if job and job.stream.events else -1
        while drafts := self._late_drafts.pop(lane, []):  # more may come while these are sent
            for draft in drafts:
                last += 1
                await self._outbox.send([Event.of(draft, last, lane).text])
        return last

    def _stop(self, stop: StopResponse) -> None:
        ending = ENDINGS[stop.how]
        if job := self._running.get(stop.lane):
            job.stop_soon(ending)
        elif found := self._found.get(stop.lane):
            if ending is EndReason.CANCELLED:
                self._cancel_found(found)
        else:
            self._stops[stop.lane] = ending  # its create is still looking up its parent

    def _cancel_found(self, found: FoundResponse) -> None:
        """Ask for the end of a response that another socket, or another server, has begun."""
        cancelling = asyncio.create_task(self._jobs.cancel(found))
        self._turns.append(cancelling)
        cancelling.add_done_callback(self._forget_cancelling)

    def _forget_cancelling(self, task: asyncio.Task[None]) -> None:
        self._turns.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("cancel_lost reason=%s", type(error).__name__)

    def _cancel_unstored(self) -> None:
        """The client is gone: stored responses run on, others end (docs/protocol.md §6.6).

        A slow client that the server closed did not ask for an end of its stored responses.
        There is no await: the task of a request may be cancelled once its client is gone.
        """
        finish = self._policy.finish_on_disconnect or self._outbox.is_slow
        for job in self._running.values():
            if not (job.spec.envelope.store and finish):
                job.stop_soon(EndReason.CANCELLED)

    async def _wait_until_idle(self) -> None:
        """Return when nothing runs and nothing waits."""
        while self._turns:
            await asyncio.wait(self._turns)

    async def _close_revoked(self, at_age: asyncio.Task[None] | None) -> None:
        if at_age is not None:
            await cancel_all(at_age)
        await self._apply(self.connection.refuse(InvalidApiKey()))
        await self._outbox.close(KEY_REVOKED)

    async def _close_at_age(self) -> None:
        """Close the connection at its age, between turns; clients may reconnect."""
        error = ConnectionLimitReached(self._policy.connection_minutes)
        await self._apply(self.connection.refuse(error))
        try:
            async with asyncio.timeout(LAST_TURN_SECONDS):
                await self._wait_until_idle()
        except TimeoutError:
            log.info("last_turn_outlives_its_connection")
        await self._apply([SendFrame(error.frame())])
        await self._outbox.close(ConnectionLimitReached.close)


def _has_failed(job: Job | None, found_end: Event | None) -> bool:
    """Whether a create has failed: its response did, or there is none."""
    if found_end is not None:
        return bool(found_end.json()["response"]["status"] == "failed")
    return job is None or job.result is None or job.result["status"] == "failed"
