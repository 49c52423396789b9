"""States of a model's life, and the one table of the steps between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class ModelState(StrEnum):
    """State of a model. Its values are those that APIs and pages show."""

    IDLE = "idle"
    """Nothing is loaded."""
    LOADING = "loading"
    READY = "ready"
    """Loaded: it answers, or waits for requests."""
    UNLOADING = "unloading"
    """Its runner writes what it holds to the disk and ends."""
    FAILED = "failed"
    """Nothing is loaded, because the last load failed; a new one may have to wait (back-off)."""

    @property
    def is_loaded(self) -> bool:
        """Tell whether there is a runner or the beginning of one, which holds memory."""
        return self not in {ModelState.IDLE, ModelState.FAILED}


TRANSITIONS: Final[Mapping[ModelState, frozenset[ModelState]]] = MappingProxyType(
    {
        ModelState.IDLE: frozenset({ModelState.LOADING}),
        # to idle: nobody wants it any more
        ModelState.LOADING: frozenset({ModelState.READY, ModelState.FAILED, ModelState.IDLE}),
        # to idle: the runner died, or Wick stops
        ModelState.READY: frozenset({ModelState.UNLOADING, ModelState.IDLE}),
        ModelState.UNLOADING: frozenset({ModelState.IDLE}),
        ModelState.FAILED: frozenset({ModelState.LOADING}),
    }
)
"""All steps there are, by the state they start from."""


class IllegalTransition(AssertionError):
    """A step that the table does not have: a fault of the program, never of a user."""


def next_state(current: ModelState, new: ModelState) -> ModelState:
    """Return `new`. Raises IllegalTransition where the table has no such step."""
    if new not in TRANSITIONS[current]:
        raise IllegalTransition(f"A model that is {current} cannot become {new}.")
    return new
