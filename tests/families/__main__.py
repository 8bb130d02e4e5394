"""The command line: writes the section into docs/protocol.md."""

from families.section import PAGE, replaced, section
from ws_bridge.upstream.dialects.families import TABLES

PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), section(TABLES)), encoding="utf-8")
