"""Challenges: random bytes that a device signs, each good for one browser, one purpose and one use.

The browser keeps them itself, signed by this process, so nothing grows with how many are asked for;
only those that were answered are remembered, until they would have expired anyway.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

CHALLENGE_SECONDS: Final = 600
CHALLENGE_BYTES: Final = 32


class Challenges:
    """Challenges of one process: those from before it was started are expired."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._used: OrderedDict[bytes, float] = OrderedDict()

    def issue(self, purpose: str) -> tuple[bytes, str]:
        """Return a challenge, and the token by which its browser shows that it was given it."""
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        expires = int(self._clock()) + CHALLENGE_SECONDS
        text = base64.urlsafe_b64encode(challenge).decode()
        return challenge, f"{expires}.{text}.{self._signature(purpose, expires, challenge)}"

    def find(self, token: str, purpose: str) -> bytes | None:
        """Return the challenge of a token; None for one of another purpose, expired or used."""
        try:
            written, text, signature = token.split(".")
            expires, challenge = int(written), base64.urlsafe_b64decode(text.encode())
        except ValueError:
            return None
        wanted = self._signature(purpose, expires, challenge)
        if not hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), wanted.encode()):
            return None
        return challenge if expires > self._clock() and challenge not in self._used else None

    def use(self, challenge: bytes) -> bool:
        """Use a challenge up. Return whether it had not been used."""
        now = self._clock()
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        if challenge in self._used:
            return False
        self._used[challenge] = now + CHALLENGE_SECONDS
        return True

    def _signature(self, purpose: str, expires: int, challenge: bytes) -> str:
        text = f"{purpose} {expires} ".encode() + challenge
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
