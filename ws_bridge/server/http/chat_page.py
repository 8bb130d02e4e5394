"""The chat page: a few files, read once; a client's name is only looked up among them."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

INDEX = "index.html"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' "
    "data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the page's modules fit together only as one version
}


def static_files() -> Path:
    """The page's folder: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "static"
    return inside if inside.is_dir() else package.parent / "static"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the page."""

    body: bytes
    kind: str
    tag: str  # changes with the content

    @classmethod
    def of(cls, path: Path) -> StaticFile:
        """A file as it is now."""
        body = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return cls(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class ChatPage:
    """The handlers."""

    def __init__(self) -> None:
        paths = (path for path in static_files().iterdir() if path.is_file())
        self._files = {path.name: StaticFile.of(path) for path in paths}

    def routes(self) -> Sequence[web.RouteDef]:
        """Method, path, handler."""
        return [web.get("/", self.show), web.get("/static/{name}", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """Answer with a file, or 304 if the client has it."""
        file = self._files.get(request.match_info.get("name", INDEX))
        if file is None:
            raise web.HTTPNotFound
        headers = {**HEADERS, hdrs.ETAG: file.tag}
        if request.headers.get(hdrs.IF_NONE_MATCH) == file.tag:
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if file.kind.startswith("text/") else None
        return web.Response(
            body=file.body, content_type=file.kind, charset=charset, headers=headers
        )
