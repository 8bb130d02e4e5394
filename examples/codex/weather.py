"""An MCP server on stdio with one tool. pip install mcp."""

from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


server.run()
