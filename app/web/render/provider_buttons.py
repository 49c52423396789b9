"""Ways to OpenID providers on the pages of login and account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.db.identities import LinkedIdentity
from app.web.context import server_context


@dataclass(frozen=True, slots=True)
class ProviderButton:
    """A way to a provider. problem: why it did not work lately; empty for nothing."""

    name: str
    title: str
    problem: str = ""


def provider_buttons() -> list[ProviderButton]:
    providers = server_context().providers
    return [
        ProviderButton(name, settings.title, providers.problem(name))
        for name, settings in providers.settings.items()
    ]


def linkable_providers(linked: Sequence[LinkedIdentity]) -> list[ProviderButton]:
    """List the providers of which a user has not linked an identity yet."""
    known = {identity.issuer.rstrip("/") for identity in linked}
    providers = server_context().providers
    return [
        ProviderButton(name, settings.title)
        for name, settings in providers.settings.items()
        if settings.issuer.rstrip("/") not in known
    ]


def provider_logout(ticket: str) -> ProviderButton | None:
    """Return the provider whose session goes on after one has been ended here."""
    context = server_context()
    ended = context.provider_sessions.find_logout(ticket) if ticket else None
    if ended is None or not context.providers.may_end_sessions(ended.provider):
        return None
    return ProviderButton(ended.provider, context.providers.settings[ended.provider].title)
