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
from support.hang import HANG_SECONDS
from upstreams.asking import ask, request, target

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.litellm.tap import Fed
from ws_bridge.upstream.litellm.upstream import LitellmAnswer, LitellmUpstream
from ws_bridge.upstream.websocket.connection import ProviderAddress, ProviderConnection

THREE = ("native", "chat", "anthropic")
# No `Tap`: the context in which a connection was opened keeps the first, which then has nothing.
KINDS = (LitellmAnswer, Fed, httpx.Response, UpstreamError, ProviderConnection)


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


@pytest.mark.parametrize("family", THREE)
async def test_an_answer_is_freed_when_it_is_over(fake, family):
    await ask(request(target(fake, family, "text")))
    with no_collection() as left:
        answer = await ask(request(target(fake, family, "text")))
        assert answer.error is None
        await until_none(left)


@pytest.mark.parametrize("family", THREE)
async def test_an_answer_is_freed_when_it_is_left_in_the_middle(fake, family):
    await ask(request(target(fake, family, "text")))
    with no_collection() as left:
        answer = await LitellmUpstream().open(request(target(fake, family, "slow-text")))
        await answer.read()
        await answer.close()
        del answer
        await until_none(left)


async def test_litellm_is_not_asked_about_what_follows_a_native_end(fake, monkeypatch):
    """It saw no end, so it would take the provider's `[DONE]` for a failure of the stream."""
    fed = []
    monkeypatch.setattr(Fed, "feed", lambda _, frame: fed.append(frame))
    answer = await ask(request(target(fake, "native", "text")))
    assert (answer.error, fed) == (None, [])


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
