"""One connection to a provider's own WebSocket, and the lanes on it.

Rule 1: a lane runs one response at a time, and is free only when the provider has ended that one.
Rule 2: frames are taken in at once, whoever is slow: lanes do not hold each other up.
Rule 3: a connection that ends tells all of its lanes; nobody waits for what cannot come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ws_bridge.protocol.events import LIFECYCLE, TERMINAL, Draft
from ws_bridge.protocol.json_edit import OWN_KEYS, is_plain
from ws_bridge.types import Json
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.errors import LOST, UNREACHABLE
from ws_bridge.upstream.websocket.errors import NeverBegan, refusal

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 0.5  # for the provider's half of a closing handshake; then the line is cut
PING_SECONDS = 20.0
PONG_SECONDS = 60.0  # a busy provider may be late; a stall of a response is watched elsewhere
MAX_FRAME = 64 * 2**20  # bytes; a terminal event repeats the whole answer
WORN_SECONDS = 50 * 60.0  # OpenAI ends a connection after 60 minutes; a response may last 10
MAX_WAITING = 64 * 2**20  # bytes of frames that nobody has taken yet: then the lane is lost
ERROR = "error"

BASES = {"openai": "https://api.openai.com/v1", "xai": "https://api.x.ai/v1"}
AZURE_PATH = "/openai/v1"  # what its resources' bare addresses lack
# How many responses a host runs at once on one connection, told apart by `stream_id`.
LANES = {"api.openai.com": 16}


@dataclass(frozen=True, slots=True)
class ProviderAddress:
    """Where connections go, and as whom: what two targets must have in common to share one."""

    url: str
    key: str = field(repr=False)
    lanes: int

    @classmethod
    def of(cls, target: Target) -> ProviderAddress:
        """The address of a target's WebSocket. Raises ``NeverBegan`` if there is none."""
        base = urlsplit(target.api_base or BASES.get(target.provider, ""))
        if base.scheme not in ("http", "https"):
            raise NeverBegan(UNREACHABLE)
        path = base.path.rstrip("/") or (AZURE_PATH if target.provider == "azure" else "")
        url = base._replace(scheme="ws" + base.scheme[4:], path=path + "/responses")
        lanes = target.ws_lanes or LANES.get(base.hostname or "", 1)
        return cls(url.geturl(), target.api_key, lanes)

    def headers(self) -> dict[str, str]:
        """What the handshake says of us; a server of one's own may need no key."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


@dataclass(frozen=True, slots=True)
class ProviderFrame:
    """One event as it came."""

    type: str
    lane: str | None
    fields: Json
    text: bytes

    @classmethod
    def parse(cls, text: bytes) -> ProviderFrame:
        """Raises ``ValueError``, ``TypeError`` or ``KeyError`` for what is no event."""
        fields = orjson.loads(text)
        kind, lane = fields.pop("type"), fields.pop("stream_id", None)
        fields.pop("sequence_number", None)
        if not isinstance(kind, str):
            raise TypeError
        return cls(kind, lane, fields, text)

    @property
    def response_id(self) -> object:
        """Whose lifecycle this is part of; None for other events."""
        response = self.fields.get("response") if self.type in LIFECYCLE else None
        return response.get("id") if isinstance(response, dict) else None

    @property
    def draft(self) -> Draft:
        """What the event says, in the provider's own bytes."""
        return Draft(self.type, self.fields, self.text if is_plain(self.text, OWN_KEYS) else b"")


class ProviderLane:
    """A place for one response at a time. ``name`` is None where there is only one."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.is_taken = False  # somebody here wants what comes
        self.is_running = False  # the provider has not ended its response
        self.is_spent = False  # not to be used again
        self.used_at = 0.0
        self.holds = ""  # the bridge's id of the turn that the provider remembers here
        self.bytes = 0  # of the running response
        self._taken = 0  # of them
        self._running = self._ended = ""  # the provider's ids
        self._frames: asyncio.Queue[ProviderFrame | None] = asyncio.Queue()

    @property
    def is_free(self) -> bool:
        """Whether a response can be begun."""
        return not (self.is_taken or self.is_running or self.is_spent)

    @property
    def has_begun(self) -> bool:
        """Whether the running response has an id."""
        return bool(self._running)

    def begin(self) -> None:
        """A create is about to be sent."""
        self.is_running, self._running = True, ""
        self.bytes = self._taken = 0
        self._frames = asyncio.Queue()

    def leave(self) -> None:
        """Nobody here wants anything more of the response."""
        self.is_taken = False
        self._frames = asyncio.Queue()

    def hear(self, frame: ProviderFrame) -> None:
        """Take in a frame; what belongs to an earlier response, or to nobody, is dropped."""
        response_id = frame.response_id
        if not self.is_running or response_id in (self._ended, ""):
            return
        if isinstance(response_id, str):
            if self._running not in ("", response_id):
                return
            self._running = response_id
        self.bytes += len(frame.text)
        if self.is_taken and self.bytes - self._taken > MAX_WAITING:
            self.leave()  # whoever takes no frames hears of the end alone
            self._frames.put_nowait(None)
        elif self.is_taken:
            self._frames.put_nowait(frame)
        if frame.type in TERMINAL or frame.type == ERROR:
            self.is_running, self._ended = False, self._running or self._ended

    def lose(self) -> None:
        """The connection is gone."""
        self.is_running = False
        self._frames.put_nowait(None)

    def heard(self) -> bool:
        """Whether `next` has something at once."""
        return not self._frames.empty()

    async def next(self) -> ProviderFrame | None:
        """The next frame; None once the connection is gone."""
        frame = await self._frames.get()
        self._taken += len(frame.text) if frame else 0
        return frame


class ProviderConnection:
    """One connection. ``run`` is its task's body, and ``hang_up`` its end."""

    def __init__(self, address: ProviderAddress, now: Callable[[], float]) -> None:
        self.address = address
        self.is_retired = False  # begins nothing more
        self.idle_since = now()
        many = address.lanes > 1
        self.lanes = [ProviderLane(f"lane-{n}" if many else None) for n in range(address.lanes)]
        self._named = {lane.name: lane for lane in self.lanes}
        self._now = now
        self._born = now()
        self._settled = asyncio.Event()  # open, or never to be
        self._socket: ClientConnection | None = None
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent, as far as is known."""
        return self._socket is not None

    @property
    def is_usable(self) -> bool:
        """Whether a response may be begun on it, now or once it is open."""
        return not self.is_retired and not self.is_worn

    @property
    def is_worn(self) -> bool:
        """Whether the provider will soon end it for its age."""
        return self._now() - self._born >= WORN_SECONDS

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for something on it."""
        return any(lane.is_taken for lane in self.lanes)

    def start(self) -> asyncio.Task[None]:
        """Begin to connect; the caller owns the task."""
        self._task = asyncio.create_task(self.run(), name="wire")
        self._task.add_done_callback(lambda _: self._end())
        return self._task

    async def run(self) -> None:
        """Connect, and take in frames until either side has had enough."""
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
                self._socket, self._born = socket, self._now()
                self._settled.set()
                while True:
                    self._dispatch(ProviderFrame.parse(await socket.recv(decode=False)))
        except Exception as failure:  # noqa: BLE001 - the edge of the task: `ready` tells, or `lose`
            self._failure = failure.with_traceback(None)  # that has this in it

    async def ready(self) -> None:
        """Return when it is open. Raises ``NeverBegan``."""
        await self._settled.wait()
        if not self.is_open:
            raise refusal(self._failure)

    async def send(self, frame: bytes) -> None:
        """Raises ``NeverBegan`` if the connection is gone."""
        if self._socket is None:
            raise NeverBegan(LOST)
        try:
            await self._socket.send(frame, text=True)
        except ConnectionClosed:
            raise NeverBegan(LOST) from None

    def hang_up(self) -> None:
        """Close it; ``gone`` returns when it is closed."""
        self.is_retired = True
        if self._task is not None:
            self._task.cancel()

    async def gone(self) -> None:
        """Return when nothing of it is left."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _dispatch(self, frame: ProviderFrame) -> None:
        if frame.type == ERROR and frame.lane is None and len(self.lanes) > 1:
            self.is_retired = True  # about the connection, or about a create that has no name
        for lane in self._addressees(frame):
            lane.hear(frame)

    def _addressees(self, frame: ProviderFrame) -> list[ProviderLane]:
        if len(self.lanes) == 1:
            return self.lanes
        if frame.lane is not None:
            return [lane] if (lane := self._named.get(frame.lane)) else []
        running = [lane for lane in self.lanes if lane.is_running]
        if frame.type == ERROR:
            return [lane for lane in running if not lane.has_begun]
        if frame.type.startswith("response.") and len(running) > 1:
            raise ValueError  # it does not tell lanes apart: whose this is nobody can know
        return running

    def _end(self) -> None:
        self.is_retired, self._socket = True, None
        self._settled.set()
        for lane in self.lanes:
            lane.lose()
