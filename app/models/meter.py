"""What one rendering of a chat template may spend: time, and characters and items handled."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from jinja2 import Undefined

from app.errors import TemplateError

BUDGET: Final = 20_000_000
"""Characters and items that one rendering may handle, all its intermediate results together."""
SECONDS: Final = 2.0
ITEM: Final = 8
"""What an item of a new list costs: it takes that many times the room of a character."""


class RenderBudget:
    """What one rendering may still spend."""

    def __init__(
        self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = BUDGET
        self._clock = clock
        self._deadline = clock() + seconds

    def charge(self, amount: int) -> None:
        self.left -= amount + 1
        if self.left < 0:
            raise TemplateError("The model's chat template grew too large.")
        if self._clock() > self._deadline:
            raise TemplateError("The model's chat template took too long.")

    def charge_value(self, value: object, times: int = 1) -> None:
        """Spend for every item and character that `value` would take when written out."""
        before = self.left
        self._weigh(value)
        self.charge((before - self.left) * (times - 1))

    def _weigh(self, value: object) -> None:
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                self.charge(len(item))
            elif isinstance(item, dict):
                self.charge(2 * len(item))
                waiting += item.keys()
                waiting += item.values()
            elif isinstance(item, list | tuple):
                self.charge(len(item))
                waiting += item
            elif isinstance(item, int | float | Undefined | type(None)):
                self.charge(20)
            else:
                raise TemplateError(
                    f"The model's chat template writes out a {type(item).__name__}."
                )


METER: Final[ContextVar[RenderBudget]] = ContextVar("METER")
"""The meter of the rendering under way; set by whoever renders."""
