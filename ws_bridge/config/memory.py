"""How much memory a server may take: its bounds in sum, and as many of them as a container holds.

Rule 1: a bound that the operator has set stays as it is. The others are scaled down together, until
what all processes may hold fits into a share of the container's limit.
Rule 2: the limit is read once, by the process that loads the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ws_bridge.config.model import Config, Section

MIB = 2**20
# A body is there as objects, adapted, as litellm's copy, as its JSON and as what is sent: at their
# peak a text of 20 MB took 4.1 times its bytes, and 120,000 items 4.2 times their objects.
COPIES = 5
ALONE = 8  # one request of any size may run beside this part of `asked_mib`
# What else a reader of a response's events takes, in MiB: its connection and what is written to it.
FOLLOWER_MIB = 0.2
# A message that is complete is there as its frames, as bytes and as text, one at a time.
MESSAGE_COPIES = 2
# Events of a running response: as they were sent, and once more in what it looks like by now.
EVENT_COPIES = 2

# The interpreter, litellm and its tables take 265 MiB in one process that serves; several share
# most of it, and each adds what it has for itself.
ALONE_MIB, SHARED_MIB, WORKER_MIB = 288, 320, 96
SHARE = 0.8  # of what is left: allocators keep some, and buffers of connections are the kernel's
MESSAGE_SHARE = 20  # a message of the largest size takes seven times its bytes, and is not alone
UNLIMITED = 2**60  # bytes: version 1 of cgroups writes a number near 2 ** 63 for "none"

# By section: the bounds that are scaled, and what they are at least.
SCALED: dict[str, dict[str, int]] = {
    "limits": {
        "cached_mib": 8,
        "responses_mib": 16,
        "asked_mib": 16,
        "receiving_mib": 8,
        "followers": 50,
    },
    "store": {"backlog_mib": 8, "max_mib": 16},
}
SMALLEST_MESSAGE_MIB = 4


def most_held(config: Config) -> dict[str, int]:
    """Bytes that one process may hold beside its base, by the limit that bounds them.

    Its base is the interpreter, litellm, its tables of tokens, and what connections take.
    """
    server, limits, store = config.server, config.limits, config.store
    largest = server.max_message_mib
    alone = limits.asked_mib / ALONE + COPIES * largest
    is_kept_here = store.url.startswith("memory://")
    held = {
        "asked_mib": max(limits.asked_mib, alone),
        "receiving_mib": limits.receiving_mib + MESSAGE_COPIES * largest,
        "cached_mib": limits.cached_mib,
        "responses_mib": EVENT_COPIES * limits.responses_mib,
        "followers": FOLLOWER_MIB * limits.followers,
        "backlog_mib": store.backlog_mib,
        "max_mib": store.max_mib * 5 / 4 if is_kept_here else 0,  # conversations have a quarter
    }
    return {name: int(most * MIB) for name, most in held.items()}


@dataclass(frozen=True, slots=True)
class MemorySum:
    """What all processes of a server may take, in MiB: their base, and the bounds beside it."""

    limit: int
    base: int
    bounds: int

    @property
    def fits(self) -> bool:
        """Whether the container holds it."""
        return self.base + self.bounds <= self.limit


def memory_sum(config: Config, limit: int) -> MemorySum:
    """The sums of a configuration in a container with so many bytes."""
    workers = config.server.workers
    held = sum(most_held(config).values()) * workers
    return MemorySum(limit // MIB, _base(workers), -(-held // MIB))


def fitted(config: Config, limit: int | None) -> Config:
    """The configuration with bounds for a container of so many bytes; None: it has no limit."""
    workers = config.server.workers
    room = SHARE * ((limit or 0) // MIB - _base(workers)) / workers
    if limit is None or _held(config) <= room:
        return config
    free = {
        section: {
            name: least for name, least in bounds.items() if not _is_set(config, section, name)
        }
        for section, bounds in SCALED.items()
    }
    if not _is_set(config, "server", "max_message_mib"):
        largest = max(int(room / MESSAGE_SHARE), SMALLEST_MESSAGE_MIB)
        most = min(config.server.max_message_mib, largest)
        config = _replaced(config, "server", {"max_message_mib": most})
    low, high = 0.0, 1.0
    while high - low > 1e-4:  # the sum grows with the factor, and some of its parts are steps
        factor = (low + high) / 2
        fits = _held(_scaled(config, free, factor)) <= room
        low, high = (factor, high) if fits else (low, factor)
    scaled = _scaled(config, free, low)
    if not _is_set(config, "limits", "response_mib"):
        most = min(scaled.limits.response_mib, scaled.limits.responses_mib)
        scaled = _replaced(scaled, "limits", {"response_mib": most})
    return scaled


def _is_set(config: Config, section: str, name: str) -> bool:
    table: Section = getattr(config, section)
    return name in table.model_fields_set


def _scaled(config: Config, free: dict[str, dict[str, int]], factor: float) -> Config:
    for section, bounds in free.items():
        table = getattr(config, section)
        values = {
            name: max(least, int(getattr(table, name) * factor)) for name, least in bounds.items()
        }
        config = _replaced(config, section, values)
    return config


def _replaced(config: Config, section: str, values: dict[str, int]) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def _held(config: Config) -> float:
    return sum(most_held(config).values()) / MIB


def _base(workers: int) -> int:
    return ALONE_MIB if workers == 1 else SHARED_MIB + WORKER_MIB * workers


def container_limit(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int | None:
    """The bytes that the container may take, of cgroups of either version; None: no limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found += _limits_of(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits_of(root / "memory", path, "memory.limit_in_bytes")
    return min(found, default=None)


def _limits_of(root: Path, path: str, name: str) -> list[int]:
    """The limits of a group and of those around it.

    In a container the path may be the host's, which is not there; its own group is the root then.
    """
    group = root / path.lstrip("/")
    around = [group, *group.parents]
    limits = []
    for folder in around[: around.index(root) + 1]:
        try:
            text = (folder / name).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < UNLIMITED:
            limits.append(int(text))
    return limits
