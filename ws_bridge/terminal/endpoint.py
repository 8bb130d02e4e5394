"""The address of a bridge, and HTTP requests to it.

Rule 1: every failure is an ``EndpointError`` with one line to show.
Rule 2: requests go straight to the server, through no proxy, for HTTP and WebSocket alike.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ws_bridge.types import Json

HTTP_SECONDS = 10.0
SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


class EndpointError(Exception):
    """The server refused, or did not answer (``status`` None). The message is one line to show."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a bridge. The key does not appear in its repr."""

    base: str  # http(s)://host:port/v1
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str, key: str = "") -> Endpoint:
        """Read ``host:port``, or an http(s) or ws(s) address, with or without its path.

        Raises ``EndpointError``.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            scheme = SCHEMES[parts.scheme]
            reachable = bool(parts.hostname) and parts.port != 0
        except (KeyError, ValueError):
            reachable = False
        if not reachable:
            raise EndpointError(f"{url!r} is no address of a bridge, such as http://127.0.0.1:8787")
        path = parts.path.rstrip("/").removesuffix("/responses") or "/v1"
        return cls(f"{scheme}://{parts.netloc}{path}", key)

    @property
    def socket(self) -> str:
        """The URL of the WebSocket."""
        return f"ws{self.base.removeprefix('http')}/responses"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    async def http(self, method: str, path: str) -> Json:
        """Send a request and return the JSON object of the reply. Raises ``EndpointError``."""
        try:
            status, body = await asyncio.to_thread(self._request, method, path)
        except (OSError, http.client.HTTPException) as lost:
            raise EndpointError(f"no answer from {self.base} ({type(lost).__name__})") from None
        reply = parsed(body)
        if status >= 400:
            raise EndpointError(error_line(status, reply), status)
        return reply

    def _request(self, method: str, path: str) -> tuple[int, bytes]:
        parts = urlsplit(self.base)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=HTTP_SECONDS)
        try:
            connection.request(method, parts.path + path, headers=self.headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


def parsed(text: str | bytes | bytearray | None) -> Json:
    """A JSON object, or an empty one for anything else."""
    with suppress(ValueError):
        value = json.loads(text or b"")
        if isinstance(value, dict):
            return value
    return {}


def error_line(status: object, reply: Json) -> str:
    """An error of the form of docs/protocol.md §4.1 as one line."""
    error = reply.get("error")
    error = error if isinstance(error, dict) else {}
    parts = (status, error.get("code"), error.get("message") or "the server gave no reason")
    return " ".join(str(part) for part in parts if part)
