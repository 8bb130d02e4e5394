"""What works with which family of providers: a section of docs/protocol.md, made of the tables.

`python -m tests.families` writes it.
"""

import sys
from pathlib import Path

# Imported by name from tests, as all that stands beside this folder.
sys.path.insert(0, str(Path(__file__).parents[1]))
