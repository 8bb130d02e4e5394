"""The clients of one round: they ask, listen, follow, poll, cancel and leave.

Rule 1: a server that is away is no news: the next one is asked, and a reader goes on from where it
was. Rule 2: whatever no client may ever be told is noted as a problem at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import aiohttp
import orjson

from faults.trace import Heard, Json, Trace

AWAY = (aiohttp.ClientError, OSError, TimeoutError)
RETRY_SECONDS = 0.1
POLL_SECONDS = 5.0
LEAVES, CANCELS, CHAINS, BACKGROUND = 0.12, 0.12, 0.25, 0.3
FOLLOWS, POLLS = 0.6, 0.5
CALM = aiohttp.ClientTimeout(total=POLL_SECONDS)
ENDLESS = aiohttp.ClientTimeout(total=None)
# What a create may be answered instead of a response.
REFUSALS = ("store_unavailable", "previous_response_not_found", "previous_response_in_progress")


class Clients:
    """All clients of a round. ``traces`` is what they saw."""

    def __init__(
        self, urls: Sequence[str], models: Sequence[str], session: aiohttp.ClientSession, name: str
    ) -> None:
        self.traces: list[Trace] = []
        self._urls = urls
        self._models = models
        self._session = session
        self._name = name
        self._companions: set[asyncio.Task[None]] = set()

    async def ask(self, number: int, dice: random.Random) -> None:
        """One response, by whatever way the die says; returns when its client is done with it."""
        parents = [trace for trace in self.traces if _can_go_on(trace)]
        is_background = dice.random() < BACKGROUND
        trace = Trace(
            tag=f"{self._name}.{number}.",
            kind="background" if is_background else "socket",
            model=dice.choice(self._models),
            server=dice.randrange(len(self._urls)),
            began=time.monotonic(),
            parent=dice.choice(parents) if parents and dice.random() < CHAINS else None,
        )
        self.traces.append(trace)
        await (self._post(trace, dice) if is_background else self._talk(trace, dice))

    async def companions_end(self, seconds: float) -> None:
        """Return when all readers are done; those that are not in time are ended."""
        if self._companions:
            await asyncio.wait(self._companions, timeout=seconds)
        late = [task for task in self._companions if not task.done()]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in self._companions - set(late):
            task.result()  # a client that crashed has seen nothing

    async def get(self, server: int, path: str) -> tuple[int, bytes]:
        """Status and body of one GET."""
        url = f"{self._urls[server]}/v1/responses/{path}"
        async with self._session.get(url, timeout=ENDLESS) as answer:
            return answer.status, await answer.read()

    # Those who ask

    def _body(self, trace: Trace, **more: Any) -> Json:
        body = {"model": trace.model, "input": f"tag {trace.tag}", **more}
        return body | ({"previous_response_id": trace.parent.id} if trace.parent else {})

    async def _talk(self, trace: Trace, dice: random.Random) -> None:
        trace.socket = Heard("the socket")
        leave_at = dice.randrange(2, 30) if dice.random() < LEAVES else None
        socket = await self._connect(trace, dice)
        try:
            async with socket:
                trace.began = time.monotonic()
                await socket.send_json(self._body(trace, type="response.create"))
                await self._listen(trace, socket, dice, leave_at)
        except AWAY:
            pass
        is_answered = trace.socket.has_ended or trace.refusal is not None
        trace.is_cut = not is_answered and not trace.has_left
        if trace.ended is None and trace.socket.has_ended:
            trace.ended = time.monotonic()
        if trace.id and trace.is_cut:  # it comes back, with what it has
            server = dice.randrange(len(self._urls))
            self._begin(self._follow_from(trace, server, trace.socket.last, dice))

    async def _connect(self, trace: Trace, dice: random.Random) -> aiohttp.ClientWebSocketResponse:
        """A socket to the first server that takes it."""
        while True:
            try:
                url = self._urls[trace.server] + "/v1/responses"
                return await self._session.ws_connect(url, max_msg_size=0)
            except AWAY:
                trace.server = dice.randrange(len(self._urls))
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(
        self,
        trace: Trace,
        socket: aiohttp.ClientWebSocketResponse,
        dice: random.Random,
        leave_at: int | None,
    ) -> None:
        heard = trace.socket or Heard("the socket")
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            text = message.data.encode()
            if b'"sequence_number"' not in text:
                self._refused(trace, orjson.loads(text))
                return
            event = heard.hear(text)
            if not trace.id:
                self._known(trace, event["response"]["id"], dice)
            if heard.has_ended:
                return
            if leave_at is not None and heard.last >= leave_at:
                trace.has_left = True
                return

    async def _post(self, trace: Trace, dice: random.Random) -> None:
        body = self._body(trace, background=True)
        url = self._urls[trace.server] + "/v1/responses"
        try:
            async with self._session.post(url, json=body, timeout=ENDLESS) as answer:
                told = orjson.loads(await answer.read())
        except AWAY:
            trace.is_cut = True
            return
        if answer.status == 200:
            self._known(trace, told["id"], dice)
            trace.poll(told, time.monotonic())
        else:
            self._refused(trace, told)

    def _refused(self, trace: Trace, told: Json) -> None:
        trace.refusal = told["error"]
        if trace.refusal.get("code") not in REFUSALS and not _is_lost_parent(trace):
            trace.problems.append(f"it was answered {told}")

    def _known(self, trace: Trace, response_id: str, dice: random.Random) -> None:
        """Its id is known: readers come."""
        trace.id = response_id
        if dice.random() < FOLLOWS or trace.kind == "background":
            for _ in range(dice.choice((1, 1, 2))):
                self._begin(self._follow(trace, dice.randrange(len(self._urls)), _die(dice)))
        if dice.random() < POLLS or trace.kind == "background":
            self._begin(self._poll(trace, _die(dice)))
        if dice.random() < CANCELS:
            self._begin(self._cancel(trace, _die(dice)))

    def _begin(self, body: Coroutine[Any, Any, None]) -> None:
        self._companions.add(asyncio.create_task(body))

    # Those who read along

    async def _follow(self, trace: Trace, server: int, dice: random.Random) -> None:
        """All events, over as many connections as it takes, of either server."""
        seen = trace.socket.last if trace.socket else -1
        await self._follow_from(
            trace, server, dice.choice((-1, dice.randrange(-1, seen + 1))), dice
        )

    async def _follow_from(
        self, trace: Trace, server: int, after: int, dice: random.Random
    ) -> None:
        heard = Heard(f"a follower after {after}", after)
        trace.followers.append(heard)
        while not heard.has_ended:
            try:
                await self._follow_once(trace, server, heard)
            except AWAY:
                server = dice.randrange(len(self._urls))
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_once(self, trace: Trace, server: int, heard: Heard) -> None:
        query = f"{trace.id}?stream=true&starting_after={heard.last}"
        url = f"{self._urls[server]}/v1/responses/{query}"
        was_found = trace.was_found
        async with self._session.get(url, timeout=ENDLESS) as answer:
            if not self._is_readable(trace, answer.status, was_found=was_found):
                return
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    heard.hear(line[6:].rstrip())
                elif line.startswith(b"data: [DONE]") and not heard.has_ended:
                    heard.problems.append(f"{heard.who} was told [DONE] without an end")
                    heard.has_ended = True

    async def _poll(self, trace: Trace, dice: random.Random) -> None:
        while True:
            server = dice.randrange(len(self._urls))
            try:
                if await self._poll_once(trace, server):
                    return
            except AWAY:
                pass
            await asyncio.sleep(dice.uniform(0.1, 0.6))

    async def _poll_once(self, trace: Trace, server: int) -> bool:
        was_found = trace.was_found
        url = f"{self._urls[server]}/v1/responses/{trace.id}"
        async with self._session.get(url, timeout=CALM) as answer:
            body = await answer.read()
        is_readable = self._is_readable(trace, answer.status, was_found=was_found)
        return is_readable and trace.poll(orjson.loads(body), time.monotonic())

    async def _cancel(self, trace: Trace, dice: random.Random) -> None:
        await asyncio.sleep(dice.uniform(0, 2))
        url = f"{self._urls[dice.randrange(len(self._urls))]}/v1/responses/{trace.id}/cancel"
        trace.cancel, was_found = "asked", trace.was_found
        try:
            async with self._session.post(url, timeout=ENDLESS) as answer:
                told = orjson.loads(await answer.read())
        except AWAY:
            return
        if answer.status == 200:
            trace.cancel = told["status"]
        elif answer.status not in (400, 503) and (answer.status != 404 or was_found):
            trace.problems.append(f"cancel was answered {answer.status} {told}")

    def _is_readable(self, trace: Trace, status: int, *, was_found: bool) -> bool:
        """Whether an answer has what was asked for; 503 and, before it was ever found, 404 wait."""
        if status == 200:
            trace.was_found = True
            return True
        if status != 503 and (status != 404 or was_found):
            trace.problems.append(f"it was found before, and now a reader was told {status}")
        return False


def _can_go_on(trace: Trace) -> bool:
    end = trace.socket.end if trace.socket else None
    return end is not None and end["type"] == "response.completed"


def _is_lost_parent(trace: Trace) -> bool:
    return trace.parent is not None and "previous" in str(trace.refusal)


def _die(dice: random.Random) -> random.Random:
    return random.Random(dice.random())  # noqa: S311 - a die that can be thrown again
