"""An event loop whose clock a test can turn: what waits for time to pass goes on at once."""

import asyncio
from typing import Any

from support.fake_clock import let_others_run


class TurnedLoop(asyncio.SelectorEventLoop):
    """Time passes in it as elsewhere, and by leaps."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = 0.0

    def time(self) -> float:
        return super().time() + self._ahead

    def turn(self, seconds: float) -> None:
        """Let so many seconds have passed."""
        self._ahead += seconds


async def silence(fake: Any, model: str, seconds: float) -> None:
    """Let the provider's stream stand still, all read that it said, and so much time pass."""
    await fake.reached(model)
    await let_others_run()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurnedLoop)
    loop.turn(seconds)
