"""Each key of `[limits]` reaches the part that it is about."""

from ws_bridge.config import Config, Limits
from ws_bridge.jobs.output_quotas import OutputLimits, OutputQuotas
from ws_bridge.protocol.actions import ConnectionLimits
from ws_bridge.protocol.json_limits import JsonLimits
from ws_bridge.protocol.turn_cache import TurnCache
from ws_bridge.server.policies import (
    MIB,
    conversation_bounds,
    outputs_of,
    socket_policy,
    turn_cache,
)
from ws_bridge.store.conversations import ConversationLimits


def config(**limits) -> Config:
    return Config(limits=Limits(**limits))


def test_what_is_not_said_is_the_parts_own_default():
    usual = config()
    assert conversation_bounds(usual) == ConversationLimits()
    assert vars(outputs_of(usual)) == vars(OutputQuotas(OutputLimits(), "local"))
    assert vars(turn_cache(usual)) == vars(TurnCache())
    assert socket_policy(usual).rules == ConnectionLimits()


def test_each_bound_is_carried_over_in_bytes():
    said = config(
        conversation_mib=3,
        conversation_items=4,
        response_mib=5,
        responses_mib_per_key=6,
        responses_mib=7,
        cached_mib_per_connection=8,
        cached_mib_per_key=9,
        cached_mib=10,
    )
    assert conversation_bounds(said) == ConversationLimits(3 * MIB, 4)
    assert outputs_of(said)._bounds == OutputLimits(5, 6, 7)
    assert vars(turn_cache(said)) == vars(TurnCache(8 * MIB, 9 * MIB, 10 * MIB))


def test_a_sockets_rules_are_carried_over():
    said = config(
        running_per_connection=1,
        lanes_per_connection=2,
        queued_per_connection=3,
        queued_mib_per_connection=4,
        cached_turns_per_connection=5,
        bad_frames=6,
        json_depth=7,
        json_keys=8,
        unread_seconds=9.0,
    )
    policy = socket_policy(said)
    assert policy.rules == ConnectionLimits(
        1, 2, 3, 4 * MIB, 5, bad_frames=6, json_limits=JsonLimits(7, 8)
    )
    assert (policy.unread_seconds, policy.max_message_bytes) == (9.0, 64 * MIB)
    assert policy.finish_on_disconnect
