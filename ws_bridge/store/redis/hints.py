"""What other servers tell this one: a subscription that is kept alive.

Rule: a hint carries no data and may be lost; whoever listens is told when that may have happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from redis.asyncio.client import PubSub

from ws_bridge.store.redis.connect import AWAY, RedisAddress, connect

log = logging.getLogger(__name__)

PROBE_SECONDS = 10.0  # of silence
ANSWER_SECONDS = 5.0
PAUSE_SECONDS = 0.25

Hint = tuple[str, str]
MISSED: Hint = ("", "")


async def listen(place: RedisAddress, channel: str) -> AsyncIterator[Hint]:
    """(kind, id) of every message for ever; ``MISSED`` after each (re)connection."""
    was_away = False
    while True:
        client = connect(place, listens=True)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await client.initialize()  # of a cluster: where its slots are
                pubsub = client.pubsub()
                await pubsub.subscribe(channel)
            async for hint in _messages(pubsub):
                if was_away:
                    log.info("hints_back")
                was_away = False
                yield hint
        except (*AWAY, KeyError) as failure:  # KeyError: the channel's slot is nobody's now
            if not was_away:
                log.warning("hints_away reason=%s", type(failure).__name__)
            was_away = True
        finally:
            await client.aclose()
        await asyncio.sleep(PAUSE_SECONDS)


async def _messages(pubsub: PubSub) -> AsyncIterator[Hint]:
    """Hints until the subscription is found dead."""
    patience = PROBE_SECONDS
    while True:
        message = await pubsub.get_message(timeout=patience)
        if message is None:
            if patience == ANSWER_SECONDS:
                raise TimeoutError
            await pubsub.ping()
            patience = ANSWER_SECONDS
            continue
        patience = PROBE_SECONDS
        if message["type"] == "subscribe":  # from now on, and not from when it was asked for
            yield MISSED
        elif message["type"] == "message":
            text = message["data"].decode()
            yield text[:1], text[1:]
