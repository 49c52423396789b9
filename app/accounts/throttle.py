"""Slows down who guesses passwords: of one name from one address, of one name from anywhere, and
of any names from one address.

A browser in which that user has logged in before is counted by itself (app/accounts/sessions.py).
So nobody can lock somebody else out, however many machines they have to guess with.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.errors import TooManyAttempts

MAX_FAILURES_PER_NAME: Final = 5
MAX_FAILURES_PER_ADDRESS: Final = 20
"""Failures in a row after which one has to wait."""
MAX_FAILURES_TOTAL: Final = 10
"""Times as many for a name from all addresses together."""
MIN_WAIT_SECONDS: Final = 30.0
MAX_WAIT_SECONDS: Final = 900.0
RESET_AFTER_SECONDS: Final = 3600.0
MAX_TALLIES: Final = 10_000


@dataclass(slots=True)
class _FailureCount:
    failures: int = 0
    last: float = 0.0
    free_at: float = 0.0


class LoginThrottle:
    """Counts every attempt as failed when it begins, so that many at once are no way around it.

    device: of a browser that is known to be the user's; empty for a stranger's. reset_after:
    seconds without an attempt after which failures are forgotten.
    """

    def __init__(
        self,
        for_a_name: int = MAX_FAILURES_PER_NAME,
        from_an_address: int = MAX_FAILURES_PER_ADDRESS,
        clock: Callable[[], float] = time.monotonic,
        reset_after: float = RESET_AFTER_SECONDS,
    ) -> None:
        self._reset_after = reset_after
        self._most = {
            "device": for_a_name,
            "name from there": for_a_name,
            "name": for_a_name * MAX_FAILURES_TOTAL,
            "address": from_an_address,
        }
        self._clock = clock
        self._tallies: OrderedDict[tuple[str, str], _FailureCount] = OrderedDict()

    def record_attempt(self, name_key: str, address: str, device: str = "") -> None:
        """Count an attempt. Raises TooManyAttempts, and then has counted nothing."""
        now, keys = self._clock(), _keys(name_key, address, device)
        wait = max(self._tally(key, now).free_at for key in keys) - now
        if wait > 0:
            raise TooManyAttempts(_wait_message(wait), math.ceil(wait))
        for key in keys:
            tally = self._tally(key, now)
            tally.failures += 1
            tally.last = now
            beyond = tally.failures - self._most[key[0]]
            if beyond >= 0:
                tally.free_at = now + min(
                    MIN_WAIT_SECONDS * 2.0 ** min(beyond, 10), MAX_WAIT_SECONDS
                )

    def record_success(self, name_key: str, address: str, device: str = "") -> None:
        """The attempt that has begun was none to guess. Those of others count as before."""
        own, *shared = _keys(name_key, address, device)
        self._tallies.pop(own, None)
        for tally in filter(None, map(self._tallies.get, shared)):
            tally.failures -= 1
            tally.free_at = 0.0

    def _tally(self, key: tuple[str, str], now: float) -> _FailureCount:
        tally = self._tallies.get(key)
        if tally is None or now - tally.last > self._reset_after:
            tally = self._tallies[key] = _FailureCount(last=now)
        self._tallies.move_to_end(key)
        while len(self._tallies) > MAX_TALLIES:
            self._tallies.popitem(last=False)
        return tally


def _keys(name_key: str, address: str, device: str) -> list[tuple[str, str]]:
    """Under what an attempt is counted: first whose it alone is."""
    if device:
        return [("device", device)]
    network = subnet_of(address)
    return [("name from there", f"{network} {name_key}"), ("name", name_key), ("address", network)]


def subnet_of(address: str) -> str:
    """Return what one subscriber has: an IPv4 address, or the first half of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)


def _wait_message(wait: float) -> str:
    seconds, minutes = math.ceil(wait), math.ceil(wait / 60)
    how_long = f"{seconds} seconds" if seconds < 90 else f"{minutes} minutes"
    return f"Too many attempts. Try again in {how_long}."
