# mypy: ignore-errors
"""Runs instructor, whose answers follow a class."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Literal

sys.path.pop(0)  # this folder has scripts with the names of the clients
import instructor
import openai
from pydantic import BaseModel, Field

ORIGIN, MODEL, _ = sys.argv[1:]


class Kind(Enum):
    town = "town"
    city = "city"


class Street(BaseModel):
    name: str = Field(max_length=30)
    kind: Literal["road", "lane"]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    kind: Kind
    people: int = Field(ge=0, le=10_000_000)
    mayor: str | None = Field(max_length=20)
    streets: list[Street] = Field(max_length=2)


client = openai.OpenAI(base_url=f"{ORIGIN}/v1", api_key="none")
for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON):
    made = instructor.from_openai(client, mode=mode)
    schema = City if mode is instructor.Mode.JSON_SCHEMA else Kind
    if mode is instructor.Mode.JSON:
        # No schema goes with it, only words: such a small model does not always follow those.
        made.client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell of Rome in JSON."}],
            response_format={"type": "json_object"},
            max_tokens=200,
        )
        continue
    city = made.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell of Rome."}],
        response_model=schema,
        max_retries=1,
        temperature=0,
    )
    assert isinstance(city, City)

# By a call of a tool, whose arguments follow the class.
tools = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
city = tools.chat.completions.create(
    model=MODEL,
    messages=[{"role": "user", "content": "Tell of Rome."}],
    response_model=City,
    max_retries=1,
    max_tokens=300,
)
assert isinstance(city, City)
