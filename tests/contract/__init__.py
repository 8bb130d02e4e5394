"""The contract with clients: docs/protocol.md, and the two documents for machines made of it.

`python -m tests.contract` writes `ws_bridge/server/http/openapi.json` and `docs/asyncapi.yaml`.
"""

import sys
from pathlib import Path

# Imported by name from tests, as all that stands beside this folder.
sys.path.insert(0, str(Path(__file__).parents[1]))
