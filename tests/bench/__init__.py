"""`python -m tests.bench`: what the bridge costs, beside a bare pass-through in the same run.

Rule 1: every number of the bridge stands beside the same number of a subject of the same round.
Rule 2: nothing here gates on time; that every stream was whole and in order is asserted always.
Rule 3: subjects are measured from outside, and each is a process of its own.
"""

import sys
from pathlib import Path

# The servers of the tests are imported by name, as the tests do.
sys.path.insert(0, str(Path(__file__).parents[1]))
