"""Two bridges and their store for a while under clients of all kinds: nothing may grow.

    python -m tests.soak --minutes 10 --seed 1

Clients come in tides. At the flood they open sockets, chain turns, run lanes, cancel, leave in
mid-stream, read slowly or not at all, send nonsense, follow and poll; each checks every answer it
gets. At the ebb nobody is there, and what a server still holds then is what it keeps. Memory,
descriptors, tasks, keys and CPU are sampled all the time; after a third of the run, which is for
warming up, their slope is judged.
"""

import sys
from pathlib import Path

# The helpers beside this folder (`fleet`, `valkeys`, ...) are imported by name, as in all tests,
# and the bench as `tests.bench`, as it imports itself.
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
