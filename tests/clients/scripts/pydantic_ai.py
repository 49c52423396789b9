# mypy: ignore-errors
"""Pydantic AI, whose answers follow a class."""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

ORIGIN, MODEL, _ = sys.argv[1:]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    people: int = Field(ge=0, le=10_000_000)


model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{ORIGIN}/v1", api_key="none"))
settings = {"temperature": 0.0, "max_tokens": 100}
plain = Agent(model, instructions="Be brief.", model_settings=settings)
first = plain.run_sync("Say hello.")
assert first.output
assert first.usage.output_tokens > 0
assert plain.run_sync("And again.", message_history=first.all_messages()).output
agent = Agent(model, output_type=NativeOutput(City), model_settings=settings)
assert isinstance(agent.run_sync("Tell of Rome.").output, City)

# The same class by a call of a tool, which the model has to make; and OpenAI's newer protocol.
by_tool = Agent(model, output_type=City, model_settings=settings)
assert isinstance(by_tool.run_sync("Tell of Rome.").output, City)
newer = OpenAIResponsesModel(
    MODEL, provider=OpenAIProvider(base_url=f"{ORIGIN}/v1", api_key="none")
)
assert Agent(newer, model_settings=settings).run_sync("Say hello.").output
