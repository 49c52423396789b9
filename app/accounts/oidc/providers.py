"""All OpenID providers of this Wick. What speaks to them is loaded when somebody first logs in."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from app.accounts.oidc.claims import METHOD_PREFIX
from app.errors import ConfigError
from app.login_settings import ProviderSettings

if TYPE_CHECKING:
    from app.accounts.oidc.provider import IdentityProvider
    from app.accounts.oidc.provider_http import ProviderHttp

MODULES: Final = ("authlib", "joserfc")


def check_installed(settings: Sequence[ProviderSettings]) -> None:
    """Raises ConfigError where there are providers but not the libraries for them."""
    if settings and any(importlib.util.find_spec(module) is None for module in MODULES):
        raise ConfigError(
            f"{settings[0].variable('issuer')} needs libraries that are not installed here:"
            " pip install 'wick[oidc]'"
        )


class Providers:
    """The providers that the settings name. Close it at the end."""

    def __init__(self, settings: Sequence[ProviderSettings]) -> None:
        self.settings = {provider.name: provider for provider in settings}
        self._lock = asyncio.Lock()
        self._http: ProviderHttp | None = None
        self._opened: dict[str, IdentityProvider] = {}

    async def open(self, name: str) -> IdentityProvider | None:
        """Return a provider, None where the settings name none like that."""
        if name not in self.settings:
            return None
        async with self._lock:
            if self._http is None:
                self._http = await asyncio.to_thread(_connect)
            if name not in self._opened:
                self._opened[name] = _provider(self.settings[name], self._http)
        return self._opened[name]

    def problem(self, name: str) -> str:
        """Return a sentence about what kept users from logging in lately; empty for nothing."""
        opened = self._opened.get(name)
        return opened.problem if opened is not None else ""

    def may_end_sessions(self, name: str) -> bool:
        """Tell whether users can log out at a provider from here, as far as that is known."""
        opened = self._opened.get(name)
        return name in self.settings and (opened is None or opened.may_end_sessions)

    def title_of_issuer(self, issuer: str) -> str:
        """Return what users call the provider of linked identities."""
        for provider in self.settings.values():
            if provider.issuer.rstrip("/") == issuer.rstrip("/"):
                return provider.title
        return issuer

    def describe_method(self, method: str) -> str:
        """Return how a session was begun, in words; empty for one that no provider began."""
        name = method.removeprefix(METHOD_PREFIX)
        if name == method:
            return ""
        known = self.settings.get(name)
        return f"with {known.title if known else name}"

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()


def _connect() -> ProviderHttp:
    from app.accounts.oidc.provider_http import ProviderHttp

    _ = importlib.import_module("app.accounts.oidc.provider")  # the libraries, in this thread
    return ProviderHttp()


def _provider(settings: ProviderSettings, http: ProviderHttp) -> IdentityProvider:
    from app.accounts.oidc.provider import IdentityProvider

    return IdentityProvider(settings, http)
