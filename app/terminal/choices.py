"""What a chat is answered with: its settings, changed one by one, and the choice of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from app.chats.chat_settings import NUMBERS, ChatSettings, parse, written
from app.chats.stop_strings import escaped
from app.errors import ModelNotFound
from app.terminal.backend import ModelSummary

SETTINGS: Final = ("system_prompt", *NUMBERS, "stop")


def apply_changes(
    settings: ChatSettings, new: Mapping[str, str], longest_prompt: int
) -> ChatSettings:
    """With these fields instead, as text; an empty one goes back to the model's default.

    Raises InvalidSettings.
    """
    return parse({**written(settings), **new}, longest_prompt, settings)


def describe_settings(settings: ChatSettings) -> list[str]:
    """A line for each setting that was chosen."""
    lines = []
    for name, value in settings.overrides.items():
        shown = ", ".join(f"“{escaped(stop)}”" for stop in value) if name == "stop" else value
        lines.append(f"{name.replace('_', ' ')}: {shown}")
    return lines


def resolve_model(models: Sequence[ModelSummary], wanted: str) -> str:
    """The model of that name; without a name the first. Raises ModelNotFound."""
    if not models:
        raise ModelNotFound(
            "There is no model on the shelf yet. Get one: wick models pull smollm2-135m"
        )
    if not wanted:
        return models[0].name
    if all(model.name != wanted for model in models):
        names = ", ".join(model.name for model in models)
        raise ModelNotFound(f"There is no model named “{wanted}” on the shelf. There are: {names}.")
    return wanted
