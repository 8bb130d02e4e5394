"""The chains together: started, watched, judged."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from support.fleet import FAMILIES
from support.hang import HANG_SECONDS
from upstreams import FakeProviders

from rolling.chains import COMPLETED, GONE, Again, Broken, Chain

STEP_SECONDS = 0.05
CLIENT_TIMEOUT = aiohttp.ClientTimeout(total=HANG_SECONDS)


class Field:
    """All chains of a run."""

    def __init__(self, chains: Sequence[Chain], fake: FakeProviders) -> None:
        self.chains = chains
        self._fake = fake
        self._enough = asyncio.Event()
        self._runs: list[asyncio.Task[None]] = []

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Let all chains go on until ``end``."""
        self._runs = [tasks.create_task(chain.run(self._enough)) for chain in self.chains]

    async def end(self) -> None:
        """Return when each chain has ended its last turn."""
        self._enough.set()
        await asyncio.gather(*self._runs)

    async def all_go_on(self) -> None:
        """Return when each chain has ended two more turns: one of them began after this call."""
        aims = {id(chain): len(chain.turns) + 2 for chain in self.chains}
        async with asyncio.timeout(HANG_SECONDS):
            while not all(self._is_there(chain, aims[id(chain)]) for chain in self.chains):  # noqa: ASYNC110 - counts
                await asyncio.sleep(STEP_SECONDS)

    def _is_there(self, chain: Chain, aim: int) -> bool:
        return len(chain.turns) >= aim or bool(chain.faults)

    async def audit(self) -> list[str]:
        """What must not be: faults, replays that differ, histories that providers did not get."""
        await asyncio.gather(*map(self._compare, self.chains))
        for chain in self.chains:
            self._check_history(chain)
        return [fault for chain in self.chains for fault in chain.faults]

    async def _compare(self, chain: Chain) -> None:
        """Every turn that ended well, read again, is what its client saw, byte for byte."""
        for turn in chain.turns:
            with contextlib.suppress(Again, Broken, *GONE):
                replayed = [line async for line in chain.replay(turn.id)]
                if turn.end != COMPLETED:
                    if turn.texts and replayed[-1] != turn.texts[-1]:
                        chain.faults.append(f"{chain.model}: {turn.id} has two ends")
                elif not turn.is_as_seen(replayed):
                    chain.faults.append(f"{chain.model}: {turn.id} reads otherwise afterwards")
                continue
            chain.faults.append(f"{chain.model}: {turn.id} cannot be read")

    def _check_history(self, chain: Chain) -> None:
        """The provider's last request has all that was said in the chain, in order, once."""
        asked = self._requests(chain)
        if not asked:
            chain.faults.append(f"{chain.model}: nobody was asked")
            return
        said = _said(asked[-1])
        wanted = [turn.said for turn in _lineage(chain)]
        if said != wanted:
            chain.faults.append(f"{chain.model}: the provider was told {said}, not {wanted}")

    def made_twice(self) -> list[str]:
        """Chains with keys whose provider was asked for more than their turns."""
        return [
            f"{chain.model}: {asked} times asked for {len(chain.turns)} turns"
            for chain in self.chains
            if chain.keyed and (asked := len(self._requests(chain))) != len(chain.turns)
        ]

    def _requests(self, chain: Chain) -> list[Any]:
        family, _, rest = chain.model.partition("-")
        return self._fake.requests(FAMILIES[family][0].partition("/")[2].replace("*", rest))

    def figures(self) -> dict[str, Any]:
        """What happened, in numbers."""
        turns = [turn for chain in self.chains for turn in chain.turns]
        closes: Counter[int | str] = Counter()
        refusals: Counter[int | str] = Counter()
        for chain in self.chains:
            closes += chain.closes
            refusals += chain.refusals
        return {
            "chains": len(self.chains),
            "turns": len(turns),
            "events": sum(len(turn.texts) for turn in turns),
            "ends": dict(Counter(turn.end.partition(".")[2] for turn in turns)),
            "reconnects": sum(closes.values()),
            "of them by close code": dict(closes),
            "creates sent again": sum(chain.repeats for chain in self.chains),
            "told to come back": dict(refusals),
            "turns resumed": sum(turn.resumed > 0 for turn in turns),
            "longest wait for an event": f"{max(chain.longest for chain in self.chains):.1f} s",
            "faults": sum(len(chain.faults) for chain in self.chains),
        }


def _lineage(chain: Chain) -> list[Any]:
    """The last turn and those before it, the first one first."""
    by_id = {turn.id: turn for turn in chain.turns}
    lineage = [chain.turns[-1]]
    while (previous := lineage[0].previous) is not None:
        lineage.insert(0, by_id[previous])
    return lineage


def _said(body: dict[str, Any]) -> list[str]:
    """What the user said, of a request in any dialect."""
    items = body.get("input", body.get("messages", ()))
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    return [_text(item["content"]) for item in items if item.get("role") == "user"]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@contextlib.asynccontextmanager
async def chains_at(
    url: str, count: int, fake: FakeProviders, kinds: Sequence[type[Chain]] = (Chain,)
) -> AsyncIterator[Field]:
    """So many chains through one address, each kind with each family in turn."""
    families = list(FAMILIES)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # servers come and go
    async with aiohttp.ClientSession(connector=connector, timeout=CLIENT_TIMEOUT) as session:
        models = [f"{families[n % len(families)]}-slow-c{n}x" for n in range(count)]
        of_each = [kinds[n // len(families) % len(kinds)] for n in range(count)]
        chains = [kind(url, model, session) for kind, model in zip(of_each, models, strict=True)]
        field = Field(chains, fake)
        async with asyncio.TaskGroup() as tasks:
            field.start(tasks)
            yield field
            await field.end()
