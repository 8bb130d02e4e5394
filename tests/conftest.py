"""Fixtures of the whole suite."""

import sys
from pathlib import Path

# The helpers beside this file (`scripted`, `strict`, `upstreams`, ...) are imported by name.
sys.path.insert(0, str(Path(__file__).parent))
