"""One conversation with a bridge: turns over the WebSocket, the rest of a lost one over HTTP.

Rule 1: it knows no terminal: all output goes to ``show`` as ``ShownPart`` values.
Rule 2: an answer that has begun is never asked for twice: after a lost socket it is fetched by id.
Rule 3: an error ends a turn, never the conversation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ws_bridge.terminal.endpoint import Endpoint, EndpointError, error_line, parsed
from ws_bridge.terminal.turn import ShownPart, ShownTurn
from ws_bridge.types import Json

MAX_FRAME = 64 * 2**20  # bytes; a terminal event repeats the whole answer
POLL_SECONDS = 0.5
MAX_FAILED_POLLS = 20  # polls in a row without a reply; then the rest of an answer is given up


class Session:
    """The conversation: at most one turn at a time, each built on the one before."""

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        show: Callable[[ShownPart], None],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self._show = show
        self._pause = pause
        self._socket: ClientConnection | None = None
        self._turn = ShownTurn()
        self._previous: str | None = None
        self._tool_outputs: list[Json] = []

    async def ask(self, text: str) -> None:
        """Run one turn to its end. Every outcome has been shown then, errors too.

        Its cancellation drops the socket, so that no event of this answer meets the next one.
        """
        self._turn = turn = ShownTurn()
        try:
            await self._send(self._create(text), reconnects=True)
            await self._follow(turn)
        except EndpointError as refused:
            self._show(ShownPart("error", str(refused)))
        except asyncio.CancelledError:
            self._abort()
            raise
        if turn.continues:
            self._previous, self._tool_outputs = turn.id, turn.open_calls

    def _create(self, text: str) -> Json:
        message = {"type": "message", "role": "user", "content": text}
        frame = {
            "type": "response.create",
            "model": self.model,
            "input": [*self._tool_outputs, message],
        }
        return frame | ({"previous_response_id": self._previous} if self._previous else {})

    async def _send(self, frame: Json, *, reconnects: bool) -> None:
        """Send on the open socket; if it is gone, once on a new one where ``reconnects`` is set."""
        if self._socket is not None:
            try:
                await self._socket.send(json.dumps(frame))
            except ConnectionClosed:
                if not reconnects:
                    raise
            else:
                return
        await self.connect()
        if self._socket is not None:
            await self._socket.send(json.dumps(frame))

    async def connect(self) -> None:
        """Open a socket. Raises ``EndpointError``."""
        try:
            self._socket = await connect(
                self.endpoint.socket,
                additional_headers=self.endpoint.headers,
                max_size=MAX_FRAME,
                proxy=None,
            )
        except InvalidStatus as refused:
            status = refused.response.status_code
            raise EndpointError(error_line(status, parsed(refused.response.body)), status) from None
        except ConnectionRefusedError:
            message = (
                f"nothing listens at {self.endpoint.socket}: `ws-bridge serve` starts a bridge"
            )
            raise EndpointError(message) from None
        except (OSError, InvalidHandshake) as lost:
            message = f"no connection to {self.endpoint.socket} ({type(lost).__name__})"
            raise EndpointError(message) from None

    async def _follow(self, turn: ShownTurn) -> None:
        """Show the answer to its end, from the socket or over HTTP."""
        try:
            while not turn.status and self._socket is not None:
                self._show_all(turn.receive(parsed(await self._socket.recv())))
        except (KeyError, TypeError):
            self._abort()
            raise EndpointError(
                "the server sent a frame that is no event of the protocol"
            ) from None
        except ConnectionClosed:
            if not turn.id:
                raise EndpointError("the connection was lost before the answer began") from None
            self._show(ShownPart("note", "connection lost; fetching the rest"))
            await self._fetch_rest(turn)

    async def _fetch_rest(self, turn: ShownTurn) -> None:
        failed = 0
        while not turn.status:
            try:
                snapshot = await self.endpoint.http("GET", f"/responses/{turn.id}")
            except EndpointError as refused:
                failed += 1
                if refused.status is not None or failed == MAX_FAILED_POLLS:
                    raise
            else:
                failed = 0
                self._show_all(turn.catch_up(snapshot))
            if not turn.status:
                await self._pause(POLL_SECONDS)

    def _show_all(self, parts: list[ShownPart]) -> None:
        for part in parts:
            self._show(part)

    async def cancel(self) -> None:
        """Ask the server to cancel the running answer; ``ask`` shows its end."""
        response = {"response_id": self._turn.id} if self._turn.id else {}
        try:
            await self._send({"type": "response.cancel", **response}, reconnects=False)
        except ConnectionClosed:
            if not self._turn.id:
                return
            with suppress(EndpointError):  # if the server cannot be reached, `ask` shows that
                await self.endpoint.http("POST", f"/responses/{self._turn.id}/cancel")

    def reset(self) -> None:
        """Begin a new conversation with the next turn."""
        self._previous, self._tool_outputs = None, []

    async def models(self) -> list[str]:
        """The names of the models that the server lists. Raises ``EndpointError``."""
        listed = await self.endpoint.http("GET", "/models")
        return [str(entry["id"]) for entry in listed.get("data") or ()]

    def _abort(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    async def close(self) -> None:
        """Close the socket in good order."""
        if self._socket is not None:
            await self._socket.close()
