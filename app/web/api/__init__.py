"""The HTTP API for programs: `/v1` as OpenAI's clients speak it, `/api` as Ollama's do, and Wick's
own resources under `/api/v1`. One module for each resource; all of them answer in JSON."""
