"""The usage of all keys on the page of metrics: asked by its thread, read by a worker."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.hang import HANG_SECONDS

from ws_bridge.errors import StoreUnavailable
from ws_bridge.processes import worker_usage
from ws_bridge.processes.worker_usage import UsageAnswers, WorkerUsage, read_in


class Pipe:
    """A supervisor and a worker, whose lines go straight to each other."""

    def __init__(self, read) -> None:
        self.lines: list[str] = []
        self.serves = True
        self.answers = UsageAnswers(self._to_supervisor)
        self.usage = WorkerUsage(self._to_worker)
        if read is not None:
            self.answers.begin(read)

    def _to_worker(self, line: str) -> bool:
        self.lines.append(line)
        if self.serves:
            word, _, question = line.partition(" ")
            assert word == "usage"
            self.answers.answer(question)
        return self.serves

    def _to_supervisor(self, line: str) -> None:
        self.lines.append(line)
        word, _, answer = line.partition(" ")
        assert word == "used"
        self.usage.receive(answer)


async def read(pipe: Pipe, folder: Path, days: int = 3) -> bytes | None:
    async with asyncio.timeout(HANG_SECONDS):
        with ThreadPoolExecutor(1) as page:  # the loop's own threads write the files
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(page, pipe.usage.read, days, folder)


async def large(days: int) -> bytes:
    return b"x" * (days * 2**20)


async def test_an_answer_of_any_size_passes_beside_the_pipe(tmp_path):
    pipe = Pipe(large)
    assert await read(pipe, tmp_path) == b"x" * 3 * 2**20
    assert max(map(len, pipe.lines)) < 500
    assert list(tmp_path.iterdir()) == []
    await pipe.answers.close()


async def test_many_readers_get_their_own_answers(tmp_path):
    async def text(days: int) -> bytes:
        return str(days).encode()

    pipe = Pipe(text)
    found = await asyncio.gather(*(read(pipe, tmp_path, days) for days in range(1, 9)))
    assert found == [str(days).encode() for days in range(1, 9)]


async def test_a_store_that_is_away_gives_no_answer(tmp_path):
    async def away(_days: int) -> bytes:
        raise StoreUnavailable

    assert await read(Pipe(away), tmp_path) is None


async def test_a_worker_that_does_not_serve_yet_and_none_at_all_give_no_answer(tmp_path):
    assert await read(Pipe(None), tmp_path) is None
    pipe = Pipe(large)
    pipe.serves = False
    assert await read(pipe, tmp_path) is None


async def test_a_worker_that_is_silent_is_not_waited_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_usage, "SECONDS", 0.01)

    async def silent(_days: int) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    pipe = Pipe(silent)
    assert await read(pipe, tmp_path) is None
    pipe.usage.receive("1 written")  # its answer comes too late, and changes nothing
    await pipe.answers.close()


async def test_a_process_that_has_the_store_is_asked_by_its_page_itself():
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(read_in, loop, large, 1) == b"x" * 2**20


def test_a_loop_that_has_ended_gives_no_answer(recwarn: pytest.WarningsRecorder):
    loop = asyncio.new_event_loop()
    loop.close()
    assert read_in(loop, large, 1) is None
    recwarn.clear()
