"""Hashes of secret tokens: all that is kept, so that who reads the database has no token."""

from __future__ import annotations

import hashlib


def hash_token(token: str) -> bytes:
    """Hash a long random token. A password needs more: `app/accounts/passwords.py`."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
