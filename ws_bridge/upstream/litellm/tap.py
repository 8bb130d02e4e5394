"""A provider's event stream, taken off the wire before litellm reads it, by httpx's public hooks.

Rule 1: who taps a stream reads its frames first, and feeds litellm by hand with those it has a say
in; what litellm makes of one frame is there before the next one is looked at.
Rule 2: errors and JSON are never tapped, nor a stream that litellm has begun to read by itself;
what is compressed is refused.
Rule 3: no frame is lost, repeated or reordered, and a whole frame waits for nothing.
Rule 4: no answer is read for ever: of an error no more is read than can be told of it, and an
answer that is larger than a response may be is refused.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.error_shortening import shortened
from ws_bridge.upstream.errors import COMPRESSED, ENDLESS_EVENT, TOO_LARGE, TooLarge

MAX_FRAME = 64 * 2**20  # bytes; a terminal event repeats the whole answer
MAX_ANSWER = 128 * 2**20  # bytes, where the call does not say it
MAX_ERROR = 64 * 1024  # bytes of an error that are read: its words are cut to 500 characters

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")

_catch: ContextVar[Catch | None] = ContextVar("catch", default=None)


class Catch:
    """What one call of litellm opened; its answer may have so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tap: Tap | None = None


@contextmanager
def catching(most: int = MAX_ANSWER) -> Iterator[Catch]:
    """Around a call of litellm whose client has the hook: the stream that it opens is caught."""
    catch = Catch(most)
    token = _catch.set(catch)
    try:
        yield catch
    finally:
        _catch.reset(token)


async def ask_plainly(request: httpx.Request) -> None:
    """The request hook of the client: a small answer may unfold to any size."""
    request.headers["accept-encoding"] = "identity"


async def hook(response: httpx.Response) -> None:
    """The response hook of the client: puts a tap into event streams.

    Raises ``UpstreamError`` for a compressed answer, before anything unfolds it.
    """
    if not _is_plain(response):
        raise UpstreamError(COMPRESSED)
    catch = _catch.get()
    kind = response.headers.get("content-type", "").lower()
    if catch and response.is_success and kind.startswith("text/event-stream"):
        catch.tap = Tap(response.stream, catch.most)
        response.stream = catch.tap
    else:
        await bound(response)


async def bound(response: httpx.Response) -> None:
    """The response hook of every other client: no body is read beyond its bound."""
    catch = _catch.get()
    most = catch.most if catch else MAX_ANSWER
    if response.is_success:
        response.stream = Bounded(response.stream, most)
    else:
        response.stream = Shortened(response.stream, is_plain=_is_plain(response))


def _is_plain(response: httpx.Response) -> bool:
    coding: str = response.headers.get("content-encoding", "identity")
    return coding.lower() == "identity"


class Bounded(httpx.AsyncByteStream):
    """A response's bytes, so many at most."""

    def __init__(self, upstream: Any, most: int) -> None:
        self._upstream = upstream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What litellm reads. Raises ``UpstreamError`` where there is more."""
        left = self._most
        async for data in self._upstream:
            left -= len(data)
            if left < 0:
                await self._upstream.aclose()
                raise TooLarge(TOO_LARGE)
            yield data

    async def aclose(self) -> None:
        """Close the provider's connection."""
        await self._upstream.aclose()


class Shortened(httpx.AsyncByteStream):
    """An error's body, read to its bound; what is told of it comes in one piece."""

    def __init__(self, upstream: Any, *, is_plain: bool) -> None:
        self._upstream = upstream
        self._is_plain = is_plain

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What litellm reads."""
        body = bytearray()
        async for data in self._upstream:
            body += data
            if len(body) > MAX_ERROR:
                await self._upstream.aclose()
                break
        whole = bytes(body[:MAX_ERROR])
        yield shortened(whole) if self._is_plain else whole

    async def aclose(self) -> None:
        """Close the provider's connection."""
        await self._upstream.aclose()


class Tap(httpx.AsyncByteStream):
    """A response's bytes. Until somebody reads `frames`, litellm gets them as they come."""

    def __init__(self, upstream: Any, most: int = MAX_ANSWER) -> None:
        self._upstream = upstream
        self._left = most
        self._is_read = False  # by litellm, past the tap
        self._is_fed = False
        self._food: deque[bytes] = deque()
        self._end: Exception | bool = False
        self._hunger: asyncio.Future[None] | None = None  # somebody waits for litellm to ask
        self._meal: asyncio.Future[None] | None = None  # litellm waits for more

    async def frames(self) -> AsyncGenerator[list[bytes], None]:
        """The frames that each read completes, with their ends; the last may have none.

        From now on litellm gets what it is fed.
        """
        self._is_fed = True
        rest = bytearray()
        async for data in self._upstream:
            self._count(data)
            if frames := _cut(rest, data):
                yield frames
            if len(rest) > MAX_FRAME:
                raise TooLarge(ENDLESS_EVENT)
        if rest:
            yield [bytes(rest)]

    @property
    def is_free(self) -> bool:
        """Whether litellm has read nothing of it yet."""
        return not self._is_read

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What litellm reads."""
        if not self._is_fed:
            self._is_read = True
            async for data in self._upstream:
                self._count(data)
                yield data
            return
        while True:
            while self._food:
                yield self._food.popleft()
            if isinstance(self._end, Exception):
                raise self._end
            if self._end:
                return
            self._meal = asyncio.get_running_loop().create_future()
            self.wake()
            await self._meal

    def _count(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(TOO_LARGE)

    def put(self, frame: bytes) -> None:
        """Litellm's next bytes."""
        self._food.append(frame)
        self._serve()

    def finish(self, failure: Exception | None = None) -> None:
        """No more is coming, or this is how it went wrong."""
        self._end = failure or True
        self._serve()

    @property
    def is_empty(self) -> bool:
        """Whether litellm asks for more than it was fed."""
        return self._meal is not None

    async def change(self) -> None:
        """Return when litellm asks for more, or when somebody is woken."""
        self._hunger = asyncio.get_running_loop().create_future()
        await self._hunger

    def wake(self) -> None:
        """Let whoever waits for a change look again."""
        if self._hunger is not None and not self._hunger.done():
            self._hunger.set_result(None)

    def _serve(self) -> None:
        meal, self._meal = self._meal, None
        if meal is not None and not meal.done():
            meal.set_result(None)

    async def aclose(self) -> None:
        """Close the provider's connection, and let go of it.

        It knows its response, which knows this: such a ring waits for a collection of the old.
        """
        await self._upstream.aclose()
        self._upstream = httpx.ByteStream(b"")


class Fed:
    """An iterator of litellm over a tapped stream, stepped by hand."""

    def __init__(self, makes: AsyncIterator[Any], tap: Tap) -> None:
        self._makes = makes
        self._tap = tap
        self._made: list[Any] = []
        self._eating: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether litellm takes no more."""
        return self._eating is not None and self._eating.done()

    async def feed(self, frame: bytes) -> list[Any]:
        """What litellm makes of one more frame; its failure is told by `check`."""
        self._tap.put(frame)
        eating = self._begun()
        while not (eating.done() or self._tap.is_empty):
            await self._tap.change()
        return self._taken()

    async def finish(self, failure: Exception | None = None) -> list[Any]:
        """What litellm makes of the end, or of how the stream went wrong."""
        self._tap.finish(failure)
        await asyncio.wait((self._begun(),))
        return self._taken()

    def check(self) -> None:
        """Raises what litellm has raised."""
        if self._eating is not None and self._eating.done():
            self._eating.result()

    async def close(self) -> None:
        """Let go of litellm's iterator; whatever it has to say interests nobody any more."""
        if self._eating is not None:
            self._eating.cancel()
            await asyncio.gather(self._eating, return_exceptions=True)
            self._eating = None  # its failure's traceback knows whoever has this

    def _begun(self) -> asyncio.Task[None]:
        if self._eating is None:
            self._eating = asyncio.create_task(self._eat(), name="litellm")
            self._eating.add_done_callback(lambda _: self._tap.wake())
        return self._eating

    async def _eat(self) -> None:
        async for each in self._makes:
            self._made.append(each)

    def _taken(self) -> list[Any]:
        made, self._made = self._made, []
        return made


def _cut(rest: bytearray, data: bytes) -> list[bytes]:
    """The frames that the data completes, with their ends; ``rest`` keeps what follows."""
    if not rest and data.endswith(b"\n\n") and b"\r" not in data:  # nearly always
        return [frame + b"\n\n" for frame in data[:-2].split(b"\n\n")]
    begin, scan_from = 0, max(0, len(rest) - 3)  # an end may straddle two reads
    rest += data
    frames = []
    for end in list(_ends(rest, scan_from)):
        frames.append(bytes(rest[begin:end]))
        begin = end
    del rest[:begin]
    return frames


def _ends(text: bytearray, begin: int) -> Iterator[int]:
    """Where frames end in the text, from a place on."""
    if text.find(b"\r", begin) >= 0:
        yield from (found.end() for found in _BLANK_LINE.finditer(text, begin))
        return
    while (found := text.find(b"\n\n", begin)) >= 0:  # a large frame comes in many reads
        begin = found + 2
        yield begin
