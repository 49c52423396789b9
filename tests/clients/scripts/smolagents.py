# mypy: ignore-errors
"""Runs smolagents: a model that answers, and one that calls a tool of an agent."""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
from smolagents import OpenAIServerModel, ToolCallingAgent, tool

ORIGIN, MODEL, _ = sys.argv[1:]
model = OpenAIServerModel(MODEL, api_base=f"{ORIGIN}/v1", api_key="none", max_tokens=100)
said = model.generate([{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}])
assert said.content


@tool
def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    seen.append(city)
    return "sunny"


seen = []
agent = ToolCallingAgent(tools=[weather], model=model, max_steps=2, verbosity_level=0)
steps = list(agent.run("What is the weather in Rome? Use the tool.", stream=True))
assert steps
# Such a small model need not choose the right tool, but every call is one that the agent can run.
errors = [str(step.error) for step in agent.memory.steps if getattr(step, "error", None)]
assert not [one for one in errors if "parsing" in one.lower() or "JSON" in one], errors
