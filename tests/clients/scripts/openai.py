# mypy: ignore-errors
"""OpenAI's own client."""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
import openai

ORIGIN, MODEL, _ = sys.argv[1:]
HELLO = [{"role": "user", "content": "Say hello in one word."}]
client = openai.OpenAI(base_url=f"{ORIGIN}/v1", api_key="none")

assert MODEL in [model.id for model in client.models.list()]
chat = client.chat.completions
whole = chat.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=10)
stream = chat.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=10, stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
assert whole.choices[0].message.content == streamed != ""

told = client.completions.create(
    model=MODEL, prompt="The capital of France is", echo=True, logprobs=1, max_tokens=0
).choices[0]
assert told.logprobs.token_logprobs[0] is None
assert len(told.logprobs.tokens) == len(told.logprobs.top_logprobs) > 3
several = client.completions.create(model=MODEL, prompt=["One", "Two"] * 20, max_tokens=2)
assert [choice.index for choice in several.choices] == list(range(40))
best = client.completions.create(model=MODEL, prompt="One", best_of=3, max_tokens=4)
assert len(best.choices) == 1

made = client.embeddings.create(model=MODEL, input=["a fox", "a hen"], dimensions=64)
assert [len(one.embedding) for one in made.data] == [64, 64]

refused = None
try:
    chat.create(model=MODEL, messages=[{"role": "user", "content": "water " * 9000}])
except openai.BadRequestError as error:
    refused = error
assert refused.code == "context_length_exceeded"
assert "maximum context length" in refused.message
