"""A provider's answer, taken off the wire beside litellm, by httpx's public hooks.

Rule 1: whoever reads a tap reads the provider's bytes; litellm gets none of them, but for a copy
where somebody listens to its callbacks.
Rule 2: a stream that litellm has begun to read by itself is not tapped; what is compressed is
refused.
Rule 3: no answer is read for ever: of an error no more is read than can be told of it, and an
answer that is larger than a response may be is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import httpx

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.error_shortening import shortened
from ws_bridge.upstream.errors import COMPRESSED, TOO_LARGE, TooLarge

MAX_ANSWER = 128 * 2**20  # bytes, where the call does not say it
MAX_ERROR = 64 * 1024  # bytes of an error that are read: its words are cut to 500 characters

COPY_SECONDS = 1.0  # litellm's callbacks may take so long with the end of a copy

_catch: ContextVar[Catch | None] = ContextVar("catch", default=None)


class Catch:
    """What one call of litellm opened; its answer may have so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tap: SseTap | None = None


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
    """The response hook of the client: puts a tap into answers, and raises as `bound` does."""
    catch = _catch.get()
    if catch and response.is_success:
        _check_plain(response)
        catch.tap = SseTap(response.stream, catch.most)
        response.stream = catch.tap
    else:
        await bound(response)


async def bound(response: httpx.Response) -> None:
    """The response hook of every other client: no body is read beyond its bound.

    Raises ``UpstreamError`` for a compressed answer, before anything unfolds it.
    """
    _check_plain(response)
    catch = _catch.get()
    most = catch.most if catch else MAX_ANSWER
    if response.is_success:
        response.stream = Bounded(response.stream, most)
    else:
        response.stream = Shortened(response.stream)


def _check_plain(response: httpx.Response) -> None:
    coding: str = response.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise UpstreamError(COMPRESSED)


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

    def __init__(self, upstream: Any) -> None:
        self._upstream = upstream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What litellm reads."""
        body = bytearray()
        async for data in self._upstream:
            body += data
            if len(body) > MAX_ERROR:
                await self._upstream.aclose()
                break
        yield shortened(bytes(body[:MAX_ERROR]))

    async def aclose(self) -> None:
        """Close the provider's connection."""
        await self._upstream.aclose()


class SseTap(httpx.AsyncByteStream):
    """A response's bytes. Until `read` is called, litellm gets them as they come."""

    def __init__(self, upstream: Any, most: int = MAX_ANSWER) -> None:
        self._upstream = upstream
        self._left = most
        self._chunks: AsyncIterator[bytes] | None = None
        self._is_read = False  # by litellm, past the tap
        self._copies: asyncio.Queue[bytes] | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def is_free(self) -> bool:
        """Whether litellm has read nothing of it yet."""
        return not self._is_read

    async def read(self) -> bytes | None:
        """What one read of the wire brings; None at the end. Raises ``TooLarge``."""
        if self._chunks is None:
            self._chunks = aiter(self._upstream)
        data = await anext(self._chunks, b"")
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(TOO_LARGE)
        if self._copies is not None:
            self._copies.put_nowait(data)
        return data or None

    def copy_to(self, listener: AsyncIterator[Any]) -> None:
        """Let an iterator of litellm's read a copy of all that is read, for its callbacks."""
        self._copies = asyncio.Queue()
        self._listening = asyncio.create_task(_read_out(listener), name="litellm")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What litellm reads."""
        if self._copies is not None:
            while data := await self._copies.get():
                yield data
            return
        self._is_read = True
        while (piece := await self.read()) is not None:
            yield piece

    async def aclose(self) -> None:
        """Close the provider's connection, and let go of it.

        It knows its response, which knows this: such a ring waits for a collection of the old.
        """
        if self._listening is not None and self._copies is not None:
            self._copies.put_nowait(b"")
            await asyncio.wait((self._listening,), timeout=COPY_SECONDS)
            self._listening.cancel()
            self._listening = None
        await self._upstream.aclose()
        self._chunks, self._upstream = None, httpx.ByteStream(b"")


async def _read_out(listener: AsyncIterator[Any]) -> None:
    """Read an iterator to its end, whatever that is: its events were published already."""
    with suppress(Exception):
        async for _ in listener:
            pass
