"""Tickets: what a browser holds for some minutes between two steps, such as of a login.

They are kept in memory: whoever is between two steps when Wick is restarted begins again.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
TICKET_SECONDS: Final = 600.0
MAX_PER_USER: Final = 8
"""A user's oldest gives way, so nobody takes those of others by making many."""


class Tickets(Generic[T]):
    """Values that a secret token stands for, until they are used or `seconds` have passed."""

    def __init__(
        self, seconds: float = TICKET_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._issued: OrderedDict[str, tuple[int, float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, user_id: int, value: T) -> str:
        """Return the token."""
        self._forget_old()
        own = [token for token, issued in self._issued.items() if issued[0] == user_id]
        for token in own[: 1 - MAX_PER_USER]:
            del self._issued[token]
        token = secrets.token_urlsafe(32)
        self._issued[token] = user_id, self._clock() + self._seconds, value
        return token

    def find(self, token: str) -> T | None:
        self._forget_old()
        issued = self._issued.get(token)
        return None if issued is None else issued[2]

    def use(self, token: str) -> T | None:
        """Return the value of a token, which is worth nothing from now on."""
        found = self.find(token)
        self._issued.pop(token, None)
        return found

    def _forget_old(self) -> None:
        now = self._clock()
        while self._issued and next(iter(self._issued.values()))[1] <= now:
            self._issued.popitem(last=False)
