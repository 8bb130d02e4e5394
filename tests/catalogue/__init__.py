"""The catalogue of faults, and which tests show which of them.

    python -m tests.catalogue      # writes docs/faults.md

A test is marked ``@pytest.mark.catalogue("W1")`` if it injects that fault and asserts what
``cases.py`` says is seen then; a part of it is not enough.
"""

import sys
from pathlib import Path

# Imported by name from tests, as all that stands beside this folder.
sys.path.insert(0, str(Path(__file__).parents[1]))
