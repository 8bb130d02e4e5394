"""One connection to a provider's own WebSocket, and the lanes on it.

Rule 1: a lane runs one response at a time, and is free only when the provider has ended that one.
Rule 2: frames are delivered to their lane at once: a slow reader of one lane holds up no other.
Rule 3: a connection that ends ends all of its lanes: no reader waits for what cannot come.
Rule 4: a frame that cannot be read ends the response on its lane, and no other one.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import LIFECYCLE, TERMINAL, Draft
from ws_bridge.protocol.json_edit import OWN_KEYS, is_plain
from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.event_reader import UNREADABLE, parsed
from ws_bridge.upstream.errors import LOST, UNREACHABLE, UNTYPED_EVENT, NeverBegan
from ws_bridge.upstream.profiles import account_headers, lanes_at, profile_of
from ws_bridge.upstream.provider_errors import has_error
from ws_bridge.upstream.websocket.errors import connect_error

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 0.5  # for the provider's half of a closing handshake; then the line is cut
PING_SECONDS = 20.0
PONG_SECONDS = 60.0  # a busy provider may be late; a stall of a response is watched elsewhere
MAX_FRAME = 64 * 2**20  # bytes; a terminal event repeats the whole answer
MAX_AGE_SECONDS = 50 * 60.0  # OpenAI ends a connection after 60 minutes; a response may last 10
MAX_UNREAD = 64 * 2**20  # bytes of frames delivered and not received: then the lane is lost
LARGE_FRAME, FRAGMENT = 2**20, 256 * 1024  # bytes
ERROR = "error"
ENDS = TERMINAL | {ERROR, "response.cancelled"}
_LANE = re.compile(rb'"stream_id"\s*:\s*"([^"\\]*)"')  # of a frame that is no JSON


@dataclass(frozen=True, slots=True)
class ProviderAddress:
    """Where connections go, and with which key: two targets with equal ones share connections."""

    url: str
    key: str = field(repr=False)
    lanes: int
    account: tuple[tuple[str, str], ...] = ()  # headers: for whom requests are

    @classmethod
    def of(cls, target: Target) -> ProviderAddress:
        """The address of a target's WebSocket. Raises ``NeverBegan`` if it has none."""
        profile = profile_of(target.provider)
        base = urlsplit(target.api_base or profile.socket_address)
        if base.scheme not in ("http", "https"):
            raise NeverBegan(UNREACHABLE)
        path = base.path.rstrip("/") or profile.socket_path
        url = base._replace(scheme="ws" + base.scheme[4:], path=path + "/responses")
        lanes = target.ws_lanes or lanes_at(base.hostname or "")
        account = account_headers(target.provider, os.environ)
        return cls(url.geturl(), target.api_key, lanes, tuple(account.items()))

    def headers(self) -> dict[str, str]:
        """The handshake's credentials; a server of the operator's own may need none."""
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {**key, **dict(self.account)}


@dataclass(frozen=True, slots=True)
class ProviderFrame:
    """One event as it came. One that cannot be read is an error of its lane, and ``is_broken``."""

    type: str
    lane: str | None
    fields: Json
    text: bytes
    is_broken: bool = False  # the provider's response goes on
    is_exact: bool = True  # its text is JSON that every reader takes

    @classmethod
    def parse(cls, text: bytes) -> ProviderFrame:
        """The event in a text frame."""
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError:  # half of a character, or worse
            return cls._parse_slowly(text)
        return cls._of(fields, text)

    @classmethod
    def _parse_slowly(cls, text: bytes) -> ProviderFrame:
        try:
            return replace(cls._of(parsed(text), text), is_exact=False)
        except UpstreamError as unreadable:
            named = _LANE.search(text)
            lane = named[1].decode(errors="replace") if named else None
            return cls._broken(unreadable.message, lane, text)

    @classmethod
    def _of(cls, fields: Any, text: bytes) -> ProviderFrame:
        if not isinstance(fields, dict):
            return cls._broken(UNREADABLE, None, text)
        kind, lane = fields.pop("type", None), fields.pop("stream_id", None)
        fields.pop("sequence_number", None)
        lane = lane if isinstance(lane, str) else None
        if isinstance(kind, str):
            return cls(kind, lane, fields, text)
        if has_error(fields):
            return cls(ERROR, lane, fields, text)
        return cls._broken(UNTYPED_EVENT, lane, text)

    @classmethod
    def _broken(cls, message: str, lane: str | None, text: bytes) -> ProviderFrame:
        return cls(ERROR, lane, {"error": {"message": message}}, text, is_broken=True)

    @property
    def response_id(self) -> object:
        """The id in a lifecycle event; None in other events."""
        response = self.fields.get("response") if self.type in LIFECYCLE else None
        return response.get("id") if isinstance(response, dict) else None

    @property
    def draft(self) -> Draft:
        """The event as a draft for the normaliser: with the provider's bytes, if they may pass."""
        # A response object is never passed on in its own bytes: no need to look at those.
        can_pass = self.is_exact and (self.type in LIFECYCLE or is_plain(self.text, OWN_KEYS))
        return Draft(self.type, self.fields, self.text if can_pass else b"")


class ProviderLane:
    """A place for one response at a time. ``name`` is None where the connection has only one."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.is_leased = False  # a turn receives its frames
        self.is_running = False  # the provider has not ended its response
        self.is_spent = False  # not to be used again
        self.used_at = 0.0
        self.remembered_id = ""  # the bridge's id of the turn that the provider remembers here
        self.bytes = 0  # of the running response
        self._received = 0  # of them
        self._running_id = self._ended_id = ""  # the provider's
        self._frames: asyncio.Queue[ProviderFrame | None] = asyncio.Queue()

    @property
    def is_free(self) -> bool:
        """Whether a response can be started."""
        return not (self.is_leased or self.is_running or self.is_spent)

    @property
    def has_begun(self) -> bool:
        """Whether the running response has an id."""
        return bool(self._running_id)

    def start(self) -> None:
        """Expect a response: its create is about to be sent."""
        self.is_running, self._running_id = True, ""
        self.bytes = self._received = 0
        self._frames = asyncio.Queue()

    def release(self) -> None:
        """End the lease; the frames of a response that still runs are dropped."""
        self.is_leased = False
        self._frames = asyncio.Queue()

    def deliver(self, frame: ProviderFrame) -> None:
        """Queue a frame of the running response; drop it if it belongs to another or to none."""
        response_id = frame.response_id
        if not self.is_running or response_id in (self._ended_id, ""):
            return
        if isinstance(response_id, str):
            if self._running_id not in ("", response_id):
                return
            self._running_id = response_id
        self.bytes += len(frame.text)
        if self.is_leased and self.bytes - self._received > MAX_UNREAD:
            self.release()  # a reader that is too slow gets the end alone
            self._frames.put_nowait(None)
        elif self.is_leased:
            self._frames.put_nowait(frame)
        if frame.type in ENDS and not frame.is_broken:
            self.is_running, self._ended_id = False, self._running_id or self._ended_id

    def connection_lost(self) -> None:
        """Queue the end: no frame will come any more."""
        self.is_running = False
        self._frames.put_nowait(None)

    async def receive(self) -> list[ProviderFrame | None]:
        """All frames that wait, at least one; None is the last of a lost connection."""
        frames = [await self._frames.get()]
        while not self._frames.empty():
            frames.append(self._frames.get_nowait())
        self._received += sum(len(frame.text) for frame in frames if frame)
        return frames


class ProviderConnection:
    """One connection, from `start` to `close`. ``now`` is monotonic, in seconds."""

    def __init__(self, address: ProviderAddress, now: Callable[[], float]) -> None:
        self.address = address
        self.is_retired = False  # starts no more responses
        self.idle_since = now()
        many = address.lanes > 1
        self.lanes = [ProviderLane(f"lane-{n}" if many else None) for n in range(address.lanes)]
        self._named = {lane.name: lane for lane in self.lanes}
        self._now = now
        self._opened_at = now()
        self._settled = asyncio.Event()  # it is open, or never will be
        self._socket: ClientConnection | None = None
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent; a loss may not be known yet."""
        return self._socket is not None

    @property
    def is_usable(self) -> bool:
        """Whether a response may be started on it, now or once it is open."""
        return not self.is_retired and not self.is_expiring

    @property
    def is_expiring(self) -> bool:
        """Whether the provider will soon close it for its age."""
        return self._now() - self._opened_at >= MAX_AGE_SECONDS

    @property
    def is_leased(self) -> bool:
        """Whether a turn holds one of its lanes."""
        return any(lane.is_leased for lane in self.lanes)

    def start(self) -> asyncio.Task[None]:
        """Start to connect; the caller owns the task, which ends with the connection."""
        self._task = asyncio.create_task(self._run(), name="provider-connection")
        self._task.add_done_callback(lambda _: self._end())
        return self._task

    async def wait_until_open(self) -> None:
        """Return when it is open. Raises ``NeverBegan`` if it could not be opened."""
        await self._settled.wait()
        if not self.is_open:
            raise connect_error(self._failure)

    async def send(self, frame: bytes) -> None:
        """Send a text frame. Raises ``NeverBegan`` if the connection is lost."""
        if self._socket is None:
            raise NeverBegan(LOST)
        try:
            await self._socket.send(_in_fragments(frame), text=True)
        except ConnectionClosed:
            raise NeverBegan(LOST) from None

    def close(self) -> None:
        """Start to close it; ``wait_until_closed`` returns when it is closed."""
        self.is_retired = True
        if self._task is not None:
            self._task.cancel()

    async def wait_until_closed(self) -> None:
        """Return when its socket and its task are gone."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        """Connect, and deliver frames until either side closes."""
        try:
            async with connect(
                self.address.url,
                additional_headers=self.address.headers(),
                compression=None,  # small frames, many of them
                open_timeout=CONNECT_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=PONG_SECONDS,
                max_size=MAX_FRAME,
            ) as socket:
                self._socket, self._opened_at = socket, self._now()
                self._settled.set()
                while True:
                    self._deliver(ProviderFrame.parse(await socket.recv(decode=False)))
        except Exception as failure:  # noqa: BLE001 - `wait_until_open` raises it, or lanes end
            self._failure = failure.with_traceback(None)  # the traceback refers to this object

    def _deliver(self, frame: ProviderFrame) -> None:
        is_unnamed = frame.lane is None and len(self.lanes) > 1
        if frame.type == ERROR and is_unnamed and not frame.is_broken:
            self.is_retired = True  # about the connection, or about a create that has no name
        for lane in self._recipients(frame):
            lane.deliver(frame)

    def _recipients(self, frame: ProviderFrame) -> list[ProviderLane]:
        if len(self.lanes) == 1:
            return self.lanes
        if frame.lane is not None:
            return [lane] if (lane := self._named.get(frame.lane)) else []
        running = [lane for lane in self.lanes if lane.is_running]
        if frame.is_broken:
            return running  # it could be any lane's
        if frame.type == ERROR:
            return [lane for lane in running if not lane.has_begun]
        if frame.type.startswith("response.") and len(running) > 1:
            raise ValueError  # the provider does not name lanes: the event could be any lane's
        return running

    def _end(self) -> None:
        self.is_retired, self._socket = True, None
        self._settled.set()
        for lane in self.lanes:
            lane.connection_lost()


def _in_fragments(frame: bytes) -> bytes | list[bytes]:
    """The frame, a large one in fragments: each is masked and written by itself."""
    if len(frame) <= LARGE_FRAME:
        return frame
    return [frame[start : start + FRAGMENT] for start in range(0, len(frame), FRAGMENT)]
