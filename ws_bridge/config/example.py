"""The example with its keys as comments: for `ws-bridge init`, and for servers without a file.

What an operator does not set keeps its default, also in a later release, and fits into the memory
that there is.
"""

from __future__ import annotations

import re
from pathlib import Path

from ws_bridge.errors import ConfigError

MODELS = "[[models]]"
KEY = re.compile(r"^(?=\w+ = )", re.MULTILINE)


def example_file() -> Path:
    """Where the example stands: in an installed package, or beside the package of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "config.toml"
    return inside if inside.is_file() else package.parent / "config.toml"


def example() -> str:
    """Its text: models as they stand there, all other keys as comments."""
    sections, mark, models = example_file().read_text(encoding="utf-8").partition(MODELS)
    return KEY.sub("#", sections) + mark + models


def write_example(path: Path, *, overwrites: bool) -> None:
    """Write it. Raises ``ConfigError``, also if there is a file and it is not to be overwritten."""
    try:
        with path.open("w" if overwrites else "x", encoding="utf-8") as file:
            file.write(example())
    except FileExistsError:
        raise ConfigError(f"{path} is there already: name another file, or use --force") from None
    except OSError as refused:
        raise ConfigError(f"{path}: cannot be written ({refused.strerror})") from None
