"""Settings of the OpenID providers that log users in.

A provider has a name, which is part of its variables (`WICK_OIDC_COMPANY_ISSUER`) and of its
addresses (`/login/with/company`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from app import setting_values
from app.errors import ConfigError
from app.net import is_loopback

PREFIX: Final = "WICK_OIDC_"
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
MAX_SECRET_BYTES: Final = 4096
MAX_LABEL_CHARS: Final = 40
DAY_SECONDS: Final = 86400.0
LinkBy = Literal["off", "username", "email"]
FOR_ANYBODY: Final = frozenset(
    {"https://accounts.google.com", "https://gitlab.com", "https://appleid.apple.com"}
)
"""Issuers where everybody in the world can have an account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """Settings of one OpenID provider. `.env.example` says what each one means."""

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    label: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    groups_claim: str = "groups"
    owner_groups: frozenset[str] = frozenset()
    allowed_groups: frozenset[str] = frozenset()
    allowed_emails: frozenset[str] = frozenset()
    create: bool = False
    link_by: LinkBy = "off"
    session: float = 7 * DAY_SECONDS

    @property
    def title(self) -> str:
        """Return what users call it."""
        return self.label or self.name.capitalize()

    def variable(self, setting: str) -> str:
        """Return the variable that has one of its settings."""
        return f"{PREFIX}{self.name.upper()}_{setting.upper()}"


def take_providers(given: dict[str, str]) -> tuple[ProviderSettings, ...]:
    """Take the settings of providers out of `given`, by the names of providers in alphabetical
    order.

    Raises ConfigError.
    """
    found: dict[str, dict[str, str]] = {}
    for variable in sorted(given):
        if match := _VARIABLE.fullmatch(variable):
            found.setdefault(match[1].lower(), {})[match[2].lower()] = given.pop(variable)
    return tuple(_provider(name, values) for name, values in found.items())


def _provider(name: str, given: Mapping[str, str]) -> ProviderSettings:
    def variable(setting: str) -> str:
        return f"{PREFIX}{name.upper()}_{setting.upper()}"

    for needed in ("issuer", "client_id"):
        if needed not in given:
            raise ConfigError(f"{variable(needed)} is missing.")
    if "client_secret" in given and "client_secret_file" in given:
        raise ConfigError(
            f"{variable('client_secret')} and {variable('client_secret_file')} are both there."
            " Leave one out."
        )
    values: dict[str, Any] = {
        setting.removesuffix("_file"): _PARSERS[setting](variable(setting), text)
        for setting, text in given.items()
    }
    provider = ProviderSettings(name=name, **values)
    is_closed = provider.allowed_emails or provider.allowed_groups
    if provider.create and provider.issuer in FOR_ANYBODY and not is_closed:
        raise ConfigError(
            f"{variable('create')} would let everybody in who has an account at"
            f" {provider.issuer}. Set {variable('allowed_emails')} too."
        )
    return provider


def _issuer(name: str, text: str) -> str:
    address = text.removesuffix(DISCOVERY_PATH)
    try:
        parts = urlsplit(address)
        is_safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and is_safe
        is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:  # brackets that hold no address
        is_valid = is_plain = False
    if not is_valid or not is_plain or not re.fullmatch(r"[!-~]+", address):
        raise ConfigError(
            f"{name}={text} is wrong: it takes the address of the issuer, such as"
            " https://login.example.org/realms/home; https, unless it is on this computer."
        )
    return address


def _visible(name: str, text: str) -> str:
    if not re.fullmatch(r"[ -~]{1,512}", text):
        raise ConfigError(f"{name} is wrong: it takes up to 512 plain characters.")
    return text


def _secret_file(name: str, text: str) -> str:
    try:
        with Path(text).expanduser().open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1).decode().strip()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds no text"
        raise ConfigError(f"{name}={text} cannot be read: {why}.") from error
    if not content or len(content) > MAX_SECRET_BYTES:
        raise ConfigError(f"{name}={text} is wrong: the file holds no secret.")
    return content


def _label(name: str, text: str) -> str:
    if len(text) > MAX_LABEL_CHARS or not text.isprintable():
        raise ConfigError(f"{name} is wrong: it takes up to {MAX_LABEL_CHARS} characters.")
    return text


def _scopes(name: str, text: str) -> tuple[str, ...]:
    scopes = text.replace(",", " ").split()
    if not all(re.fullmatch(r"[!#-\[\]-~]+", scope) for scope in scopes):
        raise ConfigError(f"{name}={text} is wrong: it takes scopes such as openid profile email.")
    return tuple(dict.fromkeys(("openid", *scopes)))


def _items(_name: str, text: str) -> frozenset[str]:
    """Split at `|` where there is one, else at commas: names of groups may have those."""
    parts = text.split("|" if "|" in text else ",")
    return frozenset(part.strip() for part in parts if part.strip())


def _emails(name: str, text: str) -> frozenset[str]:
    found = frozenset(part.strip().casefold() for part in text.split(",") if part.strip())
    if not found or not all(re.fullmatch(r"[^@\s]*@[^@\s]+", part) for part in found):
        raise ConfigError(
            f"{name}={text} is wrong: it takes addresses such as ann@example.org, or @example.org"
            " for all of a domain, separated by commas."
        )
    return found


def _session(name: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,4})([hd])", text.lower())
    seconds = int(match[1]) * (3600.0 if match[2] == "h" else DAY_SECONDS) if match else 0.0
    if not 0 < seconds <= 90 * DAY_SECONDS:
        raise ConfigError(f"{name}={text} is wrong: it takes a time such as 12h or 7d, up to 90d.")
    return seconds


_PARSERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "issuer": _issuer,
    "client_id": _visible,
    "client_secret": _visible,
    "client_secret_file": _secret_file,
    "label": _label,
    "scopes": _scopes,
    "groups_claim": _visible,
    "owner_groups": _items,
    "allowed_groups": _items,
    "allowed_emails": _emails,
    "create": setting_values.parse_bool,
    "link_by": setting_values.one_of("off", "username", "email"),
    "session": _session,
}
PROVIDER_VARIABLES: Final = tuple(setting.upper() for setting in _PARSERS)
"""Ends of the variables of each provider."""
_VARIABLE: Final = re.compile(rf"{PREFIX}([A-Z0-9]+)_({'|'.join(PROVIDER_VARIABLES)})")
