"""Files of configurations."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.refused_config import MODEL


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """A function that writes a configuration; one without models gets one."""

    def file(text: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        if isinstance(text, str) and not re.search(r"^\s*(\[\[)?models\b", text, re.MULTILINE):
            text = f"{text}\n{MODEL}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file
