# mypy: ignore-errors
"""Ollama's own client."""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
import ollama

ORIGIN, MODEL, _ = sys.argv[1:]
HELLO = [{"role": "user", "content": "Say hello in one word."}]
client = ollama.Client(ORIGIN)

assert f"{MODEL}:latest" in [model.model for model in client.list().models]
options = {"temperature": 0, "num_predict": 10}
whole = client.chat(MODEL, HELLO, options=options)
parts = client.chat(MODEL, HELLO, options=options, stream=True)
assert "".join(part.message.content or "" for part in parts) == whole.message.content != ""
first = client.generate(MODEL, "My name is Anna.", options=options)
second = client.generate(MODEL, "What is my name?", context=first.context, options=options)
assert list(second.context)[: len(first.context)] == list(first.context)
said = ""
try:
    client.generate(MODEL, "def add(", suffix="return c")
except ollama.ResponseError as error:
    said = str(error)
assert "does not support insert" in said
assert client.embed(MODEL, []).embeddings == []
assert len(client.embed(MODEL, "a fox", dimensions=64).embeddings[0]) == 64
calls = [{"function": {"name": "sky", "arguments": {"at": "noon"}}}]
turns = [
    HELLO[0],
    {"role": "assistant", "content": "", "tool_calls": calls},
    {"role": "tool", "content": "It is blue.", "tool_name": "sky"},
]
assert client.chat(MODEL, turns, options=options).message.content
