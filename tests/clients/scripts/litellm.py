# mypy: ignore-errors
"""LiteLLM, by both protocols."""

from __future__ import annotations

import os
import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

ORIGIN, MODEL, _ = sys.argv[1:]
HELLO = [{"role": "user", "content": "Say hello in one word."}]
OPENAI = {"model": f"openai/{MODEL}", "api_base": f"{ORIGIN}/v1", "api_key": "none"}
OLLAMA = {"model": f"ollama_chat/{MODEL}", "api_base": ORIGIN}
for here in (OPENAI, OLLAMA, OLLAMA | {"model": f"ollama/{MODEL}"}):
    given = here | {"messages": HELLO, "max_tokens": 10, "temperature": 0}
    whole = litellm.completion(**given).choices[0].message.content
    parts = litellm.completion(**given, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole != "", here
text = litellm.text_completion(
    **OPENAI | {"model": f"text-completion-openai/{MODEL}"}, prompt="Once upon", max_tokens=4
)
assert text.choices[0].text
assert len(litellm.embedding(**OPENAI, input=["a fox", "a hen"]).data) == 2
try:
    litellm.completion(**OPENAI, messages=[HELLO[0] | {"content": "water " * 9000}])
except litellm.ContextWindowExceededError:
    pass
else:
    raise AssertionError("it was read")

# A call of a tool, and Anthropic's protocol.
function = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
called = litellm.completion(
    **OPENAI,
    messages=HELLO,
    tools=[{"type": "function", "function": function}],
    tool_choice="required",
    max_tokens=60,
)
assert called.choices[0].message.tool_calls[0].function.name == "weather"
claude = {"model": f"anthropic/{MODEL}", "api_base": ORIGIN, "api_key": "none"}
given = claude | {"messages": HELLO, "max_tokens": 10, "temperature": 0}
whole = litellm.completion(**given).choices[0].message.content
parts = litellm.completion(**given, stream=True)
assert "".join(part.choices[0].delta.content or "" for part in parts) == whole != ""
