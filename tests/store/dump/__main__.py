"""The command line: a dump of this checkout's store, named by its release."""

import argparse
import asyncio
import sys

from store.dump.kept import save
from store.dump.scenario import play

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.store.dump", description=__doc__)
    parser.add_argument("release", help="the commit that is dumped; the name of the file")
    release = parser.parse_args().release
    path = save(release, asyncio.run(play(release)))
    sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
