"""A turnstile: of many that come at once, one goes through in each round of the event loop.

Beginning a response costs milliseconds in one piece. Two hundred that begin at once would be one
round of the loop, and whoever streams meanwhile would hear nothing for all of that time. So they
begin one after the other, and between any two of them everybody else has a turn.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """``await turnstile.enter()`` before a costly piece of work; first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    async def enter(self) -> None:
        """Return at once where nobody else came in this round, else in a round of its own."""
        loop = asyncio.get_running_loop()
        if not self._is_turning:
            self._is_turning = True
            loop.call_soon(self._turn)
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        """Let the next one through that has not given up."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                turn.get_loop().call_soon(self._turn)
                return
        self._is_turning = False
