"""One-time codes (TOTP, RFC 6238): six digits of an app that a login asks for after the password.

Users turn them on for themselves. Ten recovery codes, each good for one login, stand in for an app
that is lost.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import aiosqlite

from app.accounts.throttle import LoginThrottle
from app.accounts.tickets import Tickets
from app.accounts.users import Users, username_key
from app.audit import audit
from app.db import one_time_codes
from app.db.connection import Database
from app.db.one_time_codes import CodeSecret
from app.db.sessions import hash_token
from app.db.users import User
from app.errors import LoginExpired, TooManyAttempts, UserNotFound, WrongCode

if TYPE_CHECKING:
    from pyotp import TOTP

ISSUER: Final = "Wick"
CODE: Final = "code"
RECOVERY_CODE: Final = "recovery-code"
Method = Literal["code", "recovery-code"]
TOLERATED_STEPS: Final = 1
"""A code holds for 30 seconds, and as long before and after: clocks differ, and people type."""
NEARBY_STEPS: Final = 240
"""Two hours, within which a code at set-up shows that a clock is wrong."""
RECOVERY_CODES: Final = 10
RECOVERY_CODE_CHARS: Final = 12
_GROUP_CHARS: Final = 4
_RECOVERY_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without letters and digits that look alike."""
THROTTLE_SECONDS: Final = 86400.0
"""How long wrong codes count: a million codes are few, and who tries them knows the password."""


@dataclass(frozen=True, slots=True)
class CodeSetup:
    """A secret that is not confirmed yet. uri: what the QR code says to an app."""

    user_id: int
    secret: str
    uri: str

    @property
    def grouped_secret(self) -> str:
        """The secret as people type it."""
        return _grouped(self.secret)


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login whose password was right. back: where the user wants to be; proof: holds as long as
    the password does."""

    user_id: int
    back: str
    proof: str


class OneTimeCodes:
    """Turns codes on and off for users, and checks them.

    throttle: of codes alone, for who knows the password may succeed with that as often as they
    like.
    """

    def __init__(
        self,
        db: Database,
        users: Users,
        throttle: LoginThrottle | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._users = users
        self._throttle = throttle or LoginThrottle(reset_after=THROTTLE_SECONDS)
        self._clock = clock
        self._setups = Tickets[CodeSetup]()
        self._logins = Tickets[PendingLogin]()

    async def get(self, user_id: int) -> CodeSecret | None:
        """Return what a user has turned on; None for one who logs in without codes."""
        return await one_time_codes.get(self._db, user_id)

    # Turning them on and off.

    async def begin_setup(self, user_id: int, host: str) -> str:
        """Make a secret; return the ticket under which `setup_of` finds it."""
        from pyotp import random_base32

        user = await self._users.get(user_id)
        secret = random_base32()
        issuer = f"{ISSUER} ({host})" if host else ISSUER
        # Apps take a colon for the end of the issuer, also in this form.
        name, issuer = user.name.replace(":", " "), issuer.replace(":", " ")
        uri = _totp(secret).provisioning_uri(name=name, issuer_name=issuer)
        return self._setups.issue(user_id, CodeSetup(user_id, secret, uri))

    def setup_of(self, user_id: int, ticket: str) -> CodeSetup | None:
        """Return a set-up that has begun, unless that was another user's or long ago."""
        setup = self._setups.find(ticket)
        return setup if setup is not None and setup.user_id == user_id else None

    async def turn_on(self, user_id: int, ticket: str, text: str) -> list[str]:
        """Turn codes on; return the recovery codes, which nobody can find out afterwards.

        Raises WrongCode where the code shows that the app doesn't have the secret.
        """
        setup = self.setup_of(user_id, ticket)
        if setup is None:
            raise WrongCode("This took too long. Start again.")
        code, now = _digits(text), self._clock()
        step = _step_of(setup.secret, code, now)
        if step is None:
            raise WrongCode(_setup_problem(setup.secret, code, now))
        codes = _new_recovery_codes()
        hashes = [_hash(user_id, code) for code in codes]

        async def add(connection: aiosqlite.Connection) -> None:
            await one_time_codes.add(connection, user_id, setup.secret, now, step)
            await one_time_codes.replace_recovery_codes(connection, user_id, hashes)

        await self._db.write(add)
        self._setups.use(ticket)
        audit("codes-turned-on", user=user_id)
        return [_grouped(code, "-") for code in codes]

    async def renew_recovery_codes(self, user_id: int) -> list[str]:
        """Return new recovery codes; those before are worth nothing. Raises WrongCode."""
        if await self.get(user_id) is None:
            raise WrongCode("One-time codes are off.")
        codes = _new_recovery_codes()
        hashes = [_hash(user_id, code) for code in codes]
        await self._db.write(lambda c: one_time_codes.replace_recovery_codes(c, user_id, hashes))
        audit("recovery-codes-renewed", user=user_id)
        return [_grouped(code, "-") for code in codes]

    async def turn_off(self, user_id: int, *, by: int | None = None) -> bool:
        """Let a user log in by their password alone; return whether codes were on.

        by: who has decided it; None for a command at this machine.
        """
        was_on = await self._db.write(lambda c: one_time_codes.remove(c, user_id))
        if was_on:
            audit("codes-turned-off", user=user_id, by=by)
        return was_on

    # Logging in: `begin_login` after the password, `finish_login` with the code.

    async def begin_login(self, user_id: int, back: str) -> str:
        """Return the ticket with which the browser brings the code."""
        proof = await self._users.issue_device_token(user_id)
        return self._logins.issue(user_id, PendingLogin(user_id, back, proof))

    async def pending_login(self, ticket: str) -> PendingLogin | None:
        """Return a login that waits for its code; None once its user is disabled or removed, or
        has another password."""
        pending = self._logins.find(ticket)
        if pending is None:
            return None
        try:
            holds = await self._users.known_device(pending.user_id, pending.proof)
        except UserNotFound:
            return None
        return pending if holds else None

    async def finish_login(
        self, ticket: str, text: str, address: str, *, device_token: str = ""
    ) -> tuple[User, Method]:
        """Return the user who may log in, and whether by a code or a recovery code.

        Raises WrongCode, TooManyAttempts, or LoginExpired when there is nothing to finish.
        """
        pending = await self.pending_login(ticket)
        if pending is None:
            raise LoginExpired("Your login has expired. Enter your password again.")
        method = await self.verify(pending.user_id, text, address, device_token=device_token)
        self._logins.use(ticket)
        return await self._users.get(pending.user_id), method

    def forget_login(self, ticket: str) -> None:
        self._logins.use(ticket)

    async def verify(
        self, user_id: int, text: str, address: str, *, device_token: str = ""
    ) -> Method:
        """Use a code or a recovery code up, and return which of them it was.

        Raises WrongCode, TooManyAttempts, or LoginExpired where codes are off.
        """
        key = username_key((await self._users.get(user_id)).name)
        device = await self._users.known_device(user_id, device_token)
        try:
            self._throttle.record_attempt(key, address, device)
        except TooManyAttempts:
            audit("limit-reached", limit="login codes", user=user_id, address=address)
            raise
        try:
            method = await self._use(user_id, text)
        except WrongCode:
            audit("login-failed", user=user_id, method=CODE, address=address)
            raise
        self._throttle.record_success(key, address, device)
        return method

    async def _use(self, user_id: int, text: str) -> Method:
        """Raises WrongCode or LoginExpired."""
        found = await self.get(user_id)
        if found is None:
            raise LoginExpired("One-time codes have been turned off. Enter your password again.")
        step = _step_of(found.secret, _digits(text), self._clock())
        if step is not None:
            if await self._db.write(lambda c: one_time_codes.use_step(c, user_id, step)):
                return CODE
            raise WrongCode("This code has been used. Wait for the next one.")
        used = _hash(user_id, _recovery_chars(text))
        if await self._db.write(lambda c: one_time_codes.use_recovery_code(c, user_id, used)):
            audit("recovery-code-used", user=user_id)
            return RECOVERY_CODE
        raise WrongCode("Wrong code.")


def _totp(secret: str) -> TOTP:
    # Here and not above: only where users have turned codes on is it needed.
    from pyotp import TOTP

    return TOTP(secret)


def _step_of(secret: str, code: str, now: float, tolerated: int = TOLERATED_STEPS) -> int | None:
    """Return the span of 30 seconds that a code is of, if it is one of those around now."""
    if not code:
        return None
    totp = _totp(secret)
    current = totp.timecode(now)
    found = None
    for step in range(max(0, current - tolerated), current + tolerated + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            found = step
    return found


def _setup_problem(secret: str, code: str, now: float) -> str:
    """Word why a code doesn't confirm a secret, for a user to whom the secret was just shown."""
    if not code:
        return "Enter the six digits that your app shows."
    if _step_of(secret, code, now, NEARBY_STEPS) is None:
        return "Wrong code. Enter the one that your app shows now."
    here = datetime.fromtimestamp(now, UTC)
    return (
        "This code is for another time: the clocks of your device and of the server differ."
        f" The server's says {here:%H:%M:%S} UTC."
    )


def _digits(text: str) -> str:
    """Return the six digits of a code, however they are written; empty for anything else."""
    plain = re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", text[:64]))
    return plain if re.fullmatch("[0-9]{6}", plain) else ""


def _recovery_chars(text: str) -> str:
    return re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", text[:64])).casefold()


def _new_recovery_codes() -> list[str]:
    return [
        "".join(secrets.choice(_RECOVERY_ALPHABET) for _ in range(RECOVERY_CODE_CHARS))
        for _ in range(RECOVERY_CODES)
    ]


def _hash(user_id: int, code: str) -> bytes:
    return hash_token(f"{user_id} {code}")


def _grouped(text: str, between: str = " ") -> str:
    return between.join(text[i : i + _GROUP_CHARS] for i in range(0, len(text), _GROUP_CHARS))
