"""How long the ways through the bridge are, and how its house is laid out: counted, not timed.

    python -m tests.ways              the ways of a create and of a delta: files, calls, nesting
    python -m tests.ways --list       the same, with every function in its order
    python -m tests.ways --house      rooms, floors, arrows, double names, long files

Rule 1: what is counted is the project's own calls, between two system calls of one thread.
Rule 2: only `entry` names modules of the product, so that a re-layout changes one file here.
"""

import sys
from pathlib import Path

# The helpers beside this folder are imported by name, as in all tests.
sys.path.insert(0, str(Path(__file__).parents[1]))
