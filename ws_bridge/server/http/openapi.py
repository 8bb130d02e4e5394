"""`/openapi.json`: the HTTP side as a document for machines.

`python -m tests.contract` makes the file. It is read when it is asked for, and kept by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiohttp import hdrs, web

FILE = Path(__file__).with_name("openapi.json")


class OpenApiDocument:
    """The handler."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Method, path, handler."""
        return [web.get("/openapi.json", self.show)]

    async def show(self, _request: web.Request) -> web.FileResponse:
        """Answer with the document, or 304 if the client has it."""
        return web.FileResponse(FILE, headers={hdrs.CACHE_CONTROL: "no-cache"})
