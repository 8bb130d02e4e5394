"""The conversation in a terminal: lines in, parts out, Ctrl-C, commands.

Rule 1: a terminal gets colours and line editing; a pipe gets plain text and plain lines.
Rule 2: a model's text never controls the terminal: control characters are not written.
Rule 3: Ctrl-C ends the answer that runs. At an empty prompt, twice, it ends the program.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory

from ws_bridge.terminal.endpoint import Endpoint, EndpointError
from ws_bridge.terminal.session import Session
from ws_bridge.terminal.turn import Kind, ShownPart

PROMPT = "> "
QUIT_HINT = "Ctrl-C again, or Ctrl-D, leaves."
HELP = """\
/model [NAME]  choose the model, or list what the server offers
/new           begin a new conversation
/help          this list
/quit          leave (Ctrl-D does too)
Ctrl-C         stop the answer that is being written"""
COLOURS: dict[Kind, str] = {"reasoning": "2", "call": "36", "note": "2", "error": "31"}
RUNNING: frozenset[Kind] = frozenset({"text", "reasoning"})  # continue the line they are in
CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})


class Screen:
    """Writes parts as text; each kind begins on a line of its own."""

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._kind: Kind | None = None  # of the line that is being written; None at a line's start
        self.erred = False

    def show(self, part: ShownPart) -> None:
        """Write a part. Running text is visible at once."""
        self.erred |= part.kind == "error"
        if self._kind not in (None, part.kind):
            self.end_line()
        prefix = "error: " if part.kind == "error" else ""
        text = prefix + part.text.translate(CONTROLS)
        colour = COLOURS.get(part.kind) if self._colours else None
        self._out.write(f"\x1b[{colour}m{text}\x1b[0m" if colour else text)
        self._kind = part.kind
        if part.kind not in RUNNING:
            self.end_line()
        self._out.flush()

    def end_line(self) -> None:
        """Move to the start of a line."""
        if self._kind is not None:
            self._out.write("\n")
            self._out.flush()
        self._kind = None


class LineInput(Protocol):
    """Where the user's lines come from."""

    async def read(self) -> str:
        """The next line. Raises ``EOFError`` at the end and ``KeyboardInterrupt`` on Ctrl-C."""
        ...

    def interrupt(self) -> None:
        """Make the ``read`` that waits raise ``KeyboardInterrupt``."""
        ...

    def pending(self) -> str:
        """The text that was typed when the last ``read`` was interrupted."""
        ...


class TypedInput:
    """Lines of a terminal, with editing and a history in memory."""

    def __init__(self) -> None:
        self._prompt: PromptSession[str] = PromptSession(history=InMemoryHistory())

    async def read(self) -> str:
        """See ``LineInput``."""
        return await self._prompt.prompt_async(PROMPT, handle_sigint=False)

    def interrupt(self) -> None:
        """See ``LineInput``."""
        if self._prompt.app.is_running:
            self._prompt.app.exit(exception=KeyboardInterrupt())

    def pending(self) -> str:
        """See ``LineInput``."""
        return self._prompt.default_buffer.text


class PipedInput:
    """Lines of a pipe or a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: asyncio.Queue[str | BaseException] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        # A thread, because a plain file cannot be waited for by the loop; a daemon, because a read
        # cannot be interrupted; and of the bare descriptor, because at exit Python needs the lock
        # that a read of `sys.stdin` would hold.
        threading.Thread(target=self._read_lines, daemon=True).start()

    def _read_lines(self) -> None:
        rest = b""
        while block := os.read(self._descriptor, 65536):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._put(line.decode(errors="replace"))
        if rest:
            self._put(rest.decode(errors="replace"))
        self._put(EOFError())

    def _put(self, line: str | BaseException) -> None:
        with suppress(RuntimeError):  # the loop is closed: no reader is left
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    async def read(self) -> str:
        """See ``LineInput``."""
        line = await self._lines.get()
        if isinstance(line, BaseException):
            raise line
        return line

    def interrupt(self) -> None:
        """See ``LineInput``."""
        self._lines.put_nowait(KeyboardInterrupt())

    def pending(self) -> str:
        """See ``LineInput``."""
        return ""


class Terminal:
    """Reads lines, asks the bridge and shows answers, until the user quits."""

    def __init__(self, session: Session, screen: Screen, lines: LineInput) -> None:
        self._session = session
        self._screen = screen
        self._lines = lines
        self._stop = asyncio.Event()  # Ctrl-C while an answer is being written
        self._answering = False
        self._is_quitting = False
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "/model": self._choose_model,
            "/new": self._new_conversation,
            "/help": self._help,
            "/quit": self._quit,
        }

    async def run(self) -> None:
        """Run until the user quits; the socket is closed then."""
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError):  # Windows: Ctrl-C ends the program
            loop.add_signal_handler(signal.SIGINT, self._interrupted)
        try:
            while not self._is_quitting and (line := await self._next_line()) is not None:
                await self._run_command(line.strip())
        finally:
            await self._session.close()

    def _interrupted(self) -> None:
        if self._answering:
            self._stop.set()
        else:
            self._lines.interrupt()

    async def _next_line(self) -> str | None:
        """Return a line; None when the user quits."""
        warned = False
        while True:
            try:
                return await self._lines.read()
            except EOFError:
                return None
            except KeyboardInterrupt:
                if self._lines.pending():
                    warned = False
                elif warned:
                    return None
                else:
                    warned = True
                    self._note(QUIT_HINT)

    async def _run_command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        if command := self._commands.get(name):
            await command(argument.strip())
        elif line.startswith("/"):
            self._note(f"There is no {name}. /help lists what there is.")
        elif line:
            await self._answer(line)

    async def _answer(self, line: str) -> None:
        """Run a turn. The first Ctrl-C asks the server to cancel it, the second does not wait."""
        self._stop.clear()
        self._answering = True
        asking = asyncio.create_task(self._session.ask(line))
        stopping = asyncio.create_task(self._stop_on_interrupt(asking))
        try:
            await asyncio.wait({asking})
        finally:
            self._answering = False
            asking.cancel()
            stopping.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)
            self._screen.end_line()
        if asking.cancelled():
            self._note("stopped without waiting for the server")
        else:
            asking.result()

    async def _stop_on_interrupt(self, asking: asyncio.Task[None]) -> None:
        await self._stop.wait()
        self._stop.clear()
        await self._session.cancel()
        await self._stop.wait()
        asking.cancel()

    def _note(self, text: str) -> None:
        self._screen.show(ShownPart("note", text))

    async def _choose_model(self, name: str) -> None:
        if name:
            self._session.model = name
            return
        try:
            names = await self._session.models()
        except EndpointError as refused:
            self._screen.show(ShownPart("error", str(refused)))
            return
        for each in names:
            self._note(f"{'*' if each == self._session.model else ' '} {each}")

    async def _new_conversation(self, _argument: str) -> None:
        self._session.reset()
        self._note("a new conversation")

    async def _help(self, _argument: str) -> None:
        self._note(HELP)

    async def _quit(self, _argument: str) -> None:
        self._is_quitting = True


def run(url: str, model: str, key: str) -> int:
    """Chat until the user quits, and return the exit code.

    ``model`` may be empty: then the first one that the server lists is used. 2: the address cannot
    be used; 1: a turn failed whose lines came from a pipe.
    """
    try:
        endpoint = Endpoint.of(url, key)
    except EndpointError as refused:
        sys.stderr.write(f"error: {refused}\n")
        return 2
    return asyncio.run(_chat(endpoint, model))


async def _chat(endpoint: Endpoint, model: str) -> int:
    screen = Screen(sys.stdout, colours=sys.stdout.isatty())
    session = Session(endpoint, model, screen.show)
    interactive = sys.stdin.isatty()
    try:
        session.model = model or await _first_model(session)
        await session.connect()
    except (
        EndpointError
    ) as refused:  # the server may start later: `/model` and every turn try again
        screen.show(ShownPart("error", str(refused)))
    if interactive:
        where = f"{session.model or 'no model'} at {endpoint.base}"
        screen.show(ShownPart("note", f"{where} · /help lists the commands"))
    lines = TypedInput() if interactive else PipedInput(sys.stdin.fileno())
    await Terminal(session, screen, lines).run()
    return int(screen.erred and not interactive)


async def _first_model(session: Session) -> str:
    names = await session.models()
    return next((name for name in names if "*" not in name), "")
