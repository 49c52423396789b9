"""Passkeys (WebAuthn): a device's key logs its user in, once the device has recognized them.

The device holds the name of the account too, so nothing is typed. It asks for a finger, a face or
a PIN each time, which makes a passkey both factors in one: no one-time code is asked for after it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import secrets
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.accounts.challenges import Challenges
from app.accounts.throttle import LoginThrottle, subnet_of
from app.accounts.users import Users
from app.audit import audit
from app.db import passkeys
from app.db.connection import Database
from app.db.passkeys import NewPasskey, Passkey
from app.db.users import User
from app.errors import InvalidAccount, PasskeyRefused, TooManyAttempts, UserNotFound

log = logging.getLogger(__name__)
PASSKEY: Final = "passkey"
SITE_NAME: Final = "Wick"
MAX_PASSKEYS: Final = 20
"""Of one user."""
MAX_PASSKEY_NAME_CHARS: Final = 60
MAX_RESPONSE_CHARS: Final = 16_384
USER_HANDLE_BYTES: Final = 32
MAX_CREDENTIAL_ID_BYTES: Final = 1023
_LOGIN: Final = "login"
_REFUSED: Final = "This passkey was not accepted. Log in with your password instead."
_EXPIRED: Final = "This took too long. Try again."


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The site for which passkeys are made: its host, and the origin of its pages."""

    id: str
    origin: str


class _CredentialResponse(msgspec.Struct, rename="camel"):
    user_handle: str | None = None


class _Credential(msgspec.Struct, rename="camel"):
    """The parts of a browser's answer that decide which passkey it is of."""

    raw_id: str
    response: _CredentialResponse


def is_set_up() -> bool:
    """Return whether the extra is installed."""
    return importlib.util.find_spec("webauthn") is not None


class Passkeys:
    """Registers the passkeys of users, and finds who logs in with one.

    Options are JSON for the browser; with them comes a token that it must show again.
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
        self._throttle = throttle or LoginThrottle()
        self._clock = clock
        self._challenges = Challenges()

    async def list_for_user(self, user_id: int) -> list[Passkey]:
        return await passkeys.list_for_user(self._db, user_id)

    async def has_any(self, party: RelyingParty) -> bool:
        """Return whether anybody could log in with a passkey here."""
        return await passkeys.has_any(self._db, party.id)

    # Registering one, while logged in.

    async def registration_options(
        self, user_id: int, session_id: int, party: RelyingParty
    ) -> tuple[str, str]:
        """Return the options of a new passkey and their token. Raises PasskeyRefused."""
        user, known = await self._users.get(user_id), await self.list_for_user(user_id)
        if len(known) >= MAX_PASSKEYS:
            raise PasskeyRefused(f"You have {MAX_PASSKEYS} passkeys. Remove one first.")
        handle = known[0].user_handle if known else secrets.token_bytes(USER_HANDLE_BYTES)
        challenge, token = self._challenges.issue(_registration(user_id, session_id, handle))
        options = await asyncio.to_thread(
            _creation_options,
            party,
            user.name,
            handle,
            challenge,
            [passkey.credential_id for passkey in known if passkey.rp_id == party.id],
        )
        return options, f"{handle.hex()}.{token}"

    async def register(
        self,
        user_id: int,
        session_id: int,
        party: RelyingParty,
        token: str,
        response: str,
        name: str,
    ) -> None:
        """Keep a new passkey. Raises PasskeyRefused, or InvalidAccount for its name."""
        name = _valid_name(name)
        written, _, signed = token.partition(".")
        try:
            handle = bytes.fromhex(written)
        except ValueError:
            raise PasskeyRefused(_EXPIRED) from None
        challenge = self._challenges.find(signed, _registration(user_id, session_id, handle))
        if challenge is None:
            raise PasskeyRefused(_EXPIRED)
        made = await asyncio.to_thread(_verify_registration, party, challenge, response)
        if made is None or not self._challenges.use(challenge):
            audit("refused", what="passkey", user=user_id)
            raise PasskeyRefused("This device's answer was not accepted. No passkey was added.")
        credential_id, public_key, sign_count = made
        passkey = NewPasskey(
            *(user_id, credential_id, public_key, handle, party.id, sign_count, name),
            created_at=self._clock(),
        )
        if not await self._db.write(lambda c: passkeys.add(c, passkey, MAX_PASSKEYS)):
            raise PasskeyRefused("This passkey is here already, or you have too many.")
        audit("passkey-added", user=user_id)

    async def remove(self, user_id: int, passkey_id: int) -> None:
        """Remove a passkey, if it is this user's."""
        if await self._db.write(lambda c: passkeys.remove(c, user_id, passkey_id)):
            audit("passkey-removed", user=user_id)

    async def remove_all(self, user_id: int) -> int:
        """Remove every passkey of a user; return how many there were."""
        count = await self._db.write(lambda c: passkeys.remove_all(c, user_id))
        if count:
            audit("passkeys-removed", user=user_id, count=count)
        return count

    # Logging in.

    async def login_options(self, party: RelyingParty) -> tuple[str, str]:
        """Return what any passkey of this site may sign, and its token."""
        challenge, token = self._challenges.issue(_LOGIN)
        return await asyncio.to_thread(_request_options, party, challenge), token

    async def authenticate(
        self, party: RelyingParty, token: str, response: str, address: str
    ) -> User:
        """Return the user who logs in. Raises PasskeyRefused or TooManyAttempts."""
        challenge = self._challenges.find(token, _LOGIN)
        if challenge is None:
            raise PasskeyRefused(_EXPIRED)
        passkey = await self._find(response)
        key = f"passkey {passkey.id}" if passkey else f"no passkey {subnet_of(address)}"
        try:
            self._throttle.record_attempt(key, address)
        except TooManyAttempts:
            audit("limit-reached", limit="passkeys", address=address)
            raise
        user = await self._verify(passkey, party, challenge, response)
        if user is None:
            audit(
                "login-failed",
                user=passkey.user_id if passkey else None,
                method=PASSKEY,
                address=address,
            )
            raise PasskeyRefused(_REFUSED)
        self._throttle.record_success(key, address)
        return user

    async def _find(self, response: str) -> Passkey | None:
        from webauthn import base64url_to_bytes

        if len(response) > MAX_RESPONSE_CHARS:
            return None
        try:
            given = msgspec.json.decode(response, type=_Credential)
            found = await passkeys.find(self._db, base64url_to_bytes(given.raw_id))
            handle = base64url_to_bytes(given.response.user_handle or "")
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return found if found is not None and found.user_handle == handle else None

    async def _verify(
        self, passkey: Passkey | None, party: RelyingParty, challenge: bytes, response: str
    ) -> User | None:
        if passkey is None or passkey.rp_id != party.id:
            return None
        count = await asyncio.to_thread(_verify_login, party, challenge, response, passkey)
        if count is None or not self._challenges.use(challenge):
            return None
        now = self._clock()
        if not await self._db.write(lambda c: passkeys.use(c, passkey, count, now)):
            return None
        try:
            user = await self._users.get(passkey.user_id)
        except UserNotFound:
            return None
        return user if user.disabled_at is None else None


def _registration(user_id: int, session_id: int, handle: bytes) -> str:
    return f"register {user_id} {session_id} {handle.hex()}"


def _valid_name(text: str) -> str:
    """Raises InvalidAccount."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise InvalidAccount({"name": "Give the passkey a name, such as “Phone”."})
    if len(name) > MAX_PASSKEY_NAME_CHARS:
        raise InvalidAccount({"name": f"Use at most {MAX_PASSKEY_NAME_CHARS} characters."})
    if not name.isprintable():
        raise InvalidAccount({"name": "Use only characters that can be printed."})
    return name


# What the library does, in threads: it is imported when it is first needed, and computes.


def _creation_options(
    party: RelyingParty, name: str, handle: bytes, challenge: bytes, known: list[bytes]
) -> str:
    import webauthn
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=SITE_NAME,
        user_name=name,
        user_id=handle,
        challenge=challenge,
        timeout=300_000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
    )
    return webauthn.options_to_json(options)


def _request_options(party: RelyingParty, challenge: bytes) -> str:
    import webauthn
    from webauthn.helpers.structs import UserVerificationRequirement

    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=300_000,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def _verify_registration(
    party: RelyingParty, challenge: bytes, response: str
) -> tuple[bytes, bytes, int] | None:
    """Return id, public key and count of a new passkey; None for an answer that is none."""
    import webauthn

    if len(response) > MAX_RESPONSE_CHARS:
        return None
    try:
        made = webauthn.verify_registration_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except Exception as error:  # its parsers raise whatever they meet
        log.info("A new passkey was refused: %s", type(error).__name__)
        return None
    if len(made.credential_id) > MAX_CREDENTIAL_ID_BYTES:
        return None
    return made.credential_id, made.credential_public_key, made.sign_count


def _verify_login(
    party: RelyingParty, challenge: bytes, response: str, passkey: Passkey
) -> int | None:
    """Return the passkey's new count; None where it has not signed this."""
    import webauthn

    try:
        verified = webauthn.verify_authentication_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except Exception as error:  # its parsers raise whatever they meet
        log.info("A passkey was refused: %s", type(error).__name__)
        return None
    return None if verified.credential_id != passkey.credential_id else verified.new_sign_count
