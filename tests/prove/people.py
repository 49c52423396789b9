"""Accounts that have logged in, made before the server runs: no time goes into passwords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.accounts.sessions import cookie_name
from app.db.users import Role
from tests.application import PASSWORD, context_of, run_app
from tests.e2e.server import Server


def name_people(count: int) -> list[tuple[str, Role]]:
    """Name an owner and members, `count` together."""
    return [("Olga", "owner"), *((f"Member {number}", "member") for number in range(1, count))]


@dataclass(frozen=True, slots=True)
class Login:
    """Login of one person. headers: what their browser sends."""

    user_id: int
    name: str
    headers: dict[str, str]


async def add_people(
    server: Server, models: Path, people: Sequence[tuple[str, Role]]
) -> list[Login]:
    """Add accounts to the data of a server that does not run, and log in to each.

    The first of all is the owner.
    """
    logins = []
    given = {"models_dir": models, "port": server.port, "accounts": "on"}
    async with run_app(server.data, **given) as app:
        context = context_of(app)
        for name, role in people:
            user = await context.users.add(name, PASSWORD, role)
            token, session = await context.sessions.create(user.id, "Test", "192.0.2.1")
            headers = {
                "Origin": server.origin,
                "Cookie": f"{cookie_name('login', server.port, is_secure=False)}={token}",
                "X-CSRF-Token": session.csrf,
            }
            logins.append(Login(user.id, name, headers))
    return logins
