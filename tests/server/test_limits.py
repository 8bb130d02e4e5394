"""Each key of `[limits]` reaches the part that it limits."""

from ws_bridge.config import Config, Limits
from ws_bridge.jobs.output_quotas import OutputLimits, OutputQuotas
from ws_bridge.protocol.actions import ConnectionLimits
from ws_bridge.protocol.json_limits import JsonLimits
from ws_bridge.protocol.turn_cache import TurnCache
from ws_bridge.server.limits import (
    MIB,
    cache_limits,
    conversation_limits,
    output_quotas,
    socket_policy,
)
from ws_bridge.store.conversations import ConversationLimits


def config(**limits) -> Config:
    return Config(limits=Limits(**limits))


def test_the_defaults_of_the_configuration_are_those_of_the_parts():
    default = config()
    assert conversation_limits(default) == ConversationLimits()
    assert vars(output_quotas(default)) == vars(OutputQuotas(OutputLimits(), "local"))
    assert vars(TurnCache(*cache_limits(default))) == vars(TurnCache())
    assert socket_policy(default).rules == ConnectionLimits()


def test_each_bound_is_carried_over_in_bytes():
    given = config(
        conversation_mib=3,
        conversation_items=4,
        response_mib=5,
        responses_mib_per_key=6,
        responses_mib=7,
        cached_mib_per_connection=8,
        cached_mib_per_key=9,
        cached_mib=10,
    )
    assert conversation_limits(given) == ConversationLimits(3 * MIB, 4)
    assert output_quotas(given).limits == OutputLimits(5, 6, 7)
    assert cache_limits(given) == (8 * MIB, 9 * MIB, 10 * MIB)


def test_a_sockets_rules_are_carried_over():
    given = config(
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
    policy = socket_policy(given)
    assert policy.rules == ConnectionLimits(
        1, 2, 3, 4 * MIB, 5, bad_frames=6, json_limits=JsonLimits(7, 8)
    )
    assert (policy.unread_seconds, policy.max_message_bytes) == (9.0, 64 * MIB)
    assert policy.finish_on_disconnect
