"""Suggestions for the page of a new chat, that fit what its model can do."""

from __future__ import annotations

from typing import Final

from app.models.model import Model
from app.models.text.builtin_templates import thinking_parameters_of

SMALL_PARAMETERS: Final = 1_000_000_000
"""Weights below which a model writes and rephrases, but knows and reasons little."""
_SMALL: Final = (
    "Write a short poem about autumn rain",
    "Suggest five names for a small bakery",
    "Make this sentence sound friendlier: Send me the report today.",
    "Explain what a noun is, with three examples",
)
_USUAL: Final = (
    "Draft a polite e-mail that declines an invitation",
    "Explain in simple words how a heat pump works",
    "Plan three easy dinners, with a shopping list",
    "Compare trains and buses for a trip with children",
)
_CODE: Final = (
    "Write a Python function that finds duplicate files in a folder",
    r"Explain this regular expression: ^\d{4}-\d{2}-\d{2}$",
    "Write an SQL query for the ten best customers of last year",
    "Explain the difference between a list and a tuple in Python",
)
_THINKING: Final = (
    "A bat and a ball cost 11 together. The bat costs 10 more than the ball. What does each cost?",
    "Help me decide: rent or buy a flat? Ask me what you need to know.",
    "Plan a weekend in a city I don't know, in the rain",
    "Find the weak points of my argument:",
)


def suggestions_for(model: Model | None) -> tuple[str, ...]:
    """Four texts to begin a chat with."""
    if model is None:
        return _USUAL
    names = f"{model.name} {model.title}".lower()
    if "code" in names:
        return _CODE
    if 0 < model.parameters < SMALL_PARAMETERS:
        return _SMALL
    return _THINKING if model.remote is None and thinking_parameters_of(model) else _USUAL
