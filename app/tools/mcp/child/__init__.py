"""The MCP connector: a process that speaks with one MCP server by the official SDK."""
