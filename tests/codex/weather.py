"""An MCP server on stdio: the weather, and notes in the file that its argument names."""

import sys
from pathlib import Path

from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def forecast(city: str) -> str:
    """The weather in a city."""
    return f"Dry in {city}." if city == "Oslo" else f"Rain in {city}."


@server.tool()
def note(text: str) -> str:
    """Write a note."""
    Path(sys.argv[1]).write_text(f"{text}\n", encoding="utf-8")
    return "Noted."


if __name__ == "__main__":
    server.run()
