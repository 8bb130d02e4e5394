"""Time that passes for the counters of a Redis, whose clock no test can turn."""

from support.redis_servers import Node

from ws_bridge.store.redis.keys import counter_key

SLICE_MS = 250  # as in count.lua


def let_pass(node: Node, seconds: float, limit: str, key: str) -> None:
    """Make all that is counted of a limit older by so many seconds: a multiple of a quarter."""
    place = counter_key(limit, key)
    fields = node.cli("HGETALL", place)
    pairs = fields.items() if isinstance(fields, dict) else zip(*[iter(fields)] * 2, strict=True)
    aged = {}
    for name, value in pairs:
        if name[0] == "u":
            aged[f"u{int(name[1:]) - round(seconds * 1000 / SLICE_MS)}"] = value
        else:
            until, rest = value.split(" ", 1)
            aged[name] = f"{int(until) - round(seconds * 1000)} {rest}"
    if aged:
        flat = [part for pair in aged.items() for part in pair]
        script = "redis.call('DEL', KEYS[1]) return redis.call('HSET', KEYS[1], unpack(ARGV))"
        node.cli("EVAL", script, 1, place, *flat)
