"""The provider that helps the attacker: endless errors, endless deltas, hostile words, and a gate.

What it does stands in the model's name; any other name is answered with a short text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable

from upstream.test_errors import LONG
from upstream.test_provider_faults import (
    ERROR,
    HEAD,
    Endless,
    RawProvider,
    deltas,
    endless,
    refusal,
    spelled,
)

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

MIB = 2**20
LENGTHS = (16 * 1024, 32 * 1024)  # of hostile words
MOST_BYTES = 256 * MIB  # what is endless ends there if nobody lets go of it before
FAMILIES = {"chat/completions": "chat", "messages": "anthropic", "responses": "native"}
MODEL = re.compile(rb'"model": ?"([^"]*)"')


class Hostile(RawProvider):
    """``async with Hostile() as provider``; ``gate`` holds the streams of ``gate`` models.

    ``endless`` are the answers without an end, and how much each was let say.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.gate = asyncio.Event()
        self.endless: list[Endless] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1]) if length else 0)
            await self._answer(head.split(b" ", 2)[1].decode(), body)(writer)
        writer.close()

    def _answer(self, path: str, body: bytes) -> Answer:
        family = next((name for end, name in FAMILIES.items() if path.endswith(end)), "")
        found = MODEL.search(body)
        if not family or not found:
            return refusal(404, "{}")
        model = found[1].decode()
        if "words" in model:
            number = int(model.rpartition("words")[2])
            words = [*LONG.values()][number % len(LONG)][: LENGTHS[number % 2]]
            return refusal(400, json.dumps({"error": {"message": words, "code": words}}))
        if "error" in model:
            return self._endless(endless(400, "application/json", ERROR, MOST_BYTES))
        if "deltas" in model:
            begin, more = deltas(family)
            return self._endless(Endless(more, MOST_BYTES, begin=begin))
        return self._gated(family) if "gate" in model else self._whole(family)

    def _endless(self, answer: Endless) -> Answer:
        self.endless.append(answer)
        return answer

    def _whole(self, family: str) -> Answer:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"\r\n" + spelled(family))
            await writer.drain()

        return answer

    def _gated(self, family: str) -> Answer:
        """All but the end, and that when the gate is open."""
        text = spelled(family)

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"\r\n" + text[: len(text) // 2])
            await self.gate.wait()
            writer.write(text[len(text) // 2 :])
            await writer.drain()

        return answer
