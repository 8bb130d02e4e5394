"""The command line: a dump of this checkout's store, named by its release."""

import argparse
import asyncio
import sys

from store.dump.ends import play_ends, save_ends
from store.dump.kept import save
from store.dump.scenario import play

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.store.dump", description=__doc__)
    parser.add_argument("release", help="the commit that is dumped; the name of the file")
    parser.add_argument("--ends", action="store_true", help="the small dump: see `ends.py`")
    given = parser.parse_args()
    if given.ends:
        path = save_ends(asyncio.run(play_ends(given.release)))
    else:
        path = save(given.release, asyncio.run(play(given.release)))
    sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
