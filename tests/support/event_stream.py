"""AWS's binary event stream, framed as the provider frames it."""

import json
import struct
import zlib


def message(headers, payload=b""):
    """One message, with its sums."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    start = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    start += struct.pack(">I", zlib.crc32(start))
    body = start + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(kind, **payload):
    """One event of JSON."""
    headers = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    return message(headers, json.dumps(payload).encode())


def exception(kind, **payload):
    """One exception of JSON."""
    headers = {":message-type": "exception", ":exception-type": kind}
    return message(headers, json.dumps(payload).encode())


def _header(name, value):
    value = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value
