"""What a release's store held after the first turn of each row, as ``dumps/`` has it.

    python -m tests.histories --dump 1a2b3c4

plays the rows of this checkout and writes ``1a2b3c4.json.xz``. A dump is not made again when the
code changes: later releases read each of them, and go on with what is in it.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "dumps"
SUFFIX = ".json.xz"


def names() -> list[str]:
    """The releases of which there is a dump."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def load(name: str) -> Json:
    """A dump: the ``keys`` of the store, and the responses of its ``rows``."""
    dump: Json = json.loads(lzma.decompress((FOLDER / f"{name}{SUFFIX}").read_bytes()))
    return dump


def save(name: str, dump: Json) -> None:
    """Write a dump."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(dump, separators=(",", ":"))
    packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    (FOLDER / f"{name}{SUFFIX}").write_bytes(packed)
