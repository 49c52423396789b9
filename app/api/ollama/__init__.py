"""`/api`: the protocol of Ollama."""
