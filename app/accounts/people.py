"""People: how they come, how they show who they are, and what an owner may decide about them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar

import aiosqlite

from app.accounts import rules
from app.accounts.known import device_in, new_token
from app.accounts.logins import Logins, hash_of
from app.accounts.names import clean_name, name_key
from app.accounts.passwords import Passwords
from app.accounts.throttle import Throttle
from app.audit import audit
from app.errors import (
    InviteNotFound,
    PersonNotFound,
    TooManyAttempts,
    WrongPassword,
)
from app.store import invites, people
from app.store.db import Database
from app.store.invites import Invite
from app.store.people import LOCAL_USER, Person, Role

T = TypeVar("T")
INVITE_SECONDS: Final = 7 * 86400.0
RESET_SECONDS: Final = 86400.0
WRONG: Final = "This name and this password do not belong together."


class People:
    """Everything that is done about accounts but their removal."""

    def __init__(
        self,
        db: Database,
        logins: Logins,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._logins = logins
        self._passwords = passwords or Passwords()
        self._throttle = throttle or Throttle()
        self._clock = clock

    async def show_themself(
        self, name: str, password: str, address: str, *, known: str = "", login_id: int = 0
    ) -> Person:
        """Who logs in; `known`: what shows that they have done so in this browser before, or
        login_id: that they are logged in.

        Raises WrongPassword or TooManyAttempts; neither tells whether the name is somebody's.
        """
        key = name_key(name)
        found = await people.credentials(self._db, key)
        device = f"login {login_id}" if login_id else _device(known, found)
        try:
            self._throttle.begin(key, address, device)
        except TooManyAttempts:
            audit("limit-reached", limit="login attempts", address=address)
            raise
        is_right = await self._passwords.is_right(password, found[1] if found else None)
        if found is None or not is_right:
            # Not the name: people type their password there, too.
            audit("login-failed", user=found[0].id if found else None, address=address)
            raise WrongPassword(WRONG)
        person, kept = found
        self._throttle.succeeded(key, address, device)
        if self._passwords.is_outdated(kept):
            new = await self._passwords.hash(password)
            await self._db.write(lambda c: people.exchange_hash(c, person.id, kept, new))
        return person

    async def known_here(self, user_id: int) -> str:
        """What a browser in which they have logged in may show from now on."""
        key = name_key((await self.find(user_id)).name)
        found = await people.credentials(self._db, key)
        return new_token(user_id, found[1]) if found is not None else ""

    async def find(self, user_id: int) -> Person:
        """Raises PersonNotFound."""
        person = await people.find(self._db, user_id)
        if person is None:
            raise PersonNotFound("There is no such person.")
        return person

    async def named(self, name: str) -> Person:
        """Raises PersonNotFound."""
        person = await people.named(self._db, name_key(name))
        if person is None:
            shown = name[:80].encode("utf-8", "replace").decode()
            raise PersonNotFound(f"There is nobody called “{shown}”.")
        return person

    async def everybody(self) -> list[Person]:
        return await people.everybody(self._db)

    async def first_owner(self) -> int:
        """Whose the machine's terminal is: the first who can log in, or whoever is at it."""
        for person in await self.everybody():
            if person.role == "owner" and person.has_password and person.disabled_at is None:
                return person.id
        return LOCAL_USER

    async def have_owner(self) -> bool:
        """Whether there is an owner who can log in."""
        return await people.has_owner(self._db)

    # Getting in.

    async def add(self, name: str, password: str | None, role: Role) -> Person:
        """Somebody new. The first of all becomes the owner of what is there already."""
        if not await self.have_owner():
            return await self._settle(LOCAL_USER, name, password)
        name, kept = await rules.made_fit(self._passwords, name, password)
        user_id = await self._db.write(lambda c: rules.add(c, name, kept, role, self._clock()))
        audit("person-added", user=user_id, role=role)
        return await self.find(user_id)

    async def _settle(self, user_id: int, name: str, password: str | None) -> Person:
        """The local owner gets a name and a password."""
        name, kept = await rules.made_fit(self._passwords, name, password)

        async def settle(connection: aiosqlite.Connection) -> None:
            await people.add_local(connection, self._clock())
            await rules.rename(connection, user_id, name)
            await people.set_role(connection, user_id, "owner")
            if kept is not None:
                await rules.set_password(connection, user_id, kept)

        await self._db.write(settle)
        return await self.find(user_id)

    async def setup_token(self) -> str | None:
        """For the link by which the first owner comes; None when there is an owner."""
        if await self.have_owner():
            return None

        async def renew(connection: aiosqlite.Connection) -> None:
            await people.add_local(connection, self._clock())
            await people.set_role(connection, LOCAL_USER, "owner")
            await invites.withdraw_for(connection, LOCAL_USER)

        await self._db.write(renew)
        return await self._new_invite("owner", LOCAL_USER, None, RESET_SECONDS)

    async def invite(self, role: Role, made_by: int | None) -> str:
        """The token of a link by which somebody new may come."""
        audit("invitation-made", role=role, by=made_by)
        return await self._new_invite(role, None, made_by, INVITE_SECONDS)

    async def reset_token(self, user_id: int, made_by: int | None) -> str:
        """The token of a link by which this person may choose a new password."""
        person = await self.find(user_id)
        audit("password-link-made", user=user_id, by=made_by)
        await self._db.write(lambda c: invites.withdraw_for(c, user_id))
        return await self._new_invite(person.role, user_id, made_by, RESET_SECONDS)

    async def _new_invite(
        self, role: Role, user_id: int | None, made_by: int | None, seconds: float
    ) -> str:
        token, now = secrets.token_urlsafe(32), self._clock()

        async def add(connection: aiosqlite.Connection) -> None:
            await invites.forget_expired(connection, now)
            await invites.add(
                connection, hash_of(token), role, user_id, made_by, now, now + seconds
            )

        await self._db.write(add)
        return token

    async def invitation(self, token: str) -> Invite:
        """Raises InviteNotFound when the link has been used, withdrawn or has expired."""
        invite = await invites.find(self._db, hash_of(token), self._clock())
        if invite is None:
            raise _used_up()
        return invite

    async def invitations(self) -> list[Invite]:
        return await invites.open_ones(self._db, self._clock())

    async def password_links(self, user_id: int) -> list[Invite]:
        """Whoever holds one of them can become this person, so they are to know of it."""
        return await invites.for_person(self._db, user_id, self._clock())

    async def withdraw_password_links(self, user_id: int) -> None:
        await self._db.write(lambda c: invites.withdraw_for(c, user_id))
        audit("password-link-withdrawn", user=user_id)

    async def withdraw(self, invite_id: int) -> None:
        if not await self._db.write(lambda c: invites.withdraw(c, invite_id)):
            raise _used_up()

    async def join(self, token: str, name: str, password: str) -> Person:
        """Use a link up. Raises InvalidAccount, which leaves it as it was, or InviteNotFound."""
        found = await self.invitation(token)
        is_first = found.user_id == LOCAL_USER and not await self.have_owner()
        if found.user_id is not None and not is_first:
            name = (await self.find(found.user_id)).name
        name, kept = await rules.made_fit(self._passwords, name, password)

        async def take(connection: aiosqlite.Connection) -> int:
            invite = await invites.take(connection, hash_of(token), self._clock())
            if invite is None:
                raise _used_up()
            if invite.user_id is None:
                return await rules.add(connection, name, kept, invite.role, self._clock())
            if is_first:
                await rules.rename(connection, invite.user_id, name)
            await rules.set_password(connection, invite.user_id, kept or "")
            return invite.user_id

        user_id = await self._db.write(take)
        audit("invitation-used", user=user_id, made_by=found.made_by, is_new=found.user_id is None)
        await self._logins.end_all(user_id)
        return await self.find(user_id)

    async def rename(self, user_id: int, name: str) -> None:
        """Raises InvalidAccount."""
        name = clean_name(name)
        await self._db.write(lambda c: rules.rename(c, user_id, name))

    # Passwords, and what an owner decides.

    async def change_password(
        self, user_id: int, old: str, new: str, address: str, *, login_id: int
    ) -> None:
        """Every other login of the person ends. Raises WrongPassword, TooManyAttempts,
        InvalidAccount."""
        person = await self.find(user_id)
        await self.confirm(user_id, old, address, login_id=login_id)
        _, kept = await rules.made_fit(self._passwords, person.name, new)
        await self._db.write(lambda c: rules.set_password(c, user_id, kept or ""))
        audit("password-changed", user=user_id, address=address)
        await self._logins.end_all(user_id, besides=login_id)

    async def confirm(self, user_id: int, password: str, address: str, *, login_id: int) -> None:
        """Whoever sits there is this person still. Raises WrongPassword or TooManyAttempts."""
        person = await self.find(user_id)
        try:
            await self.show_themself(person.name, password, address, login_id=login_id)
        except WrongPassword:
            raise WrongPassword("This is not your password.") from None

    async def set_password(self, user_id: int, new: str) -> None:
        """Without asking for the old one; every login of the person ends."""
        person = await self.find(user_id)
        _, kept = await rules.made_fit(self._passwords, person.name, new)
        await self._db.write(lambda c: rules.set_password(c, user_id, kept or ""))
        audit("password-changed", user=user_id)
        await self._logins.end_all(user_id)

    async def set_role(self, user_id: int, role: Role) -> None:
        """Raises LastOwner."""

        async def change(connection: aiosqlite.Connection) -> None:
            if role != "owner":
                await rules.check_not_last(connection, user_id)
                await invites.withdraw_by(connection, user_id)
            await people.set_role(connection, user_id, role)

        await self._decide(user_id, change)
        audit("role-changed", user=user_id, role=role)

    async def disable(self, user_id: int) -> None:
        """Their logins end at once; what is theirs stays. Raises LastOwner."""

        async def change(connection: aiosqlite.Connection) -> None:
            await rules.check_not_last(connection, user_id)
            await invites.withdraw_by(connection, user_id)
            await people.disable(connection, user_id, self._clock())

        await self._decide(user_id, change)
        audit("person-disabled", user=user_id)
        await self._logins.end_all(user_id)

    async def enable(self, user_id: int) -> None:
        await self._decide(user_id, lambda c: people.disable(c, user_id, None))
        audit("person-enabled", user=user_id)

    async def begin_to_leave(self, user_id: int) -> None:
        """The first step of removing somebody: nobody is this person any more. Raises LastOwner."""

        async def change(connection: aiosqlite.Connection) -> None:
            await rules.check_not_last(connection, user_id)
            await people.begin_to_leave(connection, user_id, self._clock())

        await self._decide(user_id, change)
        audit("person-removed", user=user_id)
        await self._logins.look()

    async def _decide(self, user_id: int, change: Callable[[aiosqlite.Connection], object]) -> None:
        await self.find(user_id)
        await self._db.write(change)  # type: ignore[arg-type]


def _device(known: str, found: tuple[Person, str] | None) -> str:
    """The browser, if it is one of theirs. For names of nobody as much is computed."""
    device = device_in(known, found[0].id, found[1]) if found else device_in(known, 0, known)
    return device if found else ""


def _used_up() -> InviteNotFound:
    return InviteNotFound(
        "This link has been used, withdrawn or has expired. Ask for a new one, please."
    )
