"""Tools, resources and prompts of MCP servers, each reached through a process of its own."""
