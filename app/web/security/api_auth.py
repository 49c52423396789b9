"""Who a program acts for, by its API key, and what that key may be used for; and the terminal."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from quart import request
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.datastructures import Headers

from app.accounts.api_keys import PREFIX, SCOPES
from app.audit import audit
from app.db.users import LOCAL_USER
from app.errors import NotAllowed, NotLoggedIn
from app.web.addresses import OWN_API
from app.web.context import server_context
from app.web.security.hosts import SAFE_METHODS
from app.web.security.identity import Identity, identity

FOR_ANY_KEY = frozenset({"/api/show"})


async def authenticate_key(asked: BaseRequestWebsocket) -> Identity | None:
    """The person of the key that comes with this; None when none of ours comes with it.

    Programs insist on having a key and send whatever they are given, so what is none of ours counts
    as none. Raises NotLoggedIn for one that does not hold, NotAllowed for one that may not do this.
    """
    secret = bearer_token(asked.headers)
    if not secret.startswith(PREFIX):
        return None
    holder = await server_context().api_keys.authenticate(secret)
    if holder is None:
        audit("key-refused", path=asked.path, address=asked.remote_addr)
        raise NotLoggedIn("Invalid or revoked API key.")
    user, key = holder
    scope = scope_of(asked.method, asked.path)
    if scope and scope not in key.scopes:
        raise NotAllowed(f"The API key “{key.name}” is not allowed to {SCOPES[scope]}.")
    return Identity(user.id, user.role, "key", user.name)


async def authenticate_local_cli(asked: BaseRequestWebsocket) -> Identity | None:
    """The terminal of this machine, as the first owner, when it shows what the data folder says."""
    context, given = server_context(), bearer_token(asked.headers)
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), context.secret.encode()):
        return None
    is_shared = context.settings.has_accounts
    user_id = await context.users.first_owner() if is_shared else LOCAL_USER
    return Identity(user_id, "owner", "terminal")


def authorization_check() -> Callable[[], Awaitable[bool]]:
    """Asks later, when the request is handled no more, whether its key or login still holds."""
    context, who, secret = server_context(), identity(), bearer_token(request.headers)

    async def holds() -> bool:
        if who.via == "key":
            return await context.api_keys.authenticate(secret) is not None
        return who.via != "login" or await context.sessions.is_active(who.session_id)

    return holds


def bearer_token(headers: Headers) -> str:
    """The key in a request, empty if there is none."""
    kind, _, secret = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    return headers.get("X-Api-Key", "").strip()


def scope_of(method: str, path: str) -> str:
    """What a key must be good for; empty where any key will do."""
    is_reading = method in SAFE_METHODS
    if path.startswith(OWN_API):
        return "read" if is_reading else "write"
    return "" if is_reading or path in FOR_ANY_KEY else "chat"
