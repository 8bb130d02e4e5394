"""The stores that a configuration names: of responses and of conversations."""

from __future__ import annotations

from collections.abc import Callable

from ws_bridge.clock import Clock
from ws_bridge.config import Settings, secrets_in
from ws_bridge.errors import ConfigError
from ws_bridge.server.auth import owner_names
from ws_bridge.server.limits import MIB, conversation_limits
from ws_bridge.store.base import Owners, Store
from ws_bridge.store.conversations import Conversations, MemoryConversations
from ws_bridge.store.memory import MemoryStore
from ws_bridge.store.redis.cipher import Cipher
from ws_bridge.store.redis.codec import MAX_VALUE_BYTES, Codec
from ws_bridge.store.redis.connect import TlsFiles, parse_url
from ws_bridge.store.redis.conversations import RedisConversations
from ws_bridge.store.redis.store import RedisStore


async def check_store(settings: Settings, *, is_offline: bool = False) -> None:
    """Reach the store as a server would. Raises ``ConfigError``.

    Offline only what can be known without it is checked: files, and libraries.
    """
    owners = Owners(owner_names(settings.config, settings.secrets))
    store, _ = stores_of(settings, Clock(), owners)
    if is_offline:
        return
    try:
        await store.open()
        if not store.was_reached():
            raise ConfigError(
                "key 'store.url': the store does not answer, or refuses what a server needs "
                "(the lines above say why): start it, or correct the key"
            )
    finally:
        await store.close()


def stores_of(
    settings: Settings,
    clock: Clock,
    owners: Owners,
    on_answered: Callable[[str, float], None] = lambda *_: None,
) -> tuple[Store, Conversations]:
    """The stores of responses and of conversations."""
    config, secrets = settings.config, settings.secrets
    store = config.store
    most, ttl = store.max_mib * MIB, store.conversation_seconds
    limits = conversation_limits(config)
    if store.url.startswith("memory://"):
        return (
            MemoryStore(
                max_bytes=most, ttl_seconds=store.ttl_seconds, now=clock.wall, owners=owners
            ),
            MemoryConversations(
                max_bytes=most // 4, ttl_seconds=ttl, now=clock.wall, owners=owners, limits=limits
            ),
        )
    # A record is a message with little around it; an older server may have accepted larger ones.
    largest = max(MAX_VALUE_BYTES, 2 * config.server.max_message_mib * MIB + MIB)
    codec = Codec(Cipher(secrets_in(store.encrypt_with, secrets)), largest)
    shared = RedisStore(
        parse_url(
            store.url,
            secrets.get(store.password, ""),
            TlsFiles(store.tls_ca, store.tls_cert, store.tls_key),
        ),
        ttl_seconds=store.ttl_seconds,
        lease_seconds=store.lease_seconds,
        now=clock.monotonic,
        codec=codec,
        owners=owners,
        prefix=store.prefix,
        on_answered=on_answered,
    )
    return shared, RedisConversations(shared.scripts, ttl, codec, owners, limits)
