"""`/openapi.json`: the HTTP side as a document for machines.

`python -m tests.contract` makes the file. It is read when it is asked for, not at the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from aiohttp import hdrs, web

from ws_bridge.server.http.chat_page import StaticFile

FILE = Path(__file__).with_name("openapi.json")


class OpenApiDocument:
    """The handler."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Method, path, handler."""
        return [web.get("/openapi.json", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """Answer with the document, or 304 if the client has it."""
        file = self._file
        headers = {hdrs.ETAG: file.tag, hdrs.CACHE_CONTROL: "no-cache"}
        if request.headers.get(hdrs.IF_NONE_MATCH) == file.tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, content_type=file.kind, headers=headers)

    @cached_property
    def _file(self) -> StaticFile:
        return StaticFile.of(FILE.name, FILE.read_bytes())
