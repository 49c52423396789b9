"""Logging in by a proxy, which names the user in a header of each request.

Only proxies that WICK_AUTH_PROXY names are believed. The header is taken off every request before
anything else sees it, so whoever else sends it gains nothing. It begins sessions of browsers; these
hold only as long as the proxy goes on naming the same user. Programs need an API key, as always.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from app.accounts.external_identities import MAX_SUBJECT_CHARS, PROXY, ExternalIdentity
from app.audit import audit
from app.config import Settings
from app.db.sessions import Session
from app.db.users import Role
from app.net import in_networks
from app.web.context import server_context

Application = Callable[[Any, Any, Any], Awaitable[None]]
PROXY_LOGIN: Final = "wick.proxy_login"
"""In the scope of a request: the ProxyLogin that a trusted proxy has sent with it."""
TITLE: Final = "the proxy"
MAX_GROUPS: Final = 1000


@dataclass(frozen=True, slots=True)
class ProxyLogin:
    """A user as the proxy names them, with their groups."""

    name: str
    groups: frozenset[str] = frozenset()


class LoginHeader:
    """Wraps an ASGI application that sees real peers: other proxies' claims come later."""

    def __init__(self, application: Application, settings: Settings) -> None:
        self._application = application
        self._name = settings.auth_header.lower().encode()
        self._groups = settings.auth_groups_header.lower().encode()
        self._trusted = settings.auth_proxy

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._name and scope["type"] in {"http", "websocket"}:
            scope = self._apply(scope)
        await self._application(scope, receive, send)

    def _apply(self, scope: dict[str, Any]) -> dict[str, Any]:
        ours = {self._name, self._groups} - {b""}
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        found = [(name, value) for name, value in headers if name in ours]
        if not found:
            return scope
        scope = scope | {"headers": [pair for pair in headers if pair[0] not in ours]}
        peer = str(scope["client"][0]) if scope.get("client") else ""
        names = [value for name, value in found if name == self._name]
        groups = [value for name, value in found if name == self._groups]
        if not in_networks(peer, self._trusted):
            audit("refused", what="login header", path=scope["path"], address=peer)
        elif len(names) > 1:
            audit("refused", what="two login headers", path=scope["path"], address=peer)
        elif names and (name := _text(names[0])):
            scope[PROXY_LOGIN] = ProxyLogin(name, _parse_groups(groups))
        return scope


def _text(value: bytes) -> str:
    """Decode a name; empty for none, and for what is no single name."""
    try:
        text = value.decode().strip()
    except UnicodeDecodeError:
        return ""
    is_odd = "," in text or any(unicodedata.category(c)[0] == "C" for c in text)
    return "" if is_odd or len(text) > MAX_SUBJECT_CHARS else text


def _parse_groups(values: list[bytes]) -> frozenset[str]:
    """Split the groups; two headers of them are none."""
    if len(values) != 1:
        return frozenset()
    parts = re.split(r"[,|]", values[0].decode("utf-8", "replace"), maxsplit=MAX_GROUPS)
    return frozenset(part.strip() for part in parts if part.strip())


def role_of(groups: frozenset[str], owner_group: str) -> Role | None:
    """Return the role of somebody in these groups; None where groups decide nothing."""
    if not owner_group:
        return None
    return "owner" if owner_group in groups else "member"


def proxied_identity(scope: Mapping[str, Any]) -> ExternalIdentity | None:
    """Return the user that a trusted proxy names in a request or an upgrade."""
    login: ProxyLogin | None = scope.get(PROXY_LOGIN)
    if login is None:
        return None
    settings = server_context().settings
    is_by_group = bool(settings.auth_groups_header)
    role = role_of(login.groups, settings.auth_owner_group) if is_by_group else None
    return ExternalIdentity(
        issuer=PROXY,
        subject=login.name,
        method=PROXY,
        title=TITLE,
        name=login.name,
        role=role,
        may_create=settings.auth_create,
    )


async def check_session(scope: Mapping[str, Any], session: Session) -> Session | None:
    """Return the session if it holds: not one by a proxy that names nobody now, and not one of
    another user than the one that a proxy names."""
    identity, context = proxied_identity(scope), server_context()
    if identity is None:
        return None if session.method == PROXY else session
    user_id = await context.identities.user_of(PROXY, identity.subject)
    if user_id is None and session.method != PROXY:
        return session
    if user_id is None or user_id != session.user_id:
        await context.sessions.revoke(session.user_id, session.id)
        return None
    if identity.role not in {None, session.role}:
        user = await context.identities.update_role(await context.users.get(user_id), identity.role)
        return replace(session, role=user.role)
    return session
