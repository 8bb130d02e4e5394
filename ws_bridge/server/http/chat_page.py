"""The chat page: a few files, read once; a client's name is only looked up among them."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import hdrs, web

INDEX = "index.html"
FACTS = "server.json"  # no file: what the page must know of the server before it has a key
# Scripts and styles come from here only. Markup is made of text by one policy, the sanitizer's.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' "
    "data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the page's modules fit together only as one version
}
# What systems have different names for, and a browser must know by one.
KINDS = {".js": "text/javascript", ".mjs": "text/javascript"}


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
    def of(cls, name: str, body: bytes) -> StaticFile:
        """A file with this content."""
        guessed = KINDS.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
        kind = guessed or "application/octet-stream"
        return cls(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class ChatPage:
    """The handlers. ``facts`` is asked each time, since settings can change."""

    def __init__(self, facts: Callable[[], Mapping[str, object]]) -> None:
        folder = static_files()
        paths = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        self._files = {name: StaticFile.of(name, path.read_bytes()) for name, path in paths.items()}
        self._facts = facts

    def routes(self) -> Sequence[web.RouteDef]:
        """Method, path, handler."""
        return [web.get("/", self.show), web.get("/static/{name:.+}", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """Answer with a file, or 304 if the client has it."""
        file = self._find(request.match_info.get("name", INDEX))
        if file is None:
            raise web.HTTPNotFound
        headers = {**HEADERS, hdrs.ETAG: file.tag}
        if request.headers.get(hdrs.IF_NONE_MATCH) == file.tag:
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if file.kind.startswith("text/") else None
        return web.Response(
            body=file.body, content_type=file.kind, charset=charset, headers=headers
        )

    def _find(self, name: str) -> StaticFile | None:
        if name == FACTS:
            return StaticFile.of(name, orjson.dumps(self._facts()))
        return self._files.get(name)
