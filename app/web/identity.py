"""Who is asking: the person behind a request or a socket, and what that person may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quart import g

LOCAL_USER = 1
"""The one owner of a Wick that only this machine reaches."""

Role = Literal["owner", "member"]


@dataclass(frozen=True, slots=True)
class Identity:
    """`via`: how the person is known: by being at this machine, a login's cookie or an API key."""

    user_id: int
    role: Role = "member"
    via: Literal["machine", "login", "key"] = "login"


LOCAL = Identity(LOCAL_USER, "owner", "machine")


def identity() -> Identity:
    """Of the request or socket that is being handled."""
    found: Identity = g.get("identity", LOCAL)
    return found


def current_user() -> int:
    """The person's id."""
    return identity().user_id
