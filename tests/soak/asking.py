"""What every client does: connect, ask, listen, and say what is wrong.

Rule: what must not be is a ``Wrong``, said at once.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from faults.trace import RANKS, Heard, Json

from soak.answers import Answer

ENDLESS = aiohttp.ClientTimeout(total=None)
NARROW_BYTES = 16 * 1024  # the receiving buffer of who does not read: the rest stays at the server
POLL_SECONDS = (0.1, 0.5)
TRIES, AGAIN_SECONDS = 20, 0.5  # of what the store could not tell, on a machine that is busy


class Wrong(Exception):
    """Somebody saw what must not be."""


class Caller:
    """One client with its die. It asks one server, and looks at the other."""

    def __init__(
        self, urls: Sequence[str], session: aiohttp.ClientSession, dice: random.Random
    ) -> None:
        self._dice = dice
        self._session = session
        self.answers = 0  # checked from their first event to their last, or read elsewhere
        self.again = 0  # requests that were asked again, because the store was late
        self._url, self._other = dice.sample(list(urls), 2) if len(urls) > 1 else list(urls) * 2

    def _at(self, path: str = "") -> str:
        return f"{self._url}/v1/responses{'/' + path if path else ''}"

    @asynccontextmanager
    async def _socket(
        self, session: aiohttp.ClientSession | None = None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        opening = (session or self._session).ws_connect(self._at(), max_msg_size=0)
        async with opening as ws:
            yield ws

    async def _turn(self, ws: aiohttp.ClientWebSocketResponse, model: str, **fields: Any) -> Answer:
        answer = Answer(model)
        await create(ws, model, **fields)
        await listen(ws, answer)
        self._check(answer)
        return answer

    def _check(self, answer: Answer, status: str = "completed") -> None:
        none_of(answer.problems(status))
        self.answers += 1

    async def _ask(self, method: str, path: str) -> tuple[int, Json]:
        """Status and body, of the other server."""
        url = f"{self._other}/v1/responses/{path}"
        async with self._session.request(method, url, timeout=ENDLESS) as got:
            return got.status, orjson.loads(await got.read())

    async def _insist(self, asks: Callable[[], Awaitable[tuple[int, Json]]]) -> Json:
        """Ask until it is answered.

        A store that is late is said to be away (503), or to know nothing yet (404) of what began
        without it. How often is told in the report.
        """
        for _ in range(TRIES):
            status, told = await asks()
            if status not in (404, 503):
                break
            self.again += 1
            await asyncio.sleep(AGAIN_SECONDS)
        agree(status == 200, f"it was answered {status} {told}")
        return told

    async def _get(self, response_id: str) -> Json:
        return await self._insist(lambda: self._ask("GET", response_id))

    async def _final(self, response_id: str) -> Json:
        while True:
            response = await self._get(response_id)
            if RANKS.get(response["status"], 2) == 2:
                return response
            await asyncio.sleep(self._dice.uniform(*POLL_SECONDS))

    async def _begin(self, model: str) -> str:
        body = {"model": model, "input": "go", "background": True}

        async def post() -> tuple[int, Json]:
            async with self._session.post(self._at(), json=body, timeout=ENDLESS) as got:
                return got.status, orjson.loads(await got.read())

        return str((await self._insist(post))["id"])

    async def _follow(self, response_id: str, heard: Heard, until: int | None = None) -> None:
        url = f"{self._other}/v1/responses/{response_id}?stream=true&starting_after={heard.last}"
        async with self._session.get(url, timeout=ENDLESS) as got:
            agree(got.status == 200, f"a follower was answered {got.status}")
            async for line in got.content:
                if line.startswith(b"data: {"):
                    heard.hear(line[6:].rstrip())
                if until is not None and heard.last >= until:
                    return


async def create(ws: aiohttp.ClientWebSocketResponse, model: str, **fields: Any) -> None:
    await ws.send_json({"type": "response.create", "model": model, "input": "go", **fields})


async def text_of_frame(ws: aiohttp.ClientWebSocketResponse) -> bytes:
    message = await ws.receive()
    agree(message.type is aiohttp.WSMsgType.TEXT, f"the socket said {message}")
    return message.data.encode()


def hear(answer: Answer, text: bytes) -> None:
    if b'"sequence_number"' in text:
        answer.take(text)
    else:
        answer.refusal = orjson.loads(text)


async def listen(
    ws: aiohttp.ClientWebSocketResponse, answer: Answer, until: int | None = None
) -> None:
    """Hear the answer to its end, or to an event's number."""
    while not answer.is_over and (until is None or answer.heard.last < until):
        hear(answer, await text_of_frame(ws))


def reset(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Be gone without a word."""
    transport = ws.get_extra_info("socket")
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    ws._response.connection.transport.abort()  # there is no public way to be so rude


def narrow(found: Any) -> socket.socket:
    family, kind, protocol = found[:3]
    line = socket.socket(family, kind, protocol)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    return line


def agree(is_true: bool, otherwise: str) -> None:
    if not is_true:
        raise Wrong(otherwise)


def none_of(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise Wrong("; ".join(found))
