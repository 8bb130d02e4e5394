"""Answers leave no rings of objects behind: what is over is freed at once, not by a collection.

The server collects the old only once in many minutes: until then what is in a ring is memory that
grows with every answer.
"""

import asyncio
import gc
import types
from contextlib import contextmanager

import httpx
import pytest
from support.answers import drafts_of
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, ScriptedAnswer, answer, opening
from upstreams.asking import ask, request, target
from upstreams.native import target as native_target
from upstreams.sockets import Accident, FakeSockets

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import FAILED, Draft
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.families import FAMILIES
from ws_bridge.upstream.fallbacks import Fallbacks
from ws_bridge.upstream.http.client import HttpAnswer
from ws_bridge.upstream.http.upstream import DialectAnswer, DialectUpstream
from ws_bridge.upstream.litellm.access import find, http_client
from ws_bridge.upstream.litellm.models import facts_of, family_of
from ws_bridge.upstream.litellm.upstream import LitellmAnswer, LitellmUpstream
from ws_bridge.upstream.sealed_items import SealedItems
from ws_bridge.upstream.websocket.connection import ProviderAddress, ProviderConnection
from ws_bridge.upstream.websocket.upstream import LaneAnswer, WebSocketUpstream

WAYS = [
    *(("dialect", family) for family in ("native", "chat", "sdk", "anthropic", "gemini")),
    *(("litellm", family) for family in ("native", "chat", "anthropic")),
]
# No `SseTap`: the context in which a connection was opened keeps the first, which then has nothing.
ANSWERS = (DialectAnswer, HttpAnswer, LitellmAnswer, LaneAnswer, ScriptedAnswer)
KINDS = (*ANSWERS, httpx.Response, UpstreamError, ProviderConnection)


@contextmanager
def no_collection():
    """Only what nothing points to is freed; yields how many of the kinds there are."""
    gc.collect()
    gc.disable()
    before = {id(one) for one in gc.get_objects() if type(one) in KINDS}
    try:
        yield lambda: [
            type(one).__name__
            for one in gc.get_objects()
            if type(one) in KINDS and id(one) not in before
        ]
    finally:
        gc.enable()


async def until_none(left):
    """Litellm's books, kept aside, may still hold an answer for a moment."""
    async with asyncio.timeout(HANG_SECONDS):
        while left():  # noqa: ASYNC110 - no event marks it
            await asyncio.sleep(0.01)


@pytest.fixture
async def upstreams():
    """Both ways over HTTP, as the router makes them."""
    own_client = http_client()
    await own_client.start()
    dialects = DialectUpstream(
        client=own_client,
        families=FAMILIES,
        family_of=family_of,
        access=find,
        facts=facts_of,
    )
    yield {"dialect": dialects, "litellm": LitellmUpstream()}
    await own_client.close()


@pytest.mark.parametrize(("way", "family"), WAYS)
async def test_an_answer_is_freed_when_it_is_over(fake, upstreams, way, family):
    asked = request(target(fake, family, "text"))
    await ask(asked, upstreams[way])
    with no_collection() as left:
        answer = await ask(asked, upstreams[way])
        assert answer.error is None
        await until_none(left)


@pytest.mark.parametrize(("way", "family"), WAYS)
async def test_an_answer_is_freed_when_it_is_left_in_the_middle(fake, upstreams, way, family):
    await ask(request(target(fake, family, "text")), upstreams[way])
    with no_collection() as left:
        answer = await upstreams[way].open(request(target(fake, family, "slow-text")))
        await answer.read()
        await answer.close()
        del answer
        await until_none(left)


HOW = {"whole": None, "left": None, "lost": Accident(3), "refused": Accident(0, 1011)}


@pytest.mark.parametrize("how", HOW)
async def test_so_is_an_answer_of_a_socket(how):
    with FakeSockets() as fake:
        upstream = WebSocketUpstream()

        async def answered():
            fake.accidents["gpt-text"] += [HOW[how]] if HOW[how] else []
            try:
                answer = await upstream.open(request(native_target(fake)))
                await answer.close() if how == "left" else await drafts_of(answer)
            except UpstreamError as error:
                assert how in ("lost", "refused")
                error.without_traceback()  # as the job keeps it

        await answered()
        with no_collection() as left:
            await answered()
            assert "LaneAnswer" not in left()
        await upstream.stop()


async def test_so_are_the_answer_and_the_error_of_a_target_that_failed():
    failed = Draft(FAILED, {"response": {"error": {"code": "server_error"}}})
    scripted = Scripted([*opening(), failed], answer("x"))
    candidates = [[Target("m", "openai/a"), Target("m", "openai/b")]]
    fallbacks = Fallbacks(scripted, lambda _: candidates, SealedItems(), Clock())
    with no_collection() as left:
        answered = await fallbacks.open(request(candidates[0][0]))
        assert [tried.outcome for tried in answered.tried] == ["502", "answers"]
        scripted.answers.clear()
        assert left() == ["ScriptedAnswer"]
        await answered.close()


async def test_a_connection_that_could_not_be_opened_is_freed():
    with no_collection() as left:
        connection = ProviderConnection(
            ProviderAddress("ws://127.0.0.1:9/v1/responses", "", 1), lambda: 0.0
        )
        await connection.start()
        assert not connection.is_open
        del connection
        await until_none(left)


def test_an_error_alone_knows_nothing_of_what_led_to_it():
    def fail():
        try:
            int("x")
        except ValueError:
            raise UpstreamError("words", status=401) from None

    with pytest.raises(UpstreamError) as caught:
        fail()
    error = caught.value
    assert isinstance(error.__traceback__, types.TracebackType)
    assert error.without_traceback() is error
    assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)
    assert (error.message, error.status) == ("words", 401)
