"""Two bridges and their store under random faults: what everybody saw must be one truth.

    python -m tests.faults --minutes 10 --seed 1

Rounds of responses (sockets, background jobs, followers and pollers on both servers, chains,
cancels, clients that leave) while servers are killed, frozen and started again, and the store is
frozen, killed, started from its file, and loses its subscriptions, and while a server's line to the
store is reset, cut, or half open. Every round has a seed; a checker that was fed by every observer
says what did not hold. What the documents except is counted apart.
"""

import sys
from pathlib import Path

# The helpers beside this folder (`fleet`, `valkeys`, ...) are imported by name, as in all tests.
sys.path.insert(0, str(Path(__file__).parents[1]))
