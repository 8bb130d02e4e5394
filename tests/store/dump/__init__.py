"""Stores as past releases left them, byte for byte, and the script that makes such a dump.

    python -m tests.store.dump 3c25b44

plays `scenario.py` on a real Valkey through `ws-bridge serve` of the checkout it runs in, before
loopback providers, and writes every key and what readers got into `3c25b44.json.xz`. To dump an
older release, copy this folder into a checkout of it and run it there, in its own environment.

`--ends` makes the small dump `ends.json` instead: what stands beside a response's events when it
has ended.

A dump is not made again when the code changes: `tests/store/test_dump.py` and
`tests/servers/test_dump.py` read each of them with today's code and go on with what is in it.
"""

import sys
from pathlib import Path

# The helpers beside these folders (`fleet`, `valkeys`, `peers`, ...) are imported by name.
sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in (".", "servers")]
