"""Browsers in which somebody has logged in before.

A cookie tells them, which nobody else can have made: it is signed with the hash of the person's
password, so it is worth nothing once that is changed. It opens nothing. Who shows it is only
counted apart from strangers, and so can log in while those guess (app/accounts/throttle.py).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

DEVICE_SECONDS: Final = 400 * 86400
"""How long browsers keep it, which is as long as they keep anything."""


def issue_device_token(user_id: int, kept: str) -> str:
    """For the cookie of a browser in which they have just shown who they are; `kept`: the hash."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_signature(nonce, user_id, kept)}"


def verify_device_token(token: str, user_id: int, kept: str) -> str:
    """What to count this browser by; empty when it is not known."""
    nonce, _, signature = token.partition(".")
    wanted = _signature(nonce, user_id, kept)
    is_known = hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), wanted.encode())
    return nonce if is_known else ""


def _signature(nonce: str, user_id: int, kept: str) -> str:
    text = f"known device {user_id} {nonce}".encode("utf-8", "surrogatepass")
    return hmac.new(kept.encode(), text, hashlib.sha256).hexdigest()
