"""Who is asking: the person behind a request or a socket, and what that person may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quart import g, has_request_context, has_websocket_context

from app.db.users import LOCAL_USER, Role
from app.errors import NotLoggedIn


@dataclass(frozen=True, slots=True)
class Identity:
    """`via`: how the person is known: by being at this machine, a login's cookie, an API key, or
    as the terminal of the machine, which reads the data folder.

    name: what they are called, where accounts have names; session_id, csrf: of the login.
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
    """Of the request or socket that is being handled. Raises NotLoggedIn when it is nobody's."""
    found: Identity | None = g.get("identity")
    if found is None:
        raise NotLoggedIn("Please log in first.")
    return found


def current_user() -> int:
    """The person's id."""
    return identity().user_id


def is_owner() -> bool:
    """For templates: whether to offer what only the owner may do."""
    if not (has_request_context() or has_websocket_context()):
        return True
    who = identity_or_none()
    return who is not None and who.is_owner


def identity_or_none() -> Identity | None:
    """For templates: who looks at the page, if that is known."""
    if not (has_request_context() or has_websocket_context()):
        return None
    found: Identity | None = g.get("identity")
    return found
