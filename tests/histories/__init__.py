"""What a provider gets back of each kind of answer: one row an answer of ``wires``, each way.

The rows are the answers that hold more than words: tools that the provider ran, thoughts, seals,
signatures, citations, calls. ``expected/`` has the provider's last body of each row, whole:

* ``chained``: the next turn names the response: on its socket, on another server, after a restart.
* ``resent``: the client sends the items of the answer itself.
* ``account``: another account of the same provider is asked for the next turn.
* ``elsewhere``: another provider of another family is.
* ``account-resent``, ``elsewhere-resent``: so it is, and the client sends the items itself.

    python -m tests.histories

writes the files again; read what has changed in them. With `--dump RELEASE` it writes what a store
holds of each row after its first turn: see ``dumps.py``.
"""

import sys
from pathlib import Path

# The helpers beside this folder (`wires`, `support`, `server`, ...) are imported by name.
sys.path.insert(0, str(Path(__file__).parents[1]))
