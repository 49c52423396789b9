"""ID tokens and logout tokens: their signatures and claims, checked by joserfc and Authlib."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jws import JWSRegistry

from app.accounts.oidc.metadata import SigningKey
from app.errors import ProviderFailed

log = logging.getLogger(__name__)
ALGORITHMS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
}
"""Signatures by a private key of the provider, and the kind of that key. Never a shared secret:
then Wick's own copy could sign, and a public key could be passed off for one."""
LEEWAY_SECONDS: Final = 120
MAX_TOKEN_CHARS: Final = 64 << 10
MAX_KEYS_TRIED: Final = 5
LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_SECONDS: Final = 600


class UnknownKey(Exception):
    """No key of the provider that is known here has made this signature."""


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None


class _Registry(JWSRegistry):
    max_header_length = 8 << 10  # some have a certificate in it
    max_payload_length = MAX_TOKEN_CHARS


@dataclass(frozen=True, slots=True)
class TokenChecker:
    """Checks tokens of one provider for one client. title: what users call the provider."""

    title: str
    issuer: str
    client_id: str

    def check_id_token(
        self,
        token: str,
        keys: Sequence[SigningKey],
        *,
        nonce: str,
        access_token: str,
        now: float,
    ) -> dict[str, Any]:
        """Return the claims. Raises ProviderFailed, or UnknownKey."""
        decoded = self._decode(token, keys)
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            options={
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self.client_id},
                "sub": {"essential": True},
            },
            params={
                "nonce": nonce,
                "client_id": self.client_id,
                "access_token": access_token,
            },
        )
        try:
            claims.validate(now=int(now), leeway=LEEWAY_SECONDS)
        except ClaimError as error:
            raise self._refused(error, claims, now) from error
        except (JoseError, TypeError, ValueError, AttributeError) as error:
            raise self._invalid("malformed") from error
        return dict(claims)

    def check_logout_token(
        self, token: str, keys: Sequence[SigningKey], now: float
    ) -> tuple[str, str]:
        """Return whose sessions end, as the provider's subject and session; one may be empty.

        Raises ProviderFailed, or UnknownKey.
        """
        claims = self._decode(token, keys).claims
        registry = jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            iat={"essential": True},
        )
        try:
            registry.validate(claims)
        except ClaimError as error:
            raise self._refused(error, claims, now) from error
        events, subject, session = (claims.get(name) for name in ("events", "sub", "sid"))
        is_old = claims["iat"] < now - LOGOUT_TOKEN_SECONDS
        is_logout = isinstance(events, dict) and LOGOUT_EVENT in events
        if is_old or not is_logout or "nonce" in claims:
            raise self._invalid("not a logout token")
        found = _text(subject), _text(session)
        if found == ("", ""):
            raise self._invalid("nobody named")
        return found

    def _decode(self, token: str, keys: Sequence[SigningKey]) -> jwt.Token:
        header = self._read_header(token)
        kind = ALGORITHMS[header.alg]
        fitting = [
            key.key
            for key in keys
            if key.kind == kind
            and key.algorithm in {"", header.alg}
            and (header.kid is None or key.kid in {"", header.kid})
        ]
        registry = _Registry(algorithms=list(ALGORITHMS), strict_check_header=False)
        for key in fitting[:MAX_KEYS_TRIED]:
            try:
                return jwt.decode(token, key, registry=registry)
            except (JoseError, ValueError, TypeError) as error:
                log.debug("A key does not fit a token: %s", error)
        raise UnknownKey

    def _read_header(self, token: str) -> _Header:
        if len(token) > MAX_TOKEN_CHARS:
            raise self._invalid("too large")
        first = token.partition(".")[0]
        try:
            content = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))
            header = msgspec.json.decode(content, type=_Header)
        except (ValueError, msgspec.DecodeError) as error:
            raise self._invalid("malformed") from error
        if header.alg.startswith("HS"):
            raise ProviderFailed(
                f"{self.title} signs with a shared secret ({header.alg[:10]}). Choose a signing key"
                " there, for RS256 or ES256."
            )
        if header.alg not in ALGORITHMS:
            raise self._invalid("unsigned, or signed in an unknown way")
        return header

    def _refused(self, error: ClaimError, claims: Mapping[str, Any], now: float) -> ProviderFailed:
        issued = claims.get("iat")
        is_time = isinstance(error, ExpiredTokenError) or error.claim in {"exp", "iat", "nbf"}
        is_known = isinstance(issued, int | float) and abs(issued) < _LAST_SECOND
        if issued and is_time and is_known and not isinstance(error, MissingClaimError):
            minutes = max(1, round(abs(now - issued) / 60))
            unit = "minute" if minutes == 1 else "minutes"
            return ProviderFailed(
                f"The clocks of this server and of {self.title} differ by about {minutes:,} {unit}."
                " Set them right, then try again."
            )
        return self._invalid(_REASONS.get(error.claim, f"wrong or missing {error.claim[:20]}"))

    def _invalid(self, why: str) -> ProviderFailed:
        return ProviderFailed(f"What {self.title} says of this login is not valid: {why}.")


_LAST_SECOND: Final = 1e11
_REASONS: Final = {
    "iss": "it comes from another provider",
    "aud": "it is meant for another application",
    "azp": "it is meant for another application",
    "nonce": "it belongs to another login",
    "at_hash": "its parts do not belong together",
}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
