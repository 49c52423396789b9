"""Passwords: which ones will do, and how they are kept and compared.

Only argon2id hashes are kept, with the parameters that argon2-cffi recommends. Comparing takes some
ten milliseconds and 64 MB on purpose, so it is done in threads, a few at a time.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING, Final

from app.errors import InvalidAccount

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_PASSWORD_CHARS: Final = 8
MAX_PASSWORD_BYTES: Final = 256
MAX_CONCURRENT: Final = 2
"""Hashes that are computed at the same time."""
COMMON_PASSWORDS: Final = frozenset(
    {
        "password",
        "passwort",
        "passw0rd",
        "password1",
        "password123",
        "12345678",
        "123456789",
        "1234567890",
        "87654321",
        "qwertyui",
        "qwertyuiop",
        "qwertz123",
        "iloveyou",
        "letmein1",
        "letmein123",
        "welcome1",
        "welcome123",
        "adminadmin",
        "administrator",
        "changeme",
        "changeme1",
        "football",
        "baseball",
        "sunshine",
        "princess",
        "trustno1",
        "11223344",
    }
)


def check_password(password: str, name: str) -> None:
    """Raises InvalidAccount for one that will not do."""
    plain = password.casefold()
    if len(password) < MIN_PASSWORD_CHARS:
        problem = f"Use at least {MIN_PASSWORD_CHARS} characters."
    elif len(password) > MAX_PASSWORD_BYTES:
        problem = f"Use at most {MAX_PASSWORD_BYTES} characters."
    elif plain == name.casefold() or plain in COMMON_PASSWORDS or len(set(plain)) < 3:
        problem = "This password is too easy to guess. Choose another."
    else:
        return
    raise InvalidAccount({"password": problem})


class Passwords:
    """Hashes and compares. `hasher`: tests give one that is quick."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._given = hasher
        self._turns = asyncio.Semaphore(MAX_CONCURRENT)
        self._nobodys = ""

    @cached_property
    def _hasher(self) -> PasswordHasher:
        # Here and not above: only where people log in is it needed.
        from argon2 import PasswordHasher

        return self._given or PasswordHasher()

    async def hash(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, _bytes(password))

    async def verify(self, password: str, kept: str | None) -> bool:
        """Return whether this is the password of the hash `kept`.

        Where there is none, as much is computed as if there were, so that the time an answer takes
        does not tell who has an account; not even the first answer of all.
        """
        if not self._nobodys:
            self._nobodys = await self.hash(secrets.token_urlsafe())
        async with self._turns:
            same = await asyncio.to_thread(self._is_same, _bytes(password), kept or self._nobodys)
        return same and kept is not None and len(password) <= MAX_PASSWORD_BYTES

    def needs_rehash(self, kept: str) -> bool:
        """Return whether it was made with parameters that are not recommended any more."""
        return self._hasher.check_needs_rehash(kept)

    def _is_same(self, password: bytes, kept: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False


def _bytes(password: str) -> bytes:
    """Normalize characters, however a keyboard composes them."""
    return unicodedata.normalize("NFKC", password[:MAX_PASSWORD_BYTES]).encode(
        "utf-8", "surrogatepass"
    )
