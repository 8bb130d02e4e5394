"""The bridge's own HTTP client: one POST, and its answer piece by piece.

Rule 1: no redirect is followed: that would send keys to any address named. Cookies are not kept,
and no credential is taken from a `.netrc`.
Rule 2: a compressed answer is refused before anything unfolds it, and no answer is read beyond its
bound; of an error `MAX_ERROR` bytes are read.
Rule 3: there is no limit on a whole answer's time: the caller watches it (`deadlines`). Connecting
and writing have their limits here.
Rule 4: a connection of the pool that the provider has closed meanwhile is no failure: the request
goes out again while nothing of an answer has come.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import COMPRESSED, LOST, TOO_LARGE, UNREACHABLE, NotSent, TooLarge

CONNECT_SECONDS = 10.0  # the name, the connection and TLS
WRITE_SECONDS = 30.0  # for each piece of a body
PIECE = 256 * 1024  # bytes of a body that are written at once
IDLE_SECONDS = 30.0  # a connection is kept for the next request
NAME_SECONDS = 60  # an address of a name is remembered
DRAIN_SECONDS = 0.25  # an answer that is complete may take so long to its end
MAX_ERROR = 64 * 1024  # bytes of an error that are read: its words are cut to 500 characters
HEADER_LIMIT = 64 * 1024  # bytes of one header of an answer
STALE = 8  # connections of the pool in a row that may turn out to be closed

UNREACHED = (
    aiohttp.ClientConnectorError,  # also a name that is not known, and TLS
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
GONE = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
)
OWN_HEADERS = {"accept-encoding": "identity", "user-agent": "ws-bridge"}


class HttpClient:
    """A pool of connections, for one event loop. ``tls``: a context; False checks no certificate.

    ``proxies``: addresses by scheme, as the environment names them where none are given.
    """

    def __init__(
        self, tls: ssl.SSLContext | bool = True, proxies: Mapping[str, str] | None = None
    ) -> None:
        self._tls = tls
        self._proxies = dict(urllib.request.getproxies() if proxies is None else proxies)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make it ready for this event loop."""
        noting_reuse = aiohttp.TraceConfig()
        noting_reuse.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls,
                limit=0,  # the server's own limits bound how many responses run
                keepalive_timeout=IDLE_SECONDS,
                ttl_dns_cache=NAME_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            auto_decompress=False,
            trace_configs=[noting_reuse],
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, most_bytes: int
    ) -> HttpAnswer:
        """The answer to the body, whatever its status; the caller closes it.

        Raises ``NotSent`` if the request cannot be made, and ``UpstreamError``.
        """
        for _ in range(STALE):
            connection = SimpleNamespace(is_reused=False)
            try:
                return await self._post_once(url, headers, body, most_bytes, connection)
            except GONE as failure:
                if not connection.is_reused:
                    raise UpstreamError(LOST) from failure
        raise UpstreamError(LOST)

    async def _post_once(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        most_bytes: int,
        connection: SimpleNamespace,
    ) -> HttpAnswer:
        assert self._session is not None, "not started"  # noqa: S101
        with _sending():
            response = await self._session.post(
                _address(url),
                headers={**headers, **OWN_HEADERS},
                data=TimedBody(body),
                allow_redirects=False,
                trace_request_ctx=connection,
                **self._proxy_for(url),
            )
        coding = response.headers.get("content-encoding", "identity")
        if coding.strip().lower() != "identity":
            response.close()
            raise UpstreamError(COMPRESSED)
        return HttpAnswer(response, most_bytes)

    def _proxy_for(self, url: str) -> dict[str, Any]:
        """The arguments for the environment's proxy; none where it names none for this address."""
        parts = urllib.parse.urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return {}
        account, _, host = proxy.rpartition("://")[2].rpartition("@")
        given: dict[str, Any] = {"proxy": f"{proxy.rpartition('://')[0] or 'http'}://{host}"}
        if account:
            secret = base64.b64encode(urllib.parse.unquote(account).encode()).decode()
            given["proxy_headers"] = {"Proxy-Authorization": f"Basic {secret}"}
        return given


class HttpAnswer:
    """An answer whose head is there."""

    def __init__(self, response: aiohttp.ClientResponse, most_bytes: int) -> None:
        self._response = response
        self.left = most_bytes  # bytes that may still be read
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes | None:
        """What one read of the wire brings; None at the end.

        Raises ``TooLarge`` beyond the answer's bound, ``UpstreamError`` if the connection is lost.
        """
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as failure:
            raise UpstreamError(LOST) from failure
        if not data:
            return None
        self.left -= len(data)
        if self.left < 0:
            self._response.close()
            raise TooLarge(TOO_LARGE)
        return data

    async def read_error(self) -> bytes:
        """The body of an error, or so much of it as can be told; a lost connection ends it too."""
        body = bytearray()
        with suppress(UpstreamError):
            while len(body) < MAX_ERROR and (data := await self.read()) is not None:
                body += data
        return bytes(body[:MAX_ERROR])

    async def close(self, *, keep: bool = False) -> None:
        """Close the connection, at any time; ``keep``: it is used again if its end is near."""
        if keep:
            with suppress(UpstreamError, TimeoutError):  # the answer is complete all the same
                async with asyncio.timeout(DRAIN_SECONDS):
                    while await self.read() is not None:
                        pass
        self._response.close()  # does nothing to one that was read to its end


class TimedBody(aiohttp.BytesPayload):
    """A request's body, of which each piece has ``WRITE_SECONDS`` to go out."""

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """What aiohttp calls. Raises ``TimeoutError``."""
        whole = memoryview(self._value)[:content_length]
        for start in range(0, len(whole), PIECE):
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.write(whole[start : start + PIECE])


def _address(url: str) -> URL:
    """The address as it is written: "%3A" stays so, because it is signed. Raises ``ValueError``."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError
    return URL(url, encoded=True)


@contextmanager
def _sending() -> Iterator[None]:
    """What aiohttp raises until the answer's head is there, in the bridge's words."""
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError, TypeError) as failure:
        raise NotSent from failure
    except UNREACHED as failure:
        raise UpstreamError(UNREACHABLE) from failure
    except aiohttp.ClientResponseError as failure:
        raise UpstreamError from failure  # no HTTP
    except GONE:
        raise  # the pool's connection may have been closed long ago
    except (aiohttp.ClientError, OSError) as failure:
        raise UpstreamError(LOST) from failure


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx.is_reused = True
