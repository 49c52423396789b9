"""A well-behaved MCP server of the SDK: `python sample_server.py [PORT]`, by stdio or HTTP."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("Sample", version="1.2.3", log_level="ERROR")


@server.tool(title="Add numbers")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def environment(name: str) -> str:
    """Read a variable of this server's environment."""
    return os.environ.get(name, "nothing")


@server.tool()
def folder() -> str:
    """Tell where this server runs."""
    return os.getcwd()  # noqa: PTH109


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("The well is dry.")


@server.tool()
async def wait() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return "never"


@server.tool()
def picture() -> Image:
    """Return a picture."""
    return Image(data=b"\x89PNG\r\n\x1a\n", format="png")


@server.tool()
def long(characters: int) -> str:
    """Return a long text."""
    return "x" * characters


@server.tool()
def die() -> str:
    """End this server."""
    print("I am dying", file=sys.stderr, flush=True)
    os._exit(7)


@server.resource("notes://foxes", title="About foxes", mime_type="text/markdown")
def foxes() -> str:
    return "# Foxes\nThey jump over dogs."


@server.resource("notes://picture", title="A fox", mime_type="image/png")
def fox() -> bytes:
    return b"\x89PNG\r\n\x1a\n"


@server.prompt(title="Reply politely")
def reply(language: str, tone: str = "warm") -> str:
    """Write a reply."""
    return f"Write a {tone} reply in {language}."


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
