"""Users: how they get accounts and log in, what owners decide, and the rules that must hold."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Callable
from typing import Final, TypeVar

import aiosqlite

from app.accounts.passwords import Passwords, check_password
from app.accounts.sessions import Sessions, issue_device_token, verify_device_token
from app.accounts.throttle import LoginThrottle
from app.audit import audit
from app.db import users
from app.db.connection import Database
from app.db.sessions import hash_token
from app.db.users import LOCAL_USER, Invite, Role, User
from app.errors import (
    InvalidAccount,
    InviteNotFound,
    LastOwner,
    TooManyAttempts,
    UserNotFound,
    WrongPassword,
)

T = TypeVar("T")
INVITE_SECONDS: Final = 7 * 86400.0
RESET_SECONDS: Final = 86400.0
WRONG_CREDENTIALS: Final = "Wrong name or password."
MAX_NAME_CHARS: Final = 40
_LETTERS: Final = frozenset("LMN")  # letters, the marks on them, digits
_SIGNS: Final = frozenset(" ._-@'")


class Users:
    """Adds, invites, checks and changes users; only their removal is elsewhere."""

    def __init__(
        self,
        db: Database,
        sessions: Sessions,
        passwords: Passwords | None = None,
        throttle: LoginThrottle | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._sessions = sessions
        self._passwords = passwords or Passwords()
        self._throttle = throttle or LoginThrottle()
        self._clock = clock

    async def authenticate(
        self, name: str, password: str, address: str, *, device_token: str = "", session_id: int = 0
    ) -> User:
        """Return the user who logs in.

        device_token: shows that they have logged in in this browser before; session_id: that they
        are logged in.

        Raises WrongPassword or TooManyAttempts; neither tells whether the name is somebody's.
        """
        key = username_key(name)
        found = await users.credentials(self._db, key)
        device = f"session {session_id}" if session_id else _device(device_token, found)
        try:
            self._throttle.record_attempt(key, address, device)
        except TooManyAttempts:
            audit("limit-reached", limit="login attempts", address=address)
            raise
        is_right = await self._passwords.verify(password, found[1] if found else None)
        if found is None or not is_right:
            # Not the name: people type their password there, too.
            audit("login-failed", user=found[0].id if found else None, address=address)
            raise WrongPassword(WRONG_CREDENTIALS)
        user, kept = found
        self._throttle.record_success(key, address, device)
        if self._passwords.needs_rehash(kept):
            new = await self._passwords.hash(password)
            await self._db.write(lambda c: users.replace_hash(c, user.id, kept, new))
        return user

    async def issue_device_token(self, user_id: int) -> str:
        """Return a token that this browser shows at the next login."""
        key = username_key((await self.get(user_id)).name)
        found = await users.credentials(self._db, key)
        return issue_device_token(user_id, found[1]) if found is not None else ""

    async def known_device(self, user_id: int, token: str) -> str:
        """Return what to count a browser by; empty for one that shows no token of this user's
        present password. Raises UserNotFound."""
        key = username_key((await self.get(user_id)).name)
        return _device(token, await users.credentials(self._db, key))

    async def get(self, user_id: int) -> User:
        """Raises UserNotFound."""
        user = await users.get(self._db, user_id)
        if user is None:
            raise UserNotFound("No such user.")
        return user

    async def get_by_name(self, name: str) -> User:
        """Raises UserNotFound."""
        user = await users.get_by_name(self._db, username_key(name))
        if user is None:
            shown = name[:80].encode("utf-8", "replace").decode()
            raise UserNotFound(f"There is no user “{shown}”.")
        return user

    async def list_users(self) -> list[User]:
        return await users.list_users(self._db)

    async def first_owner(self) -> int:
        """Return the terminal's user: the first owner who can log in, else the local user."""
        for user in await self.list_users():
            if user.role == "owner" and user.has_password and user.disabled_at is None:
                return user.id
        return LOCAL_USER

    async def has_owner(self) -> bool:
        """Return whether there is an owner who can log in."""
        return await users.has_owner(self._db)

    # Getting in.

    async def add(self, name: str, password: str | None, role: Role) -> User:
        """Add a user. The first of all becomes the owner of what is there already."""
        if not await self.has_owner():
            return await self._claim_owner(LOCAL_USER, name, password)
        name, kept = await _validate_credentials(self._passwords, name, password)
        user_id = await self._db.write(lambda c: insert_user(c, name, kept, role, self._clock()))
        audit("person-added", user=user_id, role=role)
        return await self.get(user_id)

    async def _claim_owner(self, user_id: int, name: str, password: str | None) -> User:
        """The local owner gets a name and a password."""
        name, kept = await _validate_credentials(self._passwords, name, password)

        async def settle(connection: aiosqlite.Connection) -> None:
            await users.add_local(connection, self._clock())
            await _rename_user(connection, user_id, name)
            await users.set_role(connection, user_id, "owner")
            if kept is not None:
                await _store_password(connection, user_id, kept)

        await self._db.write(settle)
        return await self.get(user_id)

    async def setup_token(self) -> str | None:
        """Make the token of the setup link; None when there is an owner."""
        if await self.has_owner():
            return None

        async def renew(connection: aiosqlite.Connection) -> None:
            await users.add_local(connection, self._clock())
            await users.set_role(connection, LOCAL_USER, "owner")
            await users.revoke_password_links(connection, LOCAL_USER)

        await self._db.write(renew)
        return await self._new_invite("owner", LOCAL_USER, None, RESET_SECONDS)

    async def invite(self, role: Role, made_by: int | None) -> str:
        """The token of a link by which somebody new may come."""
        audit("invitation-made", role=role, by=made_by)
        return await self._new_invite(role, None, made_by, INVITE_SECONDS)

    async def reset_token(self, user_id: int, made_by: int | None) -> str:
        """The token of a link by which this user may choose a new password."""
        user = await self.get(user_id)
        audit("password-link-made", user=user_id, by=made_by)
        await self._db.write(lambda c: users.revoke_password_links(c, user_id))
        return await self._new_invite(user.role, user_id, made_by, RESET_SECONDS)

    async def _new_invite(
        self, role: Role, user_id: int | None, made_by: int | None, seconds: float
    ) -> str:
        token, now = secrets.token_urlsafe(32), self._clock()

        async def add(connection: aiosqlite.Connection) -> None:
            await users.purge_expired_invites(connection, now)
            await users.add_invite(
                connection, hash_token(token), role, user_id, made_by, now, now + seconds
            )

        await self._db.write(add)
        return token

    async def get_invite(self, token: str) -> Invite:
        """Raises InviteNotFound when the link has been used, withdrawn or has expired."""
        invite = await users.get_invite(self._db, hash_token(token), self._clock())
        if invite is None:
            raise _invite_gone()
        return invite

    async def list_invites(self) -> list[Invite]:
        return await users.list_open_invites(self._db, self._clock())

    async def list_password_links(self, user_id: int) -> list[Invite]:
        """List open reset links: who holds one can take over the account, so its user sees them."""
        return await users.list_password_links(self._db, user_id, self._clock())

    async def revoke_password_links(self, user_id: int) -> None:
        await self._db.write(lambda c: users.revoke_password_links(c, user_id))
        audit("password-link-withdrawn", user=user_id)

    async def revoke_invite(self, invite_id: int) -> None:
        if not await self._db.write(lambda c: users.revoke_invite(c, invite_id)):
            raise _invite_gone()

    async def accept_invite(self, token: str, name: str, password: str) -> User:
        """Use a link up. Raises InvalidAccount, which leaves it as it was, or InviteNotFound."""
        found = await self.get_invite(token)
        is_first = found.user_id == LOCAL_USER and not await self.has_owner()
        if found.user_id is not None and not is_first:
            name = (await self.get(found.user_id)).name
        name, kept = await _validate_credentials(self._passwords, name, password)

        async def take(connection: aiosqlite.Connection) -> int:
            invite = await users.consume_invite(connection, hash_token(token), self._clock())
            if invite is None:
                raise _invite_gone()
            if invite.user_id is None:
                return await insert_user(connection, name, kept, invite.role, self._clock())
            if is_first:
                await _rename_user(connection, invite.user_id, name)
            await _store_password(connection, invite.user_id, kept or "")
            return invite.user_id

        user_id = await self._db.write(take)
        audit("invitation-used", user=user_id, made_by=found.made_by, is_new=found.user_id is None)
        await self._sessions.revoke_all(user_id)
        return await self.get(user_id)

    async def rename(self, user_id: int, name: str) -> None:
        """Raises InvalidAccount."""
        name = normalize_name(name)
        await self._db.write(lambda c: _rename_user(c, user_id, name))

    # Passwords, and what an owner decides.

    async def change_password(
        self, user_id: int, old: str, new: str, address: str, *, session_id: int
    ) -> None:
        """End every other session of the user. Raises WrongPassword, TooManyAttempts,
        InvalidAccount."""
        user = await self.get(user_id)
        await self.confirm_password(user_id, old, address, session_id=session_id)
        _, kept = await _validate_credentials(self._passwords, user.name, new)
        await self._db.write(lambda c: _store_password(c, user_id, kept or ""))
        audit("password-changed", user=user_id, address=address)
        await self._sessions.revoke_all(user_id, besides=session_id)

    async def confirm_password(
        self, user_id: int, password: str, address: str, *, session_id: int
    ) -> None:
        """Check the password of a logged-in user. Raises WrongPassword or TooManyAttempts."""
        user = await self.get(user_id)
        try:
            await self.authenticate(user.name, password, address, session_id=session_id)
        except WrongPassword:
            raise WrongPassword("Wrong password.") from None

    async def set_password(self, user_id: int, new: str) -> None:
        """Set a password without asking for the old one; every session of the user ends."""
        user = await self.get(user_id)
        _, kept = await _validate_credentials(self._passwords, user.name, new)
        await self._db.write(lambda c: _store_password(c, user_id, kept or ""))
        audit("password-changed", user=user_id)
        await self._sessions.revoke_all(user_id)

    async def set_role(self, user_id: int, role: Role) -> None:
        """Raises LastOwner."""

        async def change(connection: aiosqlite.Connection) -> None:
            if role != "owner":
                await _ensure_not_last_owner(connection, user_id)
                await users.revoke_invites_of(connection, user_id)
            await users.set_role(connection, user_id, role)

        await self._update_user(user_id, change)
        audit("role-changed", user=user_id, role=role)

    async def disable(self, user_id: int) -> None:
        """End all sessions of a user and refuse new ones; data stays. Raises LastOwner."""

        async def change(connection: aiosqlite.Connection) -> None:
            await _ensure_not_last_owner(connection, user_id)
            await users.revoke_invites_of(connection, user_id)
            await users.disable(connection, user_id, self._clock())

        await self._update_user(user_id, change)
        audit("person-disabled", user=user_id)
        await self._sessions.revoke_all(user_id)

    async def enable(self, user_id: int) -> None:
        await self._update_user(user_id, lambda c: users.disable(c, user_id, None))
        audit("person-enabled", user=user_id)

    async def mark_for_deletion(self, user_id: int) -> None:
        """Begin to remove a user: nobody can log in as them any more. Raises LastOwner."""

        async def change(connection: aiosqlite.Connection) -> None:
            await _ensure_not_last_owner(connection, user_id)
            await users.mark_for_deletion(connection, user_id, self._clock())

        await self._update_user(user_id, change)
        audit("person-removed", user=user_id)
        await self._sessions.check_watched()

    async def _update_user(
        self, user_id: int, change: Callable[[aiosqlite.Connection], object]
    ) -> None:
        await self.get(user_id)
        await self._db.write(change)  # type: ignore[arg-type]


def _device(token: str, found: tuple[User, str] | None) -> str:
    """The browser, if it is one of theirs. For names of nobody as much is computed."""
    device = (
        verify_device_token(token, found[0].id, found[1])
        if found
        else verify_device_token(token, 0, token)
    )
    return device if found else ""


def _invite_gone() -> InviteNotFound:
    return InviteNotFound(
        "This link has been used or withdrawn, or has expired. Ask for a new one."
    )


# The names by which users log in.


def normalize_name(text: str) -> str:
    """The name as it is shown. Raises InvalidAccount."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise InvalidAccount({"name": "Choose a name."})
    if len(name) > MAX_NAME_CHARS:
        raise InvalidAccount({"name": f"Use at most {MAX_NAME_CHARS} characters."})
    if any(unicodedata.category(c)[0] not in _LETTERS and c not in _SIGNS for c in name):
        raise InvalidAccount({"name": "Use only letters, digits, spaces and . _ - @ '."})
    if not any(c.isalnum() for c in name):
        raise InvalidAccount({"name": "Use at least one letter or digit."})
    return name


def username_key(text: str) -> str:
    """The name as it is compared; of what is no name too, which then finds nobody."""
    plain = text.encode("utf-8", "replace").decode()  # a terminal may give what is no text
    return unicodedata.normalize("NFKC", " ".join(plain.split())).casefold()


# Rules for every account, whoever changes it. Functions with a connection are in a transaction.


async def _validate_credentials(
    passwords: Passwords, name: str, password: str | None
) -> tuple[str, str | None]:
    """Name and hash. Raises InvalidAccount with all that is wrong."""
    problems: dict[str, str] = {}
    try:
        name = normalize_name(name)
    except InvalidAccount as error:
        problems |= error.problems
    if password is not None:
        try:
            check_password(password, name)
        except InvalidAccount as error:
            problems |= error.problems
    if problems:
        raise InvalidAccount(problems)
    return name, None if password is None else await passwords.hash(password)


async def insert_user(
    connection: aiosqlite.Connection, name: str, kept: str | None, role: Role, now: float
) -> int:
    """Insert a user. Raises InvalidAccount for a name that is taken."""
    await _ensure_name_free(connection, name)
    return await users.add(connection, name, username_key(name), kept, role, now)


async def _rename_user(connection: aiosqlite.Connection, user_id: int, name: str) -> None:
    """Raises InvalidAccount for a name that is taken."""
    await _ensure_name_free(connection, name, besides=user_id)
    await users.name_user(connection, user_id, name, username_key(name))


async def _store_password(connection: aiosqlite.Connection, user_id: int, kept: str) -> None:
    """Store a password; no link from before opens a way around it."""
    await users.revoke_password_links(connection, user_id)
    await users.set_password(connection, user_id, kept)


async def _ensure_not_last_owner(connection: aiosqlite.Connection, user_id: int) -> None:
    """Raises LastOwner."""
    if await users.count_owners(connection, besides=user_id) == 0 and (
        await users.count_owners(connection)
    ):
        raise LastOwner("This is the only owner. Make another user an owner first.")


async def _ensure_name_free(
    connection: aiosqlite.Connection, name: str, *, besides: int = 0
) -> None:
    if await users.is_taken(connection, username_key(name), besides=besides):
        raise InvalidAccount({"name": "This name is taken. Choose another."})
