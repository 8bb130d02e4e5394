"""One client that attacks in every way at once, beside fifty streams of another: none may be lost.

    python -m tests.attack --quiet 20

Two servers on one store. The streams, their provider and their clients are a process of their own;
the attacker and the provider that helps it are this one. How late the streams' events were, without
the attack and under it, is printed and judged by nobody.
"""

import sys
from pathlib import Path

# The helpers beside this folder are imported by name, as in all tests, and the bench as
# `tests.bench`, as it imports itself.
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
