"""What tests of processes share: the log of this process is as it was after each."""

import logging
from collections.abc import Iterator

import pytest

from ws_bridge import logs


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    logger, cleaner = logging.getLogger("ws_bridge"), logs.CleanRecord.cleaner
    level = logger.level
    yield
    logger.setLevel(level)
    logs.CleanRecord.secrets, logs.CleanRecord.cleaner = frozenset(), cleaner
