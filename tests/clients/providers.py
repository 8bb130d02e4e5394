"""The loopback providers as a process of the project's own environment.

It says where it listens and then obeys its standard input: ``release MODEL`` opens a gate,
``reached MODEL`` waits until a stream stands before one; each is answered by a line. The end of
its input is its end.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from upstreams import FakeProviders


def main() -> None:
    with FakeProviders() as fake:
        print(f"listening on {fake.base_url}", flush=True)  # noqa: T201  that is its answer
        for line in sys.stdin:
            verb, model = line.split()
            if verb == "release":
                fake.release(model)
            else:
                asyncio.run(fake.reached(model))
            print(f"{verb} {model}", flush=True)  # noqa: T201  that is its answer


if __name__ == "__main__":
    main()
