"""Identity: the user behind a request or a socket, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quart import g, has_request_context, has_websocket_context

from app.db.users import LOCAL_USER, Role
from app.errors import NotLoggedIn


@dataclass(frozen=True, slots=True)
class Identity:
    """`via`: how the user is known: by being at this machine, a session's cookie, an API key, or
    as the terminal of the machine, which reads the data folder.

    name: what they are called, where accounts have names; session_id, csrf: of the session.
    """

    user_id: int
    role: Role = "member"
    via: Literal["machine", "login", "key", "terminal"] = "login"
    name: str = ""
    session_id: int = 0
    csrf: str = ""

    @property
    def is_owner(self) -> bool:
        return self.role == "owner"


LOCAL = Identity(LOCAL_USER, "owner", "machine")


def identity() -> Identity:
    """Return the identity behind this request or socket. Raises NotLoggedIn without one."""
    found: Identity | None = g.get("identity")
    if found is None:
        raise NotLoggedIn("Log in first.")
    return found


def current_user() -> int:
    """Return the id of the user who asks."""
    return identity().user_id


def is_owner() -> bool:
    """Return whether to offer what only owners may do, for templates."""
    if not (has_request_context() or has_websocket_context()):
        return True
    who = identity_or_none()
    return who is not None and who.is_owner


def identity_or_none() -> Identity | None:
    """Return who looks at the page, if that is known, for templates."""
    if not (has_request_context() or has_websocket_context()):
        return None
    found: Identity | None = g.get("identity")
    return found
