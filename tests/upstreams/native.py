"""Turns over a provider's own WebSocket: a target, a conversation, an error frame, a clock."""

import asyncio
import itertools
import json
from dataclasses import dataclass, replace

from upstreams.asking import HELLO, KEY, ask, request
from ws_bridge.clock import Clock
from ws_bridge.protocol.events import LIFECYCLE
from ws_bridge.protocol.history import Turn
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

AGAIN = {"type": "message", "role": "user", "content": "and again"}
IDS = itertools.count()


class TurnedClock:
    """A clock that the test advances; ``pauses`` are the sleeps that were asked for."""

    def __init__(self):
        self.now = 1000.0
        self.pauses = []
        self.waiting = asyncio.Event()
        self._turned = asyncio.Event()

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        self.waiting.set()
        until = self.now + seconds
        while self.now < until:
            await self._turned.wait()

    def advance(self, seconds):
        self.now += seconds
        self.waiting.clear()
        self._turned.set()
        self._turned = asyncio.Event()

    @property
    def clock(self):
        return Clock(monotonic=lambda: self.now, sleep=self.sleep)


def target(fake, scenario="text", **more):
    """A target on the fake provider that is not asked twice."""
    given = {"api_base": fake.base_url + "/v1", "api_key": KEY, "retries": 0, "ws_reconnects": 0}
    return Target(name="m", model="openai/gpt-" + scenario, **(given | more))


@dataclass
class Talk:
    """A conversation: each turn continues the one before."""

    upstream: WebSocketUpstream
    target: Target
    parent: Turn | None = None
    store: bool = False

    async def ask(self, item=HELLO, **options):
        wanted = request(self.target, item, parent=self.parent, **options)
        wanted = replace(wanted, response_id=f"resp_ours{next(IDS)}", store=self.store)
        result = await ask(wanted, self.upstream)
        if result.error is None:
            made = (wanted.response_id, (item,), result.output, self.target.maker)
            self.parent = Turn(*made, parent=self.parent)
        return result


def error_frame(status, code, kind="invalid_request_error", **more):
    """An error event as OpenAI sends it."""
    error = {"type": kind, "code": code, "message": f"because of {code}", "param": None}
    return {"type": "error", "status": status, "error": error | more}


def passed_on(sent):
    """The texts that the drafts of these frames have: a response object's is the bridge's own."""
    return [b"" if is_lifecycle(text) else text for text in sent]


def is_lifecycle(text):
    return json.loads(text)["type"] in LIFECYCLE


def texts_of(drafts):
    """The providers' own bytes of these drafts."""
    return [draft.text for draft in drafts]
