"""What one thread did: the project's calls in their order, and the bytes between them.

Rule 1: a comprehension is a part of its function; what a decorator or a dataclass generates has no
file of the project, and is not counted.
Rule 2: a function that is begun is a call; one that goes on after a ``yield`` or an ``await`` is a
resumption. A coroutine that waits for another one is resumed with it.
"""

from __future__ import annotations

import asyncio
import dis
import inspect
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Literal

INNER = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
READS = frozenset({"recv", "recv_into"})
SENDS = frozenset({"send", "sendmsg"})
RESUME, WHERE, AT_START = dis.opmap["RESUME"], 3, 0  # the instruction, and bits of its argument
LOOP_STEP = asyncio.Handle._run.__code__

Direction = Literal["from", "to"]
Peer = Callable[[socket.socket], str]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the project; ``file`` is relative to the project's folder."""

    file: str
    name: str
    is_async_generator: bool


@dataclass(frozen=True, slots=True)
class Entered:
    """A function began, or went on; ``depth`` counts the project's frames, this one included."""

    function: Function
    depth: int
    is_resumed: bool


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes were read or sent; ``calls`` of Python were made until then, by whatever module."""

    direction: Direction
    peer: str
    calls: int


@dataclass(frozen=True, slots=True)
class LoopStep:
    """The event loop began a callback."""


Happened = Entered | Bytes | LoopStep


class Recorder:
    """The function for ``sys.setprofile``, in the one thread that is recorded.

    ``peer`` names the other end of a connection.
    """

    def __init__(self, house: Path, peer: Peer) -> None:
        self.happened: list[Happened] = []
        self._prefix = f"{house}/"
        self._peer = peer
        self._known: dict[CodeType, tuple[Function, bytes] | None] = {}
        self._calls = 0

    def taken(self) -> list[Happened]:
        """What happened since the last time this was called."""
        taken, self.happened = self.happened, []
        return taken

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """See ``sys.setprofile``."""
        if event == "call":
            self._enter(frame)
        elif event == "c_call" and argument.__name__ in READS | SENDS:
            self._move(argument)

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        self._calls += 1
        if code is LOOP_STEP:
            self.happened.append(LoopStep())
        elif (known := self._look_up(code)) is not None:
            function, instructions = known
            here = frame.f_lasti
            is_begun = instructions[here] == RESUME and instructions[here + 1] & WHERE == AT_START
            self.happened.append(Entered(function, self._depth(frame), is_resumed=not is_begun))

    def _depth(self, frame: FrameType | None) -> int:
        # Counted on the stack: a generator that is closed returns without having been entered.
        depth = 0
        while frame is not None:
            depth += self._look_up(frame.f_code) is not None
            frame = frame.f_back
        return depth

    def _look_up(self, code: CodeType) -> tuple[Function, bytes] | None:
        if code not in self._known:
            is_ours = code.co_filename.startswith(self._prefix) and code.co_name not in INNER
            self._known[code] = (self._function(code), code.co_code) if is_ours else None
        return self._known[code]

    def _function(self, code: CodeType) -> Function:
        file = code.co_filename.removeprefix(self._prefix)
        is_async_generator = bool(code.co_flags & inspect.CO_ASYNC_GENERATOR)
        return Function(file, code.co_qualname, is_async_generator)

    def _move(self, method: Any) -> None:
        if isinstance(method.__self__, socket.socket):
            direction: Direction = "to" if method.__name__ in SENDS else "from"
            peer = self._peer(method.__self__)
            self.happened.append(Bytes(direction, peer, self._calls))
