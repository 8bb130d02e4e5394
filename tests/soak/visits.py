"""The clients: what each kind does with the bridges, and checks of what it gets.

Rule: a visit leaves nothing open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import orjson
from faults.trace import RANKS, Heard, Json

from soak.answers import Answer, whole
from soak.asking import (
    ENDLESS,
    POLL_SECONDS,
    Caller,
    agree,
    create,
    hear,
    listen,
    narrow,
    none_of,
    reset,
    text_of_frame,
)

FAST = ("native-big300", "chat-big150", "anthropic-text", "anthropic-thinking-text")
SLOW = ("native-slow-big40", "chat-slow-big40", "anthropic-slow-text")
LONG = ("native-slow-big600", "chat-slow-big600")  # longer than a cancel can take to come
BROKEN = ("native-err500", "chat-drop-big20", "native-drop-big20", "anthropic-err529-text")
LANES = 4
NONSENSE: tuple[str | bytes, ...] = (
    *("", "nonsense", "[]", "null", '"text"', "{}", '{"type":"response.nothing"}', b"\x00\x01"),
    '{"type":"response.create","model":7,"input":"x"}',
    '{"type":"response.create","model":"nobody-serves-this","input":"x"}',
)


class Visitor(Caller):
    """One client, of any kind."""

    # Sockets

    async def chain(self) -> None:
        """Three turns that go on from each other, whoever answers; the last is read elsewhere."""
        async with self._socket() as ws:
            parent: Json = {}
            for _ in range(3):
                answer = await self._turn(ws, self._dice.choice(FAST), **parent)
                parent = {"previous_response_id": answer.id}
        agree(await self._final(answer.id) == answer.response, "elsewhere it reads otherwise")

    async def unstored(self) -> None:
        """Turns that nobody keeps, on a socket that remembers them."""
        async with self._socket() as ws:
            parent: Json = {}
            for _ in range(3):
                answer = await self._turn(ws, self._dice.choice(FAST), store=False, **parent)
                parent = {"previous_response_id": answer.id}
        status, _ = await self._ask("GET", answer.id)
        agree(status == 404, f"what is not stored was found: {status}")

    async def lanes(self) -> None:
        """Several lanes of one socket at once."""
        async with self._socket() as ws:
            models = [self._dice.choice(FAST + SLOW) for _ in range(LANES)]
            lanes = {f"lane-{n}": Answer(model) for n, model in enumerate(models)}
            for lane, answer in lanes.items():
                await create(ws, answer.model, stream_id=lane)
            while not all(answer.is_over for answer in lanes.values()):
                text = await text_of_frame(ws)
                hear(lanes[orjson.loads(text)["stream_id"]], text)
        for answer in lanes.values():
            self._check(answer)

    async def cancel(self) -> None:
        """A turn that is cancelled in mid-stream, at the other server or on the socket."""
        async with self._socket() as ws:
            answer = Answer(self._dice.choice(LONG))
            await create(ws, answer.model)
            await listen(ws, answer, until=self._dice.randrange(1, 20))
            if self._dice.random() < 0.5:
                await self._insist(lambda: self._ask("POST", f"{answer.id}/cancel"))
            else:
                await ws.send_json({"type": "response.cancel", "response_id": answer.id})
            await listen(ws, answer)
            self._check(answer, "cancelled")

    async def leave(self) -> None:
        """The client is gone in mid-stream; what is stored goes on, and is read elsewhere."""
        answer, store = Answer(self._dice.choice(SLOW)), self._dice.random() < 0.7
        async with self._socket() as ws:
            await create(ws, answer.model, store=store)
            await listen(ws, answer, until=self._dice.randrange(2, 8))
            if self._dice.random() < 0.5:
                reset(ws)
        if store and not answer.is_over:
            none_of(whole(await self._final(answer.id), answer.model))
            self.answers += 1

    async def read_slowly(self) -> None:
        """A long answer, read with rests."""
        async with self._socket() as ws:
            answer = Answer("native-big2000")
            await create(ws, answer.model)
            while not answer.is_over:
                await listen(ws, answer, until=answer.heard.last + 400)
                await asyncio.sleep(0.2)
            self._check(answer)

    async def read_nothing(self) -> None:
        """A long answer that is never read; it is whole elsewhere."""
        connector = aiohttp.TCPConnector(socket_factory=narrow)
        session = aiohttp.ClientSession(connector=connector)
        async with session, self._socket(session) as ws:
            answer = Answer("native-big6000")
            await create(ws, answer.model)
            await listen(ws, answer, until=0)
            await asyncio.sleep(self._dice.uniform(2, 6))
            reset(ws)
        none_of(whole(await self._final(answer.id), answer.model))
        self.answers += 1

    async def talk_nonsense(self) -> None:
        """Frames that no client should send are each answered with an error; turns go on."""
        async with self._socket() as ws:
            for frame in self._dice.sample(NONSENSE, 4):
                await (ws.send_bytes(frame) if isinstance(frame, bytes) else ws.send_str(frame))
                told = orjson.loads(await text_of_frame(ws))
                agree(told["type"] == "error", f"{frame!r} was answered {told}")
            await self._turn(ws, self._dice.choice(FAST))

    async def fail(self) -> None:
        """Providers that refuse, or break off: one end, which says so."""
        async with self._socket() as ws:
            answer = Answer(self._dice.choice(BROKEN))
            await create(ws, answer.model)
            await listen(ws, answer)
            if answer.refusal is None:
                self._check(answer, "failed")

    async def idle(self) -> None:
        """A socket on which nothing is asked."""
        async with self._socket() as ws:
            await asyncio.sleep(self._dice.uniform(0, 3))
            await ws.ping()
            if self._dice.random() < 0.3:
                reset(ws)

    # HTTP

    async def stream(self) -> None:
        """POST with a stream; some leave it."""
        answer = Answer(self._dice.choice(FAST + SLOW))
        body = {"model": answer.model, "input": "go", "stream": True}
        leaves = self._dice.random() < 0.2
        async with self._session.post(self._at(), json=body, timeout=ENDLESS) as got:
            async for line in got.content:
                if line.startswith(b"data: {"):
                    hear(answer, line[6:].rstrip())
                if leaves and answer.heard.last > 4:
                    return
        self._check(answer)

    async def background(self) -> None:
        """A background response, polled at both servers."""
        model = self._dice.choice(FAST + SLOW)
        response_id = await self._begin(model)
        response, rank = {}, 0
        while rank < 2:
            response = await self._get(response_id)
            agree(rank <= RANKS.get(response["status"], 2), f"back to {response['status']}")
            rank = RANKS.get(response["status"], 2)
            self._url, self._other = self._other, self._url
            await asyncio.sleep(self._dice.uniform(*POLL_SECONDS))
        none_of(whole(response, model))
        self.answers += 1

    async def follow(self) -> None:
        """Followers of a background response; one comes, leaves and comes back."""
        model = self._dice.choice(SLOW)
        response_id = await self._begin(model)
        heard = [Heard(f"follower {n}") for n in range(3)]
        await self._follow(response_id, heard[0], until=self._dice.randrange(2, 12))
        await asyncio.gather(*(self._follow(response_id, each) for each in heard))
        none_of(problem for each in heard for problem in each.problems)
        agree(all(each.has_ended for each in heard), "a follower never heard the end")
        agree(len({tuple(each.texts.items()) for each in heard}) == 1, "followers disagree")
        none_of(whole((heard[0].end or {})["response"], model))
        self.answers += 1

    async def delete(self) -> None:
        """What is deleted is gone at once, everywhere."""
        async with self._socket() as ws:
            answer = await self._turn(ws, self._dice.choice(FAST))
        status, _ = await self._ask("DELETE", answer.id)
        gone, _ = await self._ask("GET", answer.id)
        agree((status, gone) == (200, 404), f"a delete and a look: {status}, {gone}")

    async def ask_nonsense(self) -> None:
        """Requests that cannot be answered."""
        for method, path in (("GET", "resp_unknown"), ("POST", "resp_no/cancel")):
            status, told = await self._ask(method, path)
            agree(status == 404 and "error" in told, f"{path} was answered {status} {told}")
        async with self._session.post(self._at(), data=b"{nonsense") as got:
            agree(got.status == 400, f"nonsense was answered {got.status}")


# Of a hundred visits, how many are of each kind.
KINDS: dict[Callable[[Visitor], Awaitable[None]], int] = {
    Visitor.chain: 12,
    Visitor.unstored: 10,
    Visitor.lanes: 6,
    Visitor.cancel: 8,
    Visitor.leave: 10,
    Visitor.read_slowly: 3,
    Visitor.read_nothing: 3,
    Visitor.talk_nonsense: 6,
    Visitor.fail: 6,
    Visitor.idle: 12,
    Visitor.stream: 8,
    Visitor.background: 6,
    Visitor.follow: 4,
    Visitor.delete: 3,
    Visitor.ask_nonsense: 3,
}
