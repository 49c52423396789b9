"""Limit of open connections per address, so that nobody alone takes them all."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.accounts.throttle import subnet_of
from app.audit import audit
from app.config import Settings
from app.net import in_networks

MAX_OPEN_FILES: Final = 65_536


class ConnectionLimiter:
    """Counter of open connections. `most`: of one address, 0 for any number.

    Trusted proxies are not counted, since everybody comes through them.
    """

    def __init__(self, settings: Settings, most: int) -> None:
        self._proxies = settings.trusted_proxies
        self._most = most
        self._open: Counter[str] = Counter()
        self._full: set[str] = set()

    @classmethod
    def from_settings(cls, settings: Settings) -> ConnectionLimiter:
        """Make one that counts nobody where only this machine gets in."""
        return cls(settings, settings.connections_per_address if settings.has_accounts else 0)

    @contextmanager
    def acquire(self, address: str) -> Iterator[bool]:
        """Take a connection until the end of the block; False when there is no room for it."""
        if not self._most or in_networks(address, self._proxies):
            yield True
            return
        network = subnet_of(address)
        if self._open[network] >= self._most:
            self._log_once(network)
            yield False
            return
        self._open[network] += 1
        try:
            yield True
        finally:
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]
                self._full.discard(network)

    def _log_once(self, network: str) -> None:
        """Log a full network once, until all of its connections are closed."""
        if network not in self._full:
            self._full.add(network)
            audit("limit-reached", limit="connections", address=network)


def raise_file_limit() -> None:
    """Raise the limit of open files: connections are files, and systems allow few by default."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
