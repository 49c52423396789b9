"""The table of sessions that OpenID providers have begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from app.db.connection import Database


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """A session that a provider has begun. login_id: the session; session: the provider's own,
    empty for none; ends_at: when the user has to log in there again."""

    login_id: int
    provider: str
    issuer: str
    subject: str
    session: str
    id_token: str
    ends_at: float


async def add(connection: aiosqlite.Connection, session: ProviderSession) -> None:
    """Add it, unless the session has ended meanwhile."""
    await connection.execute(
        "INSERT INTO provider_sessions"
        " (login_id, provider, issuer, subject, session, id_token, ends_at)"
        " SELECT id, ?, ?, ?, ?, ?, ? FROM logins WHERE id = ?",
        (
            session.provider,
            session.issuer,
            session.subject,
            session.session,
            session.id_token,
            session.ends_at,
            session.login_id,
        ),
    )


async def get(db: Database, user_id: int, login_id: int) -> ProviderSession | None:
    """Return what is known of a session of this user; None for one that no provider began."""
    row = await db.fetch_one(
        "SELECT p.* FROM provider_sessions p JOIN logins l ON l.id = p.login_id"
        " WHERE p.login_id = ? AND l.user_id = ?",
        (login_id, user_id),
    )
    return None if row is None else ProviderSession(**dict(row))


async def end(
    connection: aiosqlite.Connection, issuer: str, subject: str, session: str
) -> list[tuple[int, int]]:
    """End the sessions that the provider names, by its session, its user or both.

    Return them, each with its user.
    """
    async with connection.execute(
        "DELETE FROM logins WHERE id IN (SELECT login_id FROM provider_sessions"
        " WHERE issuer = ?1 AND (?2 = '' OR subject = ?2) AND (?3 = '' OR session = ?3)"
        " AND (?2 != '' OR ?3 != '')) RETURNING id, user_id",
        (issuer, subject, session),
    ) as cursor:
        return [(int(row[0]), int(row[1])) for row in await cursor.fetchall()]


async def end_old(connection: aiosqlite.Connection, now: float) -> list[tuple[int, int]]:
    """End the sessions whose time is over. Return them, each with its user."""
    async with connection.execute(
        "DELETE FROM logins WHERE id IN (SELECT login_id FROM provider_sessions"
        " WHERE ends_at <= ?) RETURNING id, user_id",
        (now,),
    ) as cursor:
        return [(int(row[0]), int(row[1])) for row in await cursor.fetchall()]
