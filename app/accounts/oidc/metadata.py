"""What a provider publishes of itself: its addresses (discovery document) and its keys (JWKS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey

from app.errors import ProviderFailed
from app.login_settings import ProviderSettings
from app.net import is_loopback

MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
_PUBLIC: Final = {"RSA": {"kty", "n", "e"}, "EC": {"kty", "crv", "x", "y"}}
"""Kinds of keys that sign, and what is read of them: symmetric ones are no keys of a provider."""


class ProviderMetadata(msgspec.Struct, frozen=True):
    """Discovery document, as far as Wick uses it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    authorization_response_iss_parameter_supported: bool = False

    @property
    def takes_basic(self) -> bool:
        """Tell whether the secret goes into a header, not into the form."""
        methods = self.token_endpoint_auth_methods_supported
        return not methods or "client_secret_basic" in methods


def check_metadata(settings: ProviderSettings, found: ProviderMetadata) -> None:
    """Check that the document is this issuer's. Raises ProviderFailed."""
    if found.issuer.rstrip("/") != settings.issuer.rstrip("/"):
        raise ProviderFailed(
            f"{settings.title} calls itself {found.issuer[:200]!r}, and not"
            f" {settings.issuer!r} as {settings.variable('issuer')} says."
        )
    is_here = is_loopback(urlsplit(settings.issuer).hostname or "")
    addresses = (
        *(found.authorization_endpoint, found.token_endpoint, found.jwks_uri),
        *(found.userinfo_endpoint, found.end_session_endpoint),
    )
    for address in addresses:
        if address and not _is_safe(address, is_here=is_here):
            raise ProviderFailed(
                f"{settings.title} names an address that is not https: {address[:200]!r}."
            )


def _is_safe(address: str, *, is_here: bool) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or not address.isascii() or not address.isprintable() or " " in address:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_here and is_loopback(host))


class PublishedKeys(msgspec.Struct, frozen=True):
    """JWKS, as it comes."""

    keys: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Public key of a provider. kid: its id, empty for none; algorithm: the only one it is for,
    empty where it says nothing."""

    kid: str
    kind: str
    algorithm: str
    key: RSAKey | ECKey


def read_keys(title: str, published: PublishedKeys) -> tuple[SigningKey, ...]:
    """Read the keys that can check signatures; others are left out.

    Raises ProviderFailed when there are too many, or none.
    """
    if len(published.keys) > MAX_KEYS:
        raise ProviderFailed(f"{title} has more keys than Wick reads.")
    found = tuple(key for given in published.keys if (key := _read_key(given)) is not None)
    if not found:
        raise ProviderFailed(f"{title} has no key that could check its signatures.")
    return found


def _read_key(given: dict[str, Any]) -> SigningKey | None:
    kind, use = given.get("kty"), given.get("use", "sig")
    if not isinstance(kind, str) or kind not in _PUBLIC or use != "sig":
        return None
    values: dict[str, Any] = {name: given.get(name) for name in _PUBLIC[kind]}
    if not all(isinstance(value, str) and len(value) <= _LONGEST for value in values.values()):
        return None
    is_rsa = kind == "RSA"
    if is_rsa and (len(values["n"]) < _SHORTEST or len(values["e"]) > _LONGEST_EXPONENT):
        return None
    try:
        key = JWKRegistry.import_key(values)
    except (JoseError, ValueError, TypeError):
        return None
    if isinstance(key, RSAKey):
        if not MIN_RSA_BITS <= key.raw_value.key_size <= MAX_RSA_BITS:
            return None
    elif not isinstance(key, ECKey):
        return None
    return SigningKey(
        _text(given.get("kid")), kind=kind, algorithm=_text(given.get("alg")), key=key
    )


# Characters in base64.
_SHORTEST: Final = MIN_RSA_BITS // 6
_LONGEST: Final = MAX_RSA_BITS // 6 + 8
_LONGEST_EXPONENT: Final = 8


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
