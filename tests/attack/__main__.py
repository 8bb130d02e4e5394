"""The command line: figures, exit status 1 if anything was wrong."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from attack.report import told
from attack.rounds import play

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.attack", description=__doc__)
    parser.add_argument("--quiet", type=float, default=20, help="seconds before the attack")
    result = asyncio.run(play(parser.parse_args().quiet))
    sys.stdout.write(told(result))
    sys.stdout.write(f"load average at the end: {os.getloadavg()[0]:.1f}\n")
    sys.exit(1 if result.problems else 0)
