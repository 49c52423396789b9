"""Authorization requests: what a browser keeps while its user logs in at a provider.

Each lies in a cookie of its own, signed, so that several tabs do not disturb each other, nothing
has to be kept here, and nobody can fill up a store of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from app.errors import (
    AccountError,
    IdentityRefused,
    LoginExpired,
    ProviderFailed,
    ProviderUnreachable,
)

MAX_AGE_SECONDS: Final = 600
MAX_BACK_CHARS: Final = 1000
MAX_COOKIE_CHARS: Final = 3000
EXPIRED: Final = "This login has expired, or it was begun in another browser. Try again."
_PURPOSE: Final = b"authorization request "


class AuthorizationRequest(msgspec.Struct, frozen=True):
    """One request for a login.

    back: where the user wants to be afterwards; session_id: of the user who wants to link what
    comes, 0 for a login; at: when it was made, in seconds.
    """

    provider: str
    state: str
    nonce: str
    verifier: str
    back: str
    at: float
    session_id: int = 0

    @property
    def challenge(self) -> str:
        """Return the PKCE challenge of the method S256."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())


def new_request(provider: str, back: str, at: float, session_id: int = 0) -> AuthorizationRequest:
    return AuthorizationRequest(
        provider,
        state=secrets.token_urlsafe(24),
        nonce=secrets.token_urlsafe(24),
        verifier=secrets.token_urlsafe(48),
        back=back if len(back) <= MAX_BACK_CHARS else "/",
        at=at,
        session_id=session_id,
    )


def sign_request(request: AuthorizationRequest, secret: str) -> str:
    """Return the request as the value of a cookie."""
    payload = _base64(msgspec.json.encode(request))
    return f"{payload}.{_signature(payload, secret)}"


def open_request(
    cookie: str, secret: str, *, provider: str, state: str, now: float
) -> AuthorizationRequest:
    """Read the request that a provider answers. Raises LoginExpired unless it is the right one."""
    payload, _, signature = cookie[:MAX_COOKIE_CHARS].partition(".")
    wanted = _signature(payload, secret)
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), wanted.encode()):
        raise LoginExpired(EXPIRED)
    request = msgspec.json.decode(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=AuthorizationRequest
    )
    is_same = hmac.compare_digest(request.state.encode(), state.encode("utf-8", "replace"))
    if not is_same or request.provider != provider or not 0 <= now - request.at <= MAX_AGE_SECONDS:
        raise LoginExpired(EXPIRED)
    return request


def cookie_suffix(state: str) -> str:
    """Return how the name of a request's cookie ends; empty for what is no state of ours."""
    return state[:12] if re.fullmatch(r"[\w-]{32}", state, re.ASCII) else ""


def _signature(payload: str, secret: str) -> str:
    text = _PURPOSE + payload.encode("utf-8", "replace")
    return _base64(hmac.new(secret.encode(), text, hashlib.sha256).digest())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def with_query(address: str, values: dict[str, str]) -> str:
    """Add to an address, which may have a query already."""
    parts = urlsplit(address)
    query = "&".join(part for part in (parts.query, urlencode(values)) if part)
    return urlunsplit(parts._replace(query=query, fragment=""))


# What a provider answers with instead of a login.

_DENIED: Final = frozenset({"access_denied", "consent_required", "interaction_required"})
_BUSY: Final = frozenset({"temporarily_unavailable", "server_error"})


def describe_refusal(title: str, error: str) -> AccountError:
    """Return what to raise for the error that a provider has sent back instead of a code.

    Its own words about it come by the browser, from wherever, so they are never shown.
    """
    if error in _DENIED:
        return IdentityRefused(
            f"{title} did not log you in: you cancelled, or you may not use Wick there."
        )
    if error in _BUSY:
        return ProviderUnreachable(f"{title} can't log anybody in right now. Try again later.")
    code = error if re.fullmatch(r"[a-z_]{1,40}", error) else "unknown error"
    return ProviderFailed(f"{title} refused the login ({code}). Tell an owner.")
