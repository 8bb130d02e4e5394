"""Whether the store's server answers, fits, and has answered for long enough to claim leases.

Rule: an outage makes every lease look overdue, and so does a time without room for writes. After
either, and after the server's own start, no response is claimed until the owners have had the time
of a whole lease to renew theirs.
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
from ws_bridge.store.redis.connect import UNAVAILABLE, Client, check_server, reason_of
from ws_bridge.store.redis.keys import PREFIX, lease_index
from ws_bridge.store.redis.scripts import KEEP, OVERDUE, Scripts

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
SHARED_KEY = f"{PREFIX}:key"
KEY_MS = 400 * 86_400_000  # after the last start of a server
TRIAL_KEY = f"{PREFIX}:trial"  # written to find out whether there is room


class StoreHealth:
    """The health of one store. ``now`` is monotonic, in seconds."""

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
        self.shared_key = b""  # see ``Store``
        self.is_checked = False  # the server was checked, and fits

    async def check(self) -> None:
        """Check the server and learn the shared key; a server that is away is no error.

        Raises ``ConfigError`` if the server does not fit.
        """
        try:
            report = await check_server(self._client)
            await self._scripts.load()
        except UNAVAILABLE as failure:
            self._scripts.breaker.record_failure(failure)
            self._was_away = True
            log.warning("store_unreachable reason=%s: responses go on unstored", reason_of(failure))
            return
        self._scripts.breaker.record_success()
        try:
            await self._learn_key()
        except StoreUnavailable:  # the log has the reason; the next check asks again
            return
        # Both ends of an uptime are whole seconds: the reported one may be a second too long.
        uptime = 0.0 if self._was_away else report.uptime_seconds - 1
        self._claims_from = self._now() + max(self._lease_seconds - max(uptime, 0), 0)
        self.is_checked = True

    async def run(self) -> None:
        """Check until the server fits, and after every outage call it until it answers.

        While it is away this process is not ready and may get no requests that would call it.
        """
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if not self.is_checked:
                await self._check_again()
            elif self._scripts.breaker.is_open:
                with contextlib.suppress(StoreUnavailable):
                    await self._scripts.call(OVERDUE, (lease_index(0),), 1)
            elif self._scripts.breaker.refuses_writes:
                await self._try_to_write()

    def recovered(self) -> None:
        """The server answers after it was away: its leases get their time again."""
        if self.is_checked:
            self._claims_from = self._now() + self._lease_seconds

    def may_claim(self) -> bool:
        """Whether an overdue lease means that its owner is lost."""
        is_healthy = self.is_checked and self._scripts.breaker.is_healthy
        return is_healthy and self._now() >= self._claims_from

    async def _learn_key(self) -> None:
        """Read the key that all servers share; the first server that asks has made it.

        Raises ``ConfigError`` if the store's values are encrypted with a secret that is not known.
        """
        own = secrets.token_bytes(KEY_BYTES)
        kept = await self._scripts.call(
            KEEP, (SHARED_KEY,), self._codec.encode(own, SHARED_KEY), KEY_MS, ""
        )
        try:
            self.shared_key = self._codec.decode(bytes(kept), SHARED_KEY)
        except NotDecrypted:
            raise ConfigError(
                "key 'store.encrypt_with_env': what the store holds is encrypted with another "
                "secret: name the one of the other servers"
            ) from None
        except Unreadable:
            self.shared_key = own
        # In the form in which this server writes values: by it the next one finds out whether it
        # can read them.
        current = self._codec.encode(self.shared_key, SHARED_KEY)
        if kept != current:
            await self._scripts.call(KEEP, (SHARED_KEY,), current, KEY_MS, kept)

    async def _try_to_write(self) -> None:
        """Write, to find out whether there is room again; leases could not be renewed meanwhile."""
        with contextlib.suppress(*UNAVAILABLE):
            await self._client.set(self._scripts.stored_name(TRIAL_KEY), b"", px=1000)
            self._scripts.breaker.refuses_writes = False
            self.recovered()

    async def _check_again(self) -> None:
        try:
            await self.check()
        except ConfigError as unfit:
            log.error("store_unfit %s", unfit)  # noqa: TRY400 - one line is enough
