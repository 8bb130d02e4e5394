"""Idempotency keys in Redis: what is kept of them, and for how long."""

import logging

import pytest
from store.contract import BEFORE, CAROL, hold
from store.opened import opened

from ws_bridge.store.base import KEY_SECONDS
from ws_bridge.store.redis.codec import Codec
from ws_bridge.store.redis.keys import idempotency_key
from ws_bridge.store.redis.scripts import HOLD


@pytest.fixture
async def store(valkey):
    async with opened(valkey.url) as one:
        yield one


def test_where_a_key_is_kept_never_changes():
    """A new release must find what an older one has written."""
    expected = "wb1:{p75}:ik:ee778ad422dd6876acb56658d0c81efa2f3a356cdd5bde90"
    assert idempotency_key("order-1", "alice") == expected


async def test_a_key_expires_after_a_day_and_nothing_of_it_is_readable(store, valkey):
    kept = hold("canary-lane")
    await store.acquire_key("canary-key", "alice", kept)
    place = idempotency_key("canary-key", "alice")
    assert KEY_SECONDS - 60 < int(valkey.cli("TTL", place)) <= KEY_SECONDS
    assert "canary-key" not in " ".join(valkey.cli("KEYS", "*"))
    assert kept.response_id in valkey.cli("GET", place)


async def test_a_key_that_an_older_name_has_acquired_is_found(store):
    """As a server with the earlier secret has written it."""
    kept, name = hold(), BEFORE[1]
    place = idempotency_key("early", name)
    value = (
        kept.response_id.encode()
        + b" p "
        + Codec().encode(b'["' + kept.digest.encode() + b'",null]')
    )
    await store.scripts.call(HOLD, (place,), value, 60_000, b"")
    assert await store.find_key("early", CAROL) == kept
    await store.release_key("early", CAROL, kept)
    assert await store.find_key("early", CAROL) is None


@pytest.mark.parametrize(
    "value", ["x", "resp_1 b", "resp_1 b rnonsense", 'resp_1 q r["d",null]', "resp_1 b r[1]"]
)
async def test_a_value_that_cannot_be_read_is_forgotten_and_logged(store, valkey, caplog, value):
    place = idempotency_key("broken", "alice")
    for call in ("find", "acquire"):
        valkey.cli("SET", place, value)
        with caplog.at_level(logging.ERROR):
            if call == "find":
                assert await store.find_key("broken", "alice") is None
            else:
                mine = hold()
                assert await store.acquire_key("broken", "alice", mine) == mine
        assert "idempotency_key_broken reason=" in caplog.text
        assert valkey.cli("EXISTS", place) == (0 if call == "find" else 1)
        caplog.clear()


async def test_a_key_without_a_value_stands_for_nothing(store, valkey):
    valkey.cli("SET", idempotency_key("empty", "alice"), "")
    assert await store.find_key("empty", "alice") is None
    mine = hold()
    assert await store.acquire_key("empty", "alice", mine) == mine
