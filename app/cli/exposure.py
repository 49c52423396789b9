"""Who can reach the server that is about to start, and what that takes: accounts, TLS, an owner."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING

from app.config import Settings, is_loopback
from app.errors import ConfigError

if TYPE_CHECKING:
    from app.accounts.people import Users

log = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """Raises ConfigError for what would be open to everybody, or could not work."""
    _check_tls(settings)
    if settings.accounts == "off" and not settings.is_loopback:
        raise ConfigError(
            f"WICK_ACCOUNTS=off with WICK_HOST={settings.host} would let everybody who reaches "
            "this address read and write all chats. Leave WICK_ACCOUNTS out, so that people log "
            "in, or set WICK_HOST=127.0.0.1."
        )
    if settings.accounts == "off" and settings.trusted_proxies:
        raise ConfigError(
            "WICK_ACCOUNTS=off with WICK_TRUSTED_PROXIES would let everybody who comes through the "
            "proxy read and write all chats. Leave WICK_ACCOUNTS out, so that people log in."
        )
    if not settings.has_accounts:
        _check_name(settings)


def warn(settings: Settings) -> None:
    """Say what is allowed and not wise."""
    is_bare = not settings.tls_cert and not settings.trusted_proxies
    if settings.has_accounts and is_bare and not settings.is_loopback:
        log.warning(
            "Passwords and chats travel to %s unencrypted. Set WICK_TLS_CERT and WICK_TLS_KEY, or "
            "put a proxy with TLS in front and name it in WICK_TRUSTED_PROXIES.",
            settings.host,
        )


def _check_name(settings: Settings) -> None:
    """A name that should mean this machine may have been given to another address."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError:
        return  # that it cannot be listened on is said where that is tried
    wrong = [str(address[0]) for *_, address in found if not is_loopback(str(address[0]))]
    if wrong:
        raise ConfigError(
            f"WICK_HOST={settings.host} is {wrong[0]} here, which others may reach. Set "
            "WICK_HOST=127.0.0.1, or WICK_ACCOUNTS=on, so that people log in."
        )


def _check_tls(settings: Settings) -> None:
    if not settings.tls_cert and not settings.tls_key:
        return
    if not settings.tls_cert or not settings.tls_key:
        given, missing = ("CERT", "KEY") if settings.tls_cert else ("KEY", "CERT")
        raise ConfigError(f"WICK_TLS_{given} needs WICK_TLS_{missing} beside it.")
    for name, path in (("CERT", settings.tls_cert), ("KEY", settings.tls_key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"WICK_TLS_{name}={path} cannot be read: {error.strerror}."
            ) from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise ConfigError(
            f"WICK_TLS_CERT={settings.tls_cert} and WICK_TLS_KEY={settings.tls_key} are no "
            "certificate in PEM with its key, unencrypted."
        ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def join_url(settings: Settings, token: str) -> str:
    """Where an invitation is accepted, as this machine reaches it."""
    return f"{settings.local_url}{settings.base_path}/join/{token}"


async def print_setup_link(settings: Settings, users: Users) -> None:
    """As long as there is none: print the link by which one can come."""
    token = await users.setup_token()
    if token is None:
        return
    print(
        "  It has no owner yet. Open this link to choose your name and password; it works once,\n"
        "  within a day. From another machine, put this one's name or address into it.\n\n"
        f"  {join_url(settings, token)}\n",
        flush=True,
    )
