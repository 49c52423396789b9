"""Connections that are counted together, and those that are not counted at all."""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack

from app.cli.connection_limits import ConnectionLimiter
from app.config import Settings


def acquired(limiter: ConnectionLimiter, *addresses: str) -> list[bool]:
    """Tell which of these addresses get a connection, all at the same time."""
    with ExitStack() as stack:
        return [stack.enter_context(limiter.acquire(address)) for address in addresses]


def test_a_subnet_has_only_so_many_connections_at_a_time() -> None:
    limiter = ConnectionLimiter.from_settings(Settings(host="0.0.0.0", connections_per_address=2))
    for _ in range(2):  # what has been closed is free again
        assert acquired(limiter, *["192.0.2.1"] * 3, "192.0.2.2") == [True, True, False, True]
    assert acquired(limiter, "2001:db8::1", "2001:db8::2", "2001:db8::3") == [True, True, False]
    assert acquired(limiter, "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1") == [True, True, False]


def test_connections_are_not_counted_without_accounts_behind_a_proxy_or_without_a_limit() -> None:
    proxies = (ipaddress.ip_network("192.0.2.0/24"),)
    for settings in (
        Settings(connections_per_address=1),
        Settings(trusted_proxies=proxies, connections_per_address=1),
        Settings(host="0.0.0.0", connections_per_address=0),
    ):
        assert acquired(ConnectionLimiter.from_settings(settings), *["192.0.2.1"] * 9) == [True] * 9
