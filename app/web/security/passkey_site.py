"""The relying party of passkeys: the host of the page, if passkeys work there."""

from __future__ import annotations

import ipaddress

from quart import request

from app.accounts.passkeys import RelyingParty, is_set_up
from app.errors import PasskeyRefused
from app.web.context import server_context
from app.web.security.hosts import host_name


def passkey_obstacle() -> str:
    """Return why passkeys do not work here, as a sentence; empty where they do."""
    name = host_name(request.host)
    if not is_set_up():
        return "Passkeys are not set up here. The owner can: pip install 'wick[passkeys]'"
    if _is_address(name):
        return "Passkeys need a name: open Wick by its host name, not by its IP address."
    if not request.is_secure and name != "localhost":
        return "Passkeys need a secure page: open Wick by https."
    return ""


def relying_party() -> RelyingParty:
    """Raises PasskeyRefused where passkeys do not work."""
    if problem := passkey_obstacle():
        raise PasskeyRefused(problem)
    return RelyingParty(host_name(request.host), f"{request.scheme}://{request.host}")


async def offers_passkeys() -> bool:
    """Return whether somebody could log in with a passkey on this page."""
    return not passkey_obstacle() and await server_context().passkeys.has_any(relying_party())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
