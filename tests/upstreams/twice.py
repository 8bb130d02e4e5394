"""A stream read twice by the real litellm: whole, and without the frames that a reader takes.

Compared are the drafts, the end or the error, and litellm's own books: the answer it assembled for
its logs, its usage, the text it holds for a fallback, its test for a truncated stream.
"""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import litellm
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from openai import AsyncOpenAI
from support.hang import HANG_SECONDS

from ws_bridge.protocol.output.chat import ChatTranslator, Chunk
from ws_bridge.upstream.dialects import reader_of
from ws_bridge.upstream.errors import classify
from ws_bridge.upstream.litellm import client as litellm_client
from ws_bridge.upstream.litellm import tap
from ws_bridge.upstream.litellm.chunks import chunk_of
from ws_bridge.upstream.profiles import profile_of

HELLO = [{"role": "user", "content": "hi"}]


class Wire(httpx.AsyncByteStream):
    """What the provider sends from now on: the frames one by one, then the end or a failure."""

    def __init__(self, frames=(), failure=None):
        self.frames = frames
        self.failure = failure
        self.real = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for frame in self.frames:
            yield frame
        if self.failure is not None:
            raise self.failure

    async def aclose(self):
        if self.real is not None:
            await self.real.aclose()


class Provider:
    """Litellm in front of a loopback provider whose answer's bytes can be exchanged."""

    def __init__(self, fake):
        self._fake = fake
        self._wire = None
        hooks = {"response": [self._hook]}
        self._client = AsyncHTTPHandler(event_hooks=hooks)
        self._sdk = httpx.AsyncClient(event_hooks=hooks)

    async def _hook(self, response):
        if self._wire is not None:
            self._wire.real, response.stream = response.stream, self._wire
        await tap.hook(response)

    def _access(self, model):
        base = self._fake.base_url + ("" if model.startswith("anthropic/") else "/v1")
        if profile_of(model.partition("/")[0]).takes_client:
            return {"api_base": base, "client": self._client}
        client = AsyncOpenAI(api_key="x", base_url=base, http_client=self._sdk, max_retries=0)
        return {"api_base": base, "client": client}

    async def ask(self, model, wire=None, **options):
        """Litellm's stream, and the tap in it."""
        self._wire = wire
        stall = 0.5 if "stall" in model else HANG_SECONDS
        with tap.catching() as catch:
            opened = await litellm.aresponses(
                model=model,
                input="hi",
                stream=True,
                api_key="x",
                max_retries=0,
                timeout=httpx.Timeout(stall),
                **self._access(model),
                **options,
            )
        return litellm_client.chat_stream(opened), catch.tap

    async def record(self, model):
        """What the provider sends in that scenario."""
        frames, failure = [], None
        try:
            stream, caught = await self.ask(model)
        except Exception:  # noqa: BLE001 - refused before the stream, or lost before its head
            return Wire()
        try:
            async for read in caught.frames():
                frames += read
        except httpx.HTTPError as lost:
            failure = lost
        await stream.aclose()
        return Wire(frames, failure)

    async def close(self):
        await self._client.close()
        await self._sdk.aclose()


@dataclass
class Telling:
    """What became of one stream."""

    drafts: list
    error: tuple | None
    books: dict
    provider: str  # as litellm calls it
    taken: int = 0


async def read(provider, model, wire, reader, **options):
    """One stream, with a reader or without."""
    stream, caught = await provider.ask(model, Wire(wire.frames, wire.failure), **options)
    ids = itertools.count()
    translator = ChatTranslator(mint=lambda prefix: f"{prefix}_{next(ids)}")
    said = Telling([], None, {}, stream.custom_llm_provider)
    try:
        async for chunk in stream if reader is None else _taken(stream, caught, reader):
            is_ours = isinstance(chunk, Chunk)
            said.taken += is_ours
            said.drafts += translator.take(chunk if is_ours else chunk_of(chunk))
    except Exception as failure:  # noqa: BLE001 - whatever litellm raises is compared
        told = classify(failure)
        said.error = (told.status, told.code, told.message)
    said.drafts += translator.finish()
    said.books = _books(stream)
    await stream.aclose()
    return said


async def _taken(stream, caught, reader):
    """As a source that is no test would: what is taken, and what litellm makes of the rest."""
    fed = tap.Fed(stream, caught)

    async def judged(frame):
        if (owed := reader.owed()) and not fed.is_over:
            await fed.feed(owed)
        return [] if fed.is_over or frame is None else await fed.feed(frame)

    lost = None
    frames = caught.frames()
    try:
        async for each in frames:
            for frame in each:
                if not fed.is_over and (taken := reader.take(frame)) is not None:
                    yield taken
                    continue
                for chunk in await judged(frame):
                    yield chunk
    except httpx.HTTPError as failure:
        lost = failure
    await judged(None)
    for chunk in await fed.finish(lost):
        yield chunk
    fed.check()


def _books(stream):
    """What litellm has noted of a stream."""
    whole = litellm.stream_chunk_builder(stream.chunks, messages=HELLO)
    answer = {} if whole is None else whole.model_dump(exclude={"id", "created"})
    for choice in answer.get("choices", ()):  # there it has the last fragment only, of any size
        choice["message"].get("provider_specific_fields", {}).pop("thinking_blocks", None)
        for name in [name for name, value in choice.items() if value is None]:
            choice.pop(name)  # a null says nothing
    return {
        "answer": answer,
        "held": stream.response_uptil_now,
        "truncated": litellm_client.is_truncated(stream),
        "fingerprint": stream.system_fingerprint,
    }


async def both(provider, model, wire, **options):
    """The stream read both ways, found equal; how many frames were taken."""
    slow = await read(provider, model, wire, None, **options)
    fast = await read(provider, model, wire, reader_of(profile_of(slow.provider).reader), **options)
    assert fast.drafts == slow.drafts
    assert (fast.error, fast.books) == (slow.error, slow.books)
    return fast.taken
