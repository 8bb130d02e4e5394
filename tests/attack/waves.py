"""What the attacker does: each wave a bounded number of requests, all at once, by one key.

Rule 1: what is refused for now (429, 503) was an attack too; the first asks until it is let.
Rule 2: a wave judges nothing. It counts its answers, by its name and their status.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import orjson
from server.test_sealed import bomb
from support.hang import HANG_SECONDS
from support.raw_client import request
from support.slow_reader import SlowReader

from attack.provider import Hostile

Json = dict[str, Any]
Counts = Counter[tuple[str, int | str]]

MIB = 2**20
TOKENS, RESPONSES = "/v1/responses/input_tokens", "/v1/responses"
LARGE = 20_000_000  # bytes
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
CUT = "cut"  # the server closed the connection before its answer was read

# A large request of a key waits for the one before; a limit only ends what hangs.
PATIENCE_SECONDS = 3 * HANG_SECONDS

BOMBS = 10_000
ITEMS = 120_000
ADDED, PARTS = 5, 20  # additions to a conversation, and items in each
PART_BYTES = 300_000
COUNTED = 20
STORED = 3
UNSTORED = 5
FOLLOWERS = 300
ENDLESS = 2  # of each kind and family
WORDS = 16
LISTS = 1
UNREAD = 10


class Attacker:
    """One key's client. ``counts`` says how often each wave was answered with what."""

    def __init__(self, url: str, key: str, provider: Hostile) -> None:
        self.counts: Counts = Counter()
        self._url = url
        self._bearer = f"Bearer {key}"
        self._provider = provider
        dice = random.Random(11)  # noqa: S311 - a die that can be thrown again
        self._text = dice.randbytes(LARGE // 2).hex()  # it does not pack

    async def strike(self) -> None:
        """All waves at once, to their ends."""
        # Of a request that is refused before its body has come, aiohttp's client may use the
        # connection again while it still sends that body.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        headers = {"Authorization": self._bearer}
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers
        ) as self._session:
            await asyncio.gather(*(wave(self) for wave in WAVES))

    # 5

    async def seals(self) -> None:
        """Thousands of seals that would unfold to a MiB each."""
        bombs = [bomb(number) for number in range(100)] * (BOMBS // 100)
        fields = {"model": "bad-chat-plain", "input": bombs}
        for path in (TOKENS, RESPONSES, f"{RESPONSES}/compact"):
            await self._insist("seals", path, json.dumps(fields))
        await self._turn("seals", **fields)

    # 6

    async def conversations(self) -> None:
        """A conversation as large as it gets, read again and again."""
        _, made = await self._insist("conversations", "/v1/conversations", "{}")
        path = f"/v1/conversations/{made['id']}/items"
        added = json.dumps({"items": [self._message(PART_BYTES)] * PARTS})
        for _ in range(ADDED + 1):
            await self._insist("conversation items", path, added)
        reads = [f"{path}?limit=100&order={order}" for order in ("asc", "desc")] * 5
        await asyncio.gather(*(self._ask("conversation reads", "GET", one) for one in reads))
        fields = {"model": "bad-chat-plain", "conversation": made["id"]}
        turn = json.dumps({**fields, "input": [self._message(PART_BYTES)]})
        await self._insist("conversation turns", RESPONSES, turn)

    # 7

    async def counts_of_tokens(self) -> None:
        """Large inputs to be counted, all at once."""
        asked = json.dumps({"model": "bad-chat-plain", "input": self._text})
        await self._many("tokens", TOKENS, [asked] * COUNTED)

    async def stored_and_deleted(self) -> None:
        """Large responses that are stored, asked for without a read, and deleted."""
        asked = json.dumps({"model": "bad-chat-plain", "input": self._text})
        for number in range(STORED):
            _, made = await self._insist("stored", RESPONSES, asked)
            path = f"{RESPONSES}/{made['id']}"
            if number == 0:
                await self._unread("inputs unread", f"{path}/input_items", self._bearer)
            await self._ask("deletions", "DELETE", path)

    async def unstored_turns(self) -> None:
        """Large turns that sockets remember."""
        fields = {"model": "bad-chat-plain", "input": self._text, "store": False}
        await asyncio.gather(*(self._turn("unstored", **fields) for _ in range(UNSTORED)))

    async def followers(self) -> None:
        """Hundreds of readers of one response that does not end before all have asked."""
        asked = json.dumps({"model": "bad-chat-gate", "input": "go", "background": True})
        _, made = await self._insist("followed", RESPONSES, asked)
        path = f"{RESPONSES}/{made['id']}?stream=true"
        answered = asyncio.Semaphore(0)
        following = [asyncio.create_task(self._follow(path, answered)) for _ in range(FOLLOWERS)]
        for _ in following:
            await answered.acquire()
        self._provider.gate.set()
        await asyncio.gather(*following)

    async def endless_answers(self) -> None:
        """Providers that do not stop: error bodies, and deltas of each dialect."""
        for _ in range(ENDLESS):
            for family in ("native", "chat", "anthropic"):
                for kind in ("error", "deltas"):
                    asked = {"model": f"bad-{family}-{kind}", "input": "go"}
                    await self._insist(kind, RESPONSES, json.dumps(asked))

    # 8

    async def hostile_words(self) -> None:
        """Errors that no pattern likes."""
        for number in range(WORDS):
            asked = {"model": f"bad-chat-words{number}", "input": "go"}
            await self._insist("words", RESPONSES, json.dumps(asked))

    async def many_items(self) -> None:
        """As many items as fit."""
        fields = {"model": "bad-chat-plain", "input": [{"role": "user", "content": "hi"}] * ITEMS}
        asked = json.dumps(fields | {"store": False})
        for _ in range(LISTS):
            for path in (TOKENS, RESPONSES):
                await self._insist("items", path, asked)
        await self._turn("items", **fields, store=False)

    # 9

    async def unread_files(self) -> None:
        """One request for a file after the other, without a key and without a read."""
        asked = (self._unread("files unread", "/static/chat.js") for _ in range(UNREAD))
        await asyncio.gather(*asked)

    # How it asks

    def _message(self, size: int) -> Json:
        return {"role": "user", "content": self._text[:size]}

    async def _many(self, wave: str, path: str, bodies: Sequence[str]) -> None:
        asked = [self._ask(wave, "POST", path, body) for body in bodies[1:]]
        await asyncio.gather(self._insist(wave, path, bodies[0]), *asked)

    async def _insist(self, wave: str, path: str, body: str) -> tuple[int | str, Json]:
        """Ask until it is let."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                status, told = await self._ask(wave, "POST", path, body)
                if status not in (429, 503, CUT):
                    return status, told
                await asyncio.sleep(1)  # as `Retry-After` says

    async def _ask(
        self, wave: str, method: str, path: str, body: str | None = None
    ) -> tuple[int | str, Json]:
        url, headers = self._url + path, {"Content-Type": "application/json"}
        status: int | str = CUT
        told: Json = {}
        with contextlib.suppress(aiohttp.ClientConnectionError, ConnectionError):
            async with self._session.request(method, url, data=body, headers=headers) as got:
                told = orjson.loads(await got.read())
                status = got.status
        if status == 200 and told.get("error"):
            status = "failed"
        self.counts[wave, status] += 1
        return status, told

    async def _turn(self, wave: str, **fields: Any) -> None:
        """A turn on a socket of its own, asked until it is let."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (status := await self._end_of_turn(fields)) == "429":
                self.counts[wave, 429] += 1
                await asyncio.sleep(1)
        self.counts[wave, status] += 1

    async def _end_of_turn(self, fields: Json) -> str:
        url = self._url + RESPONSES
        async with self._session.ws_connect(url, max_msg_size=0) as socket:
            await socket.send_str(json.dumps({"type": "response.create", **fields}))
            async for message in socket:
                event = orjson.loads(message.data)
                if event["type"] in TERMINALS:
                    return str(event.get("status") or event["type"])
        return CUT

    async def _follow(self, path: str, answered: asyncio.Semaphore) -> None:
        async with self._session.get(self._url + path) as got:
            answered.release()
            text = await got.read()
        is_whole = b"[DONE]" in text
        status = got.status if got.status != 200 else 200 if is_whole else CUT
        self.counts["followers", status] += 1

    async def _unread(self, wave: str, path: str, bearer: str = "") -> None:
        """Ask again and again, and read nothing, until the server lets go of the connection."""
        headers = {"Host": "localhost"} | ({"Authorization": bearer} if bearer else {})
        line = await SlowReader.open(self._url, path, *(f"{k}: {v}" for k, v in headers.items()))
        more = request("GET", path, headers)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionError):
                while True:
                    await line.send(more)
        line.close()
        self.counts[wave, "let go"] += 1


WAVES: Sequence[Callable[[Attacker], Awaitable[None]]] = (
    Attacker.seals,
    Attacker.conversations,
    Attacker.counts_of_tokens,
    Attacker.stored_and_deleted,
    Attacker.unstored_turns,
    Attacker.followers,
    Attacker.endless_answers,
    Attacker.hostile_words,
    Attacker.many_items,
    Attacker.unread_files,
)
