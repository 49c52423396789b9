"""Host names and addresses that are this computer."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether this address (without brackets) or name can only be this computer."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def leads_here(host: str | None) -> bool:
    """Tell whether a connection to this host ends at this computer."""
    name = (host or "").lower().removesuffix(".")
    if name.endswith(".localhost") or is_loopback(name):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified  # to connect to 0.0.0.0 leads here, too
