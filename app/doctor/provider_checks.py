"""Checks of the OpenID providers that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from app.accounts.oidc.providers import Providers, check_installed
from app.config import Settings
from app.doctor.findings import Finding, fault, ok
from app.errors import ConfigError, ProviderFailed


def check_providers(settings: Settings) -> Iterator[Finding]:
    """Ask each provider for its addresses and keys."""
    try:
        check_installed(settings.providers)
    except ConfigError as error:
        yield fault("Providers", str(error))
        return
    if settings.providers:
        yield from asyncio.run(_ask(settings))


async def _ask(settings: Settings) -> list[Finding]:
    providers = Providers(settings.providers)
    try:
        return [await _ask_one(providers, name) for name in providers.settings]
    finally:
        await providers.close()


async def _ask_one(providers: Providers, name: str) -> Finding:
    settings = providers.settings[name]
    provider = await providers.open(name)
    assert provider is not None  # noqa: S101 - it is one of them
    try:
        await provider.check()
    except ProviderFailed as error:
        return fault(
            f"Provider {name}", f"{error} {settings.variable('issuer')} is {settings.issuer}."
        )
    return ok(f"Provider {name}", f"{settings.title} at {settings.issuer} works.")
