"""Where things are kept: a response's keys share a slot with its partition's lease index."""

import re
from collections import Counter

from redis.crc import key_slot

from ws_bridge.store.redis.keys import PARTITIONS, PREFIX, keys_of, lease_indexes, partition_of

IDS = [f"resp_{number:048x}" for number in range(4096)]


def names(keys):
    return [keys.meta, keys.events, keys.final, keys.input, keys.leases]


def test_all_keys_of_a_response_are_in_one_slot():
    for response_id in (*IDS[:200], "", "{x}", "a}b{c", "ü", "resp_" + "9" * 10_000):
        keys = names(keys_of(response_id))
        assert len({key_slot(key.encode()) for key in keys}) == 1
        assert len(set(keys)) == 5


def test_every_lease_index_is_looked_at():
    assert {keys_of(response_id).leases for response_id in IDS} == set(lease_indexes())
    assert len(lease_indexes()) == PARTITIONS


def test_responses_are_spread_evenly():
    counts = Counter(map(partition_of, IDS))
    assert max(counts.values()) < 3 * len(IDS) / PARTITIONS


def test_where_a_response_is_kept_never_changes():
    """A new release must find what an older one has written."""
    assert keys_of("resp_1").meta == "wb1:{p87}:m:resp_1"
    assert all(re.match(rf"{PREFIX}:\{{p\d+\}}:[meoil]", key) for key in names(keys_of("x")))
