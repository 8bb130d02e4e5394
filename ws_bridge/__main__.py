"""``python -m ws_bridge`` is ``ws-bridge``."""

from ws_bridge.cli import main

raise SystemExit(main())
