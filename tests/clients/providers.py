"""The loopback providers as a process of the project's own environment.

It says where it listens and then obeys its standard input: ``release MODEL`` opens a gate, and is
answered by the same line. The end of its input is its end.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from upstreams import FakeProviders


def main() -> None:
    with FakeProviders() as fake:
        print(f"listening on {fake.base_url}", flush=True)  # noqa: T201  that is its answer
        for line in sys.stdin:
            fake.release(line.split()[1])
            print(line, end="", flush=True)  # noqa: T201  that is its answer


if __name__ == "__main__":
    main()
