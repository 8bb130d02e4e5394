"""Whether the store's server is there, is fit, and has been there for long enough.

Rule: an outage makes every lease look overdue, and so does a time without room for writes. After
one, and after the server's own start, nothing is claimed before the owners had a whole lease's time
to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable

from ws_bridge.errors import ConfigError, StoreUnavailable
from ws_bridge.store.base import KEY_BYTES, Unreadable
from ws_bridge.store.redis.cipher import NotDecrypted
from ws_bridge.store.redis.codec import CODEC, Codec
from ws_bridge.store.redis.connect import AWAY, Client, examine
from ws_bridge.store.redis.keys import PREFIX, lease_index
from ws_bridge.store.redis.scripts import KEEP, OVERDUE, Scripts

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
KEY = f"{PREFIX}:key"
KEY_MS = 400 * 86_400_000  # after the last start of a server
TRIAL = f"{PREFIX}:trial"  # written and forgotten


class StoreHealth:
    """One server, looked at. ``now`` is monotonic, in seconds."""

    def __init__(
        self,
        client: Client,
        scripts: Scripts,
        lease_seconds: float,
        now: Callable[[], float],
        codec: Codec = CODEC,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._lease_seconds = lease_seconds
        self._now = now
        self._codec = codec
        self._claims_from = 0.0
        self._was_away = False
        self.key = b""  # see ``Store``
        self.is_known = False  # the server was asked what it is, and is fit

    async def look(self) -> None:
        """Ask the server what it is; one that is away is no error. Raises ``ConfigError``."""
        try:
            health = await examine(self._client)
            await self._scripts.load()
        except AWAY as away:
            self._scripts.breaker.failed(away)
            self._was_away = True
            log.warning("store_unreachable reason=%s: responses go on unstored", _name(away))
            return
        self._scripts.breaker.succeeded()
        try:
            await self._learn_key()
        except StoreUnavailable:  # it has said why; it is asked again
            return
        # Both ends of an uptime are whole seconds: it may be said to be one longer than it is.
        uptime = 0.0 if self._was_away else health.uptime_seconds - 1
        self._claims_from = self._now() + max(self._lease_seconds - max(uptime, 0), 0)
        self.is_known = True

    async def run(self) -> None:
        """Look until the server is known, and after every outage ask until it is back.

        Nobody else may: who is not ready is sent no requests.
        """
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if not self.is_known:
                await self._look_again()
            elif self._scripts.breaker.is_open:
                with contextlib.suppress(StoreUnavailable):
                    await self._scripts.call(OVERDUE, (lease_index(0),), 1)
            elif self._scripts.breaker.is_refusing:
                await self._try_to_write()

    def back(self) -> None:
        """The server was away for a while and answers again."""
        if self.is_known:
            self._claims_from = self._now() + self._lease_seconds

    def may_claim(self) -> bool:
        """Whether an overdue lease means that its owner is lost."""
        is_there = self.is_known and self._scripts.breaker.is_well
        return is_there and self._now() >= self._claims_from

    async def _learn_key(self) -> None:
        """Ask for the key that all servers share; of several first ones one's is everybody's.

        Raises ``ConfigError`` if the store's values are encrypted with a secret that is not known.
        """
        own = secrets.token_bytes(KEY_BYTES)
        kept = await self._scripts.call(KEEP, (KEY,), self._codec.pack(own, KEY), KEY_MS, "")
        try:
            self.key = self._codec.unpack(bytes(kept), KEY)
        except NotDecrypted:
            raise ConfigError(
                "key 'store.encrypt_with_env': what the store holds is encrypted with another "
                "secret: name the one of the other servers"
            ) from None
        except Unreadable:
            self.key = own
        # As this server writes values: the next one finds out by it whether it can read them.
        current = self._codec.pack(self.key, KEY)
        if kept != current:
            await self._scripts.call(KEEP, (KEY,), current, KEY_MS, kept)

    async def _try_to_write(self) -> None:
        """Whether there is room again; the leases could not be renewed while there was none."""
        with contextlib.suppress(*AWAY):
            await self._client.set(TRIAL, b"", px=1000)
            self._scripts.breaker.is_refusing = False
            self.back()

    async def _look_again(self) -> None:
        try:
            await self.look()
        except ConfigError as unfit:
            log.error("store_unfit %s", unfit)  # noqa: TRY400 - one line says it all


def _name(failure: BaseException) -> str:
    return type(failure).__name__
