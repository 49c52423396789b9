"""External identities from what a provider says of its user: name, groups, who is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from app.accounts.external_identities import MAX_SUBJECT_CHARS, ExternalIdentity
from app.db.users import Role
from app.errors import IdentityRefused, ProviderFailed
from app.login_settings import ProviderSettings

log = logging.getLogger(__name__)
METHOD_PREFIX: Final = "oidc:"
MAX_GROUPS: Final = 2000
_NAMES: Final = ("preferred_username", "name", "email", "nickname", "sub")
"""Claims that name somebody, the best first."""


def needs_userinfo(settings: ProviderSettings, claims: Mapping[str, Any]) -> bool:
    """Tell whether an ID token lacks something that the provider may say elsewhere."""
    names = _NAMES[:1] if settings.link_by == "username" else _NAMES[:3]
    lacks_name = not any(_text(claims, name) for name in names)
    wants_groups = bool(settings.owner_groups or settings.allowed_groups)
    lacks_groups = wants_groups and _find(claims, settings.groups_claim) is None
    wants_email = bool(settings.allowed_emails) or settings.link_by == "email"
    lacks_email = wants_email and not ("email" in claims and "email_verified" in claims)
    return lacks_name or lacks_groups or lacks_email


def with_userinfo(claims: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Add what an ID token leaves out; an address is verified only where that is said of it."""
    added = {name: value for name, value in found.items() if name not in claims}
    if found.get("email") != claims.get("email", found.get("email")):
        added.pop("email_verified", None)
    if "email" not in claims and "email_verified" in claims:
        added.pop("email", None)
    return dict(claims) | added


def identity_of(
    settings: ProviderSettings, issuer: str, claims: Mapping[str, Any]
) -> ExternalIdentity:
    """Return the identity that valid claims speak of.

    Raises IdentityRefused for somebody whom the settings do not allow in.
    """
    subject = _text(claims, "sub")
    if not subject or len(subject) > MAX_SUBJECT_CHARS:
        raise ProviderFailed(f"{settings.title} names a user in a way that Wick can't keep.")
    groups = _groups(settings, claims)
    _check_allowed(settings, claims, groups)
    return ExternalIdentity(
        issuer=issuer,
        subject=subject,
        method=METHOD_PREFIX + settings.name,
        title=settings.title,
        name=next(text for name in _NAMES if (text := _text(claims, name))),
        role=_role(settings, groups),
        may_create=settings.create,
        account=_account(settings, claims),
    )


def _check_allowed(
    settings: ProviderSettings, claims: Mapping[str, Any], groups: frozenset[str]
) -> None:
    if settings.allowed_groups and not groups & (settings.allowed_groups | settings.owner_groups):
        raise IdentityRefused(
            f"At {settings.title} you are in none of the groups that may use this Wick."
            " Ask whoever manages them there."
        )
    if not settings.allowed_emails:
        return
    email = _verified_email(claims)
    if not email:
        raise IdentityRefused(f"{settings.title} has no verified e-mail address of you.")
    domain = "@" + email.rpartition("@")[2]
    if not settings.allowed_emails & {email, domain}:
        raise IdentityRefused(
            f"Your e-mail address at {settings.title} may not use this Wick. Ask an owner."
        )


def _role(settings: ProviderSettings, groups: frozenset[str]) -> Role | None:
    if not settings.owner_groups:
        return None
    return "owner" if groups & settings.owner_groups else "member"


def _account(settings: ProviderSettings, claims: Mapping[str, Any]) -> str:
    """Return the name of the account that this user may enter without having linked it."""
    if settings.link_by == "email":
        return _verified_email(claims)
    return _text(claims, "preferred_username") if settings.link_by == "username" else ""


def _verified_email(claims: Mapping[str, Any]) -> str:
    is_verified = claims.get("email_verified") in (True, "true")
    return _text(claims, "email").casefold() if is_verified else ""


def _groups(settings: ProviderSettings, claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the groups; none where the claim is missing, for owners too."""
    if not settings.owner_groups and not settings.allowed_groups:
        return frozenset()
    found = _find(claims, settings.groups_claim)
    if found is None:
        log.warning(
            "%s sends no claim %r, so nobody is in a group: see %s.",
            settings.title,
            settings.groups_claim,
            settings.variable("groups_claim"),
        )
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(group for group in listed[:MAX_GROUPS] if isinstance(group, str))


def _find(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its name, or by a path such as `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value.strip() if isinstance(value, str) else ""
