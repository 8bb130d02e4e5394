"""All keys of a store as values: taken out of one server, put into another.

Not Redis's own `DUMP`, whose form depends on the server's version: texts are base64, and a key is
its type, its contents and how long it still has to live.
"""

import base64
import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from support.redis_servers import Node

Json = dict[str, Any]

FOLDER = Path(__file__).parent
SUFFIX = ".json.xz"
PATTERN = "wb1:*"


def names() -> list[str]:
    """The releases of which there is a dump."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def load(name: str) -> Json:
    """A dump: ``keys``, ``provider`` (its address then), and what readers are to get."""
    dump: Json = json.loads(lzma.decompress((FOLDER / f"{name}{SUFFIX}").read_bytes()))
    return dump


def save(name: str, dump: Json) -> Path:
    """Write a dump; its path."""
    path = FOLDER / f"{name}{SUFFIX}"
    text = json.dumps(dump, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return path


def take_out(node: Node) -> Json:
    """Every key of the bridge's by its name."""
    with client_of(node) as client:
        keys = sorted(client.scan_iter(PATTERN, count=1000))
        return {key.decode(): _value_of(client, key) for key in keys}


def put_in(node: Node, keys: Json, moved: tuple[str, str] | None = None) -> None:
    """Write the keys as they were, each with the rest of its life before it.

    ``moved``: an address in what is kept, and the one that stands in its place: providers listen
    elsewhere now. Only values that name it are encoded again, as their writer encoded them.
    """
    with client_of(node) as client:
        for name, kept in keys.items():
            _put(client, name, kept["type"], _texts(kept["value"], moved))
            client.pexpire(name, kept["pttl"])


def let_leases_run_out(node: Node) -> None:
    """The writer of what still runs is lost, whatever this machine's clock is."""
    with client_of(node) as client:
        for index in client.scan_iter(f"{PATTERN}:l", count=1000):
            tag = index.decode().removesuffix("l")
            for member in client.zrange(index, 0, -1):
                client.zadd(index, {member: 0})
                client.hset(f"{tag}m:{member.decode()}", "lx", "0")


def client_of(node: Node) -> redis.Redis:
    """A client that leaves bytes as they are."""
    return redis.Redis(port=node.port)


def unpacked(value: bytes) -> bytes:
    """What a packed value holds."""
    return value[1:] if value[:1] == b"r" else zlib.decompress(value[1:])


READ: dict[str, Callable[[redis.Redis, bytes], Any]] = {
    "string": lambda client, key: client.get(key),
    "hash": lambda client, key: {k.decode(): one for k, one in client.hgetall(key).items()},
    "list": lambda client, key: client.lrange(key, 0, -1),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    "stream": lambda client, key: [
        [entry.decode(), [part for pair in fields.items() for part in pair]]
        for entry, fields in client.xrange(key)
    ],
}


def _value_of(client: redis.Redis, key: bytes) -> Json:
    kind, pttl = client.type(key).decode(), client.pttl(key)
    assert pttl > 0, f"{key!r} never expires"
    return {"type": kind, "value": _plain(READ[kind](client, key)), "pttl": pttl}


def _plain(value: Any) -> Any:
    """JSON of it: bytes are an object with base64, a hash is an object with its fields."""
    if isinstance(value, bytes):
        return {"b": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {"h": {key: _plain(one) for key, one in value.items()}}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _texts(value: Any, moved: tuple[str, str] | None) -> Any:
    """What `_plain` was made of."""
    if isinstance(value, list):
        return [_texts(one, moved) for one in value]
    if not isinstance(value, dict):
        return value
    if "h" in value:
        return {key: _texts(one, moved) for key, one in value["h"].items()}
    return _moved(base64.b64decode(value["b"]), *map(str.encode, moved or ()))


def _moved(value: bytes, *names: bytes) -> bytes:
    """A packed value, or a conversation's item (a line before it), with another address."""
    line, newline, packed = value.partition(b"\n") if value[:1] == b'"' else (b"", b"", value)
    if not names or packed[:1] not in (b"r", b"z"):
        return value
    plain = unpacked(packed)
    if names[0] not in plain:
        return value
    plain = plain.replace(*names)
    again = b"r" + plain if packed[:1] == b"r" else b"z" + zlib.compress(plain, 1)
    return line + newline + again


def _put(client: redis.Redis, name: str, kind: str, value: Any) -> None:
    if kind == "string":
        client.set(name, value)
    elif kind == "hash":
        client.hset(name, mapping=value)
    elif kind == "list":
        client.rpush(name, *value)
    elif kind == "zset":
        client.zadd(name, dict(value))
    else:
        for entry, fields in value:
            client.execute_command("XADD", name, entry, *fields)
