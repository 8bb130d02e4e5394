"""The configuration as the values that each part of a server gets."""

from __future__ import annotations

from ws_bridge.config import Config
from ws_bridge.jobs.mirror import MirrorTiming
from ws_bridge.jobs.output_quotas import OutputLimits, OutputQuotas
from ws_bridge.jobs.registry import JobPolicy
from ws_bridge.jobs.spec import Timing
from ws_bridge.protocol.actions import ConnectionLimits
from ws_bridge.protocol.json_limits import JsonLimits
from ws_bridge.server.auth import LOCAL_OWNER
from ws_bridge.server.websocket.sockets import SocketPolicy
from ws_bridge.store.conversations import ConversationLimits

MIB = 2**20


def conversation_limits(config: Config) -> ConversationLimits:
    """How much one conversation may hold."""
    limits = config.limits
    return ConversationLimits(limits.conversation_mib * MIB, limits.conversation_items)


def output_quotas(config: Config) -> OutputQuotas:
    """The counter of what running responses hold."""
    limits = config.limits
    bounds = OutputLimits(limits.response_mib, limits.responses_mib_per_key, limits.responses_mib)
    return OutputQuotas(bounds, LOCAL_OWNER)


def cache_limits(config: Config) -> tuple[int, int, int]:
    """Bytes of the turns that sockets can continue: of one, of a key's, and of all."""
    limits = config.limits
    each, of_key = limits.cached_mib_per_connection * MIB, limits.cached_mib_per_key * MIB
    return each, of_key, limits.cached_mib * MIB


def socket_policy(config: Config) -> SocketPolicy:
    """The policy of every socket."""
    limits = config.limits
    return SocketPolicy(
        rules=ConnectionLimits(
            running=limits.running_per_connection,
            lanes=limits.lanes_per_connection,
            queued=limits.queued_per_connection,
            queued_bytes=limits.queued_mib_per_connection * MIB,
            cached_turns=limits.cached_turns_per_connection,
            bad_frames=limits.bad_frames,
            json_limits=JsonLimits(limits.json_depth, limits.json_keys),
        ),
        max_message_bytes=config.server.max_message_mib * MIB,
        connection_minutes=config.server.connection_minutes,
        unread_seconds=limits.unread_seconds,
        finish_on_disconnect=config.server.on_disconnect == "finish",
    )


def job_policy(config: Config) -> JobPolicy:
    """What the operator decided about jobs."""
    server = config.server
    timing = Timing(server.created_after_seconds, server.data_keepalive_seconds)
    return JobPolicy(config.background.runs, timing, output_quotas(config))


def mirror_timing(config: Config) -> MirrorTiming:
    """When the mirror writes, and how long it waits."""
    settings = config.store
    lease, waits = settings.lease_seconds, settings.end_waits_seconds
    return MirrorTiming(
        settings.flush_ms / 1000, lease / 3, settings.backlog_mib * MIB, lease, waits
    )
