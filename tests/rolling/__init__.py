"""Servers that are restarted one after the other, under chains that go on all the while.

    python -m tests.rolling --chains 100

Clients keep a chain of turns going through a TCP balancer, reconnect when they are sent away, and
resume what was cut off; meanwhile each server is asked to end and started again. What every client
saw is compared with what the servers replay afterwards, and with what the providers were asked.
"""

import sys
from pathlib import Path

# The helpers beside this folder (`fleet`, `valkeys`, ...) are imported by name, as in all tests.
sys.path.insert(0, str(Path(__file__).parents[1]))
