"""Record the transcripts: every scenario once, through litellm, from the loopback providers."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from upstreams import FakeProviders

from transcripts import FAMILIES, FOLDER, dump
from transcripts.record import record


async def main() -> None:
    with FakeProviders() as fake:
        for family, (_, _, scenarios) in FAMILIES.items():
            for scenario in scenarios.split():
                steps = await record(fake.base_url, family, scenario)
                text = "".join(dump(step) + "\n" for step in steps)
                (FOLDER / f"{family}-{scenario}.jsonl").write_text(text, encoding="utf-8")
                print(family, scenario, len(steps))


asyncio.run(main())
