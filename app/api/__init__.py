"""The HTTP API for programs: Wick's own resources, and the protocols of OpenAI and Ollama."""
