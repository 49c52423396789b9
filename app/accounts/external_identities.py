"""External identities: users whom a proxy or a provider logs in, who need no password here.

An identity belongs to a user because an account was made for it, or because that user has linked
it while logged in. A name or an e-mail address alone never leads into an account that is there
already, unless an owner has switched that on for an issuer: users choose those themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiosqlite

from app.accounts.users import MAX_NAME_CHARS, Users, insert_user, normalize_name
from app.audit import audit
from app.db import identities
from app.db.connection import Database
from app.db.identities import LinkedIdentity
from app.db.users import Role, User
from app.errors import IdentityRefused, InvalidAccount, LastOwner, UserNotFound

PROXY: Final = "proxy"
"""Issuer of the identities that a proxy names in a header."""
MAX_SUBJECT_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """An identity that an issuer vouches for.

    method: how it logs in, as sessions and the audit log have it; title: what users call the
    issuer; name: what to call them here; role: by their groups, None where groups decide nothing;
    may_create: whether an account is made for it when it is seen for the first time; account: the
    name of an account that is there already and that it may enter.
    """

    issuer: str
    subject: str
    method: str
    title: str
    name: str
    role: Role | None = None
    may_create: bool = False
    account: str = ""


class ExternalIdentities:
    """Finds, makes and links the users of external identities.

    on_role_change: called with a user whose groups have made them an owner or a member.
    """

    def __init__(
        self,
        db: Database,
        users: Users,
        *,
        on_role_change: Callable[[int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._users = users
        self._on_role_change = on_role_change
        self._clock = clock

    async def user_of(self, issuer: str, subject: str) -> int | None:
        return await identities.user_of(self._db, issuer, subject)

    async def authenticate(self, identity: ExternalIdentity, address: str) -> User:
        """Return the user who logs in; their groups decide their role from now on.

        Raises IdentityRefused with what they can do about it.
        """
        user_id = await self.user_of(identity.issuer, identity.subject)
        if user_id is None:
            user_id = await self._find_account(identity) or await self._create(identity)
        try:
            user = await self._users.get(user_id)
        except UserNotFound:
            user = None
        if user is None or user.disabled_at is not None:
            audit("login-failed", user=user_id, method=identity.method, address=address)
            raise IdentityRefused("This account is disabled. Ask an owner.")
        return await self.update_role(user, identity.role)

    async def update_role(self, user: User, role: Role | None) -> User:
        """Give a user the role of their groups; the last owner stays one."""
        if role is None or role == user.role:
            return user
        try:
            await self._users.set_role(user.id, role)
        except LastOwner:
            return user
        self._on_role_change(user.id)
        return await self._users.get(user.id)

    async def _find_account(self, identity: ExternalIdentity) -> int | None:
        """Link an identity to the account that it may enter by its name, if there is one."""
        if not identity.account or not await self._users.has_owner():
            return None
        try:
            user = await self._users.get_by_name(identity.account)
        except UserNotFound:
            return None
        if user.name.casefold() != identity.account.casefold():
            return None  # alike to people, and two names at the issuer
        if user.disabled_at is None:
            await self.link(user.id, identity)
        return user.id

    async def _create(self, identity: ExternalIdentity) -> int:
        if not await self._users.has_owner():
            raise IdentityRefused(
                "This Wick has no owner yet. Open the setup link shown in the terminal."
            )
        if not identity.may_create:
            raise IdentityRefused(
                f"No account here is linked to “{identity.name}” of {identity.title}. Log in with"
                " your password and link it on your account page, or ask an owner."
            )
        name, role, now = valid_name(identity.name), identity.role or "member", self._clock()

        async def create(connection: aiosqlite.Connection) -> tuple[int, bool]:
            found = await identities.find(connection, identity.issuer, identity.subject)
            if found is not None:
                return found, False
            user_id = await insert_user(connection, name, None, role, now)
            await identities.add(connection, _linked(identity, user_id, now))
            return user_id, True

        try:
            user_id, is_new = await self._db.write(create)
        except InvalidAccount:
            raise IdentityRefused(
                f"The name “{name}” of {identity.title} is taken here. If that account is yours,"
                " log in with its password and link it on your account page."
            ) from None
        if is_new:
            audit("person-added", user=user_id, role=role, method=identity.method)
        return user_id

    async def link(self, user_id: int, identity: ExternalIdentity) -> None:
        """Link an identity to a logged-in user. Raises IdentityRefused for one of another user."""
        linked = _linked(identity, user_id, self._clock())
        if await self._db.write(lambda c: identities.add(c, linked)) != user_id:
            raise IdentityRefused(
                f"“{identity.name}” of {identity.title} is linked to another account already."
            )
        audit("identity-linked", user=user_id, method=identity.method)

    async def unlink(self, user_id: int, issuer: str, subject: str) -> None:
        """Raises IdentityRefused where it would leave the user no way to log in."""
        if not (await self._users.get(user_id)).has_password:
            raise IdentityRefused(
                "This is how you log in. Ask an owner for a password reset link first."
            )
        if await self._db.write(lambda c: identities.remove(c, user_id, issuer, subject)):
            audit("identity-unlinked", user=user_id, method=issuer)

    async def list_for_user(self, user_id: int) -> list[LinkedIdentity]:
        return await identities.list_for_user(self._db, user_id)


def valid_name(text: str) -> str:
    """Make a name for an account of what an issuer calls its user. Raises IdentityRefused."""
    shortened = " ".join(text.split())[:MAX_NAME_CHARS].strip()
    try:
        return normalize_name(shortened)
    except InvalidAccount as error:
        raise IdentityRefused(f"“{shortened}” can't be a name here. {error}") from None


def _linked(identity: ExternalIdentity, user_id: int, now: float) -> LinkedIdentity:
    return LinkedIdentity(identity.issuer, identity.subject, user_id, identity.name, now)
