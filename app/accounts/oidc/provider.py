"""One OpenID provider: where it sends users to log in, and what it says of them afterwards."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

import msgspec

from app.accounts.external_identities import ExternalIdentity
from app.accounts.oidc.authorization import EXPIRED, AuthorizationRequest, with_query
from app.accounts.oidc.cached import Cached
from app.accounts.oidc.claims import identity_of, needs_userinfo, with_userinfo
from app.accounts.oidc.metadata import (
    ProviderMetadata,
    PublishedKeys,
    SigningKey,
    check_metadata,
    read_keys,
)
from app.accounts.oidc.provider_http import ProviderHttp, decode
from app.accounts.oidc.tokens import TokenChecker, UnknownKey
from app.errors import LoginExpired, ProviderFailed, ProviderUnreachable
from app.login_settings import DISCOVERY_PATH, ProviderSettings

log = logging.getLogger(__name__)
T = TypeVar("T")
TOKEN_ERRORS: Final = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
        *("unsupported_grant_type", "invalid_scope"),
    }
)
"""Errors that RFC 6749 (section 5.2) lets a provider give instead of tokens."""
FRESH_SECONDS: Final = 60.0
"""Age of the discovery document with which a login is begun: who sends a person away should know
that somebody is there. ..."""
KEPT_SECONDS: Final = 3600.0
"""... And with which one is finished; that of keys, too."""
KEYS_AGAIN_SECONDS: Final = 10.0
SHOWN_SECONDS: Final = 60.0
MAX_LOGINS: Final = 16
"""Logins that are finished at the same time."""
MAX_CODE_CHARS: Final = 4096


class TokenResponse(msgspec.Struct, frozen=True):
    """What a provider gives for a code."""

    id_token: str
    access_token: str = ""


class TokenError(msgspec.Struct, frozen=True):
    """What it gives instead."""

    error: str


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A finished login. session: the provider's own, for when it ends it; id_token: shows it at
    logging out whom."""

    identity: ExternalIdentity
    session: str
    id_token: str


class IdentityProvider:
    """One provider, with what is known of it at the moment."""

    def __init__(
        self,
        settings: ProviderSettings,
        http: ProviderHttp,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._http = http
        self._clock = clock
        self._monotonic = monotonic
        self._metadata: Cached[ProviderMetadata] = Cached(self._get_metadata, monotonic)
        self._keys: Cached[tuple[SigningKey, ...]] = Cached(self._get_keys, monotonic)
        self._logins = 0

    @property
    def problem(self) -> str:
        """Return why nobody can log in by it, as far as that was tried in the last minute."""
        failed = self._metadata.failure
        if failed is None or self._monotonic() - failed[0] > SHOWN_SECONDS:
            return ""
        return str(failed[1])

    @property
    def may_end_sessions(self) -> bool:
        """Tell whether users can log out there from here, as far as that is known."""
        known = self._metadata.kept
        return known is None or bool(known.end_session_endpoint)

    async def check(self) -> None:
        """Look whether it works. Raises ProviderFailed."""
        await self._metadata.get(0.0)
        await self._keys.get(0.0)

    async def begin(self, request: AuthorizationRequest, redirect_uri: str) -> str:
        """Return the address at which the user logs in. Raises ProviderFailed."""
        metadata = await self._metadata.get(FRESH_SECONDS)
        return with_query(
            metadata.authorization_endpoint,
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": " ".join(self.settings.scopes),
                "state": request.state,
                "nonce": request.nonce,
                "code_challenge": request.challenge,
                "code_challenge_method": "S256",
            },
        )

    async def finish(
        self, request: AuthorizationRequest, code: str, issuer: str | None, redirect_uri: str
    ) -> ProviderAnswer:
        """Return who has logged in.

        issuer: as the answer names it, if it does. Raises ProviderFailed, IdentityRefused or
        LoginExpired.
        """
        if self._logins >= MAX_LOGINS:
            raise ProviderUnreachable("Too many users are logging in right now. Try again.")
        self._logins += 1
        try:
            return await self._finish(request, code, issuer, redirect_uri)
        finally:
            self._logins -= 1

    async def _finish(
        self, request: AuthorizationRequest, code: str, issuer: str | None, redirect_uri: str
    ) -> ProviderAnswer:
        title = self.settings.title
        metadata = await self._metadata.get(KEPT_SECONDS)
        is_named = metadata.authorization_response_iss_parameter_supported
        if (issuer is None and is_named) or issuer not in {None, metadata.issuer}:
            raise ProviderFailed(f"Another provider than {title} has answered.")
        if not code or len(code) > MAX_CODE_CHARS:
            raise ProviderFailed(f"{title} has answered without a code.")
        tokens = await self._exchange(metadata, request, code, redirect_uri)
        claims = await self._with_keys(
            lambda checker, keys: checker.check_id_token(
                tokens.id_token,
                keys,
                nonce=request.nonce,
                access_token=tokens.access_token,
                now=self._clock(),
            )
        )
        if metadata.userinfo_endpoint and needs_userinfo(self.settings, claims):
            claims = await self._add_userinfo(metadata.userinfo_endpoint, tokens, claims)
        identity = identity_of(self.settings, metadata.issuer, claims)
        session = claims.get("sid")
        return ProviderAnswer(
            identity, session if isinstance(session, str) else "", tokens.id_token
        )

    async def _exchange(
        self,
        metadata: ProviderMetadata,
        request: AuthorizationRequest,
        code: str,
        redirect_uri: str,
    ) -> TokenResponse:
        """Exchange a code for tokens. Raises ProviderFailed or LoginExpired."""
        settings, url = self.settings, metadata.token_endpoint
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": request.verifier,
        }
        headers = {}
        if settings.client_secret and metadata.takes_basic:
            headers["Authorization"] = _basic(settings.client_id, settings.client_secret)
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        status, content = await self._http.post(settings.title, url, form, headers)
        if status == 200:
            return decode(settings.title, url, content, TokenResponse)
        raise self._token_error(status, content)

    def _token_error(self, status: int, content: bytes) -> ProviderFailed | LoginExpired:
        settings = self.settings
        try:
            code = msgspec.json.decode(content, type=TokenError).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            code = ""
        known = code if code in TOKEN_ERRORS else "unknown error"  # the rest may name a user
        log.warning("%s gave no tokens: status %d, %s", settings.title, status, known)
        if code == "invalid_grant":
            return LoginExpired(EXPIRED)
        if code in {"invalid_client", "unauthorized_client"} or status == 401:
            return ProviderFailed(
                f"{settings.title} does not accept Wick's client ID or secret. An owner has to"
                f" check {settings.variable('client_id')} and {settings.variable('client_secret')}."
            )
        return ProviderFailed(f"{settings.title} answers with an error ({status}).")

    async def _add_userinfo(
        self, url: str, tokens: TokenResponse, claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Add what the ID token leaves out. Raises ProviderFailed."""
        title = self.settings.title
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        try:
            found = await self._http.get(title, url, dict[str, Any], headers)
        except ValueError as error:  # a token that is no header
            raise ProviderFailed(f"{title} gave a token that is not valid.") from error
        if found.get("sub") != claims["sub"]:
            raise ProviderFailed(f"{title} speaks of two different users.")
        return with_userinfo(claims, found)

    async def end_session_address(self, id_token: str, return_to: str) -> str:
        """Return where the user ends the provider's own session; empty where it has no such
        address. Raises ProviderFailed."""
        metadata = await self._metadata.get(KEPT_SECONDS)
        if not metadata.end_session_endpoint:
            return ""
        values = {
            "client_id": self.settings.client_id,
            "id_token_hint": id_token,
            "post_logout_redirect_uri": return_to,
        }
        return with_query(metadata.end_session_endpoint, values)

    async def read_logout_token(self, token: str) -> tuple[str, str, str]:
        """Return whose sessions the provider has ended: issuer, subject and session.

        Raises ProviderFailed.
        """
        issuer = (await self._metadata.get(KEPT_SECONDS)).issuer
        subject, session = await self._with_keys(
            lambda checker, keys: checker.check_logout_token(token, keys, self._clock())
        )
        return issuer, subject, session

    async def _with_keys(self, use: Callable[[TokenChecker, Sequence[SigningKey]], T]) -> T:
        """Check a token; for a key that is new, look once for new ones."""
        metadata = await self._metadata.get(KEPT_SECONDS)
        checker = TokenChecker(self.settings.title, metadata.issuer, self.settings.client_id)
        try:
            return use(checker, await self._keys.get(KEPT_SECONDS))
        except UnknownKey:
            pass
        try:
            return use(checker, await self._keys.get(KEYS_AGAIN_SECONDS))
        except UnknownKey:
            raise ProviderFailed(
                f"What {self.settings.title} says is not valid: no key of it has signed that."
            ) from None

    async def _get_metadata(self) -> ProviderMetadata:
        settings = self.settings
        url = settings.issuer.rstrip("/") + DISCOVERY_PATH
        found = await self._http.get(settings.title, url, ProviderMetadata)
        check_metadata(settings, found)
        return found

    async def _get_keys(self) -> tuple[SigningKey, ...]:
        metadata = await self._metadata.get(KEPT_SECONDS)
        published = await self._http.get(self.settings.title, metadata.jwks_uri, PublishedKeys)
        return read_keys(self.settings.title, published)


def _basic(client_id: str, secret: str) -> str:
    """Return the header of RFC 6749, 2.3.1, which encodes both before they are joined."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
