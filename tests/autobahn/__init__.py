"""The Autobahn test cases 1-10 against the bridge's own socket; ``python -m tests.autobahn``."""
