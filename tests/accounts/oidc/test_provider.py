"""A provider and what it says: taken when it is right, refused in a sentence when it is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt

from app.accounts.oidc.authorization import AuthorizationRequest, new_request
from app.accounts.oidc.provider import IdentityProvider, ProviderAnswer
from app.accounts.oidc.provider_http import MAX_ANSWER_BYTES, ProviderHttp
from app.errors import (
    AccountError,
    IdentityRefused,
    LoginExpired,
    ProviderFailed,
    ProviderUnreachable,
)
from tests.openid import ScriptedProvider, b64, json_answer, scripted_provider, signing_key

REDIRECT = "http://localhost:8000/login/with/company/callback"
DISCOVERY = "/.well-known/openid-configuration"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def there() -> Iterator[ScriptedProvider]:
    with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def http() -> AsyncIterator[ProviderHttp]:
    client = ProviderHttp(seconds=5)
    yield client
    await client.close()


def open_provider(
    there: ScriptedProvider, http: ProviderHttp, clock: Clock | None = None, **settings: Any
) -> IdentityProvider:
    return IdentityProvider(there.settings(**settings), http, monotonic=clock or Clock())


async def log_in(
    there: ScriptedProvider,
    provider: IdentityProvider,
    change: Callable[[AuthorizationRequest], AuthorizationRequest] = lambda r: r,
) -> ProviderAnswer:
    request = new_request("company", "/", time.time())
    back = there.authorize(await provider.begin(request, REDIRECT))
    query = {k: v[0] for k, v in parse_qs(urlsplit(back).query).items()}
    assert query["state"] == request.state
    return await provider.finish(change(request), query["code"], query.get("iss"), REDIRECT)


async def test_a_login_with_pkce_and_a_nonce(there: ScriptedProvider, http: ProviderHttp) -> None:
    provider = open_provider(there, http)
    request = new_request("company", "/", time.time())
    address = await provider.begin(request, REDIRECT)
    query = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
    assert query == {
        "tenant": "1",  # of the address itself
        "response_type": "code",
        "client_id": "wick",
        "redirect_uri": REDIRECT,
        "scope": "openid profile email",
        "state": request.state,
        "nonce": request.nonce,
        "code_challenge": b64(hashlib.sha256(request.verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    answer = await log_in(there, provider)
    assert (answer.identity.issuer, answer.identity.subject) == (there.issuer, "ann-1")
    assert (answer.identity.name, answer.identity.method) == ("ann", "oidc:company")
    assert (answer.identity.role, answer.identity.account) == (None, "")
    assert answer.session == "session 1"
    await log_in(there, provider)
    assert there.requests.count(DISCOVERY) == 1
    assert there.requests.count("/keys") == 1
    assert "/userinfo" not in there.requests


@pytest.mark.parametrize("methods", [["client_secret_post"], ["none", "client_secret_post"]])
async def test_a_secret_goes_where_the_provider_wants_it(
    there: ScriptedProvider, http: ProviderHttp, methods: list[str]
) -> None:
    there.metadata = {"token_endpoint_auth_methods_supported": methods}
    answer = await log_in(there, open_provider(there, http))
    assert answer.identity.subject == "ann-1"


MINUTES = 60
# Times are seconds from now.
HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"nonce": "another"}, "belongs to another login"),
    ({"nonce": None}, "belongs to another login"),
    ({"aud": "another"}, "meant for another application"),
    ({"aud": ["wick", "another"]}, "meant for another application"),
    ({"aud": ["wick"], "azp": "another"}, "meant for another application"),
    ({"aud": None}, "meant for another application"),
    ({"iss": "https://evil.example"}, "comes from another provider"),
    ({"sub": None}, "missing sub"),
    ({"sub": ""}, "missing sub"),
    ({"sub": 5}, "missing sub"),
    ({"sub": "x" * 256}, "can't keep"),
    ({"exp": None}, "missing exp"),
    ({"exp": "never"}, "differ by about"),
    ({"iat": None}, "missing iat"),
    ({"at_hash": "AAAA"}, "do not belong together"),
    ({"amr": "pwd"}, "missing amr"),
    ({"exp": -10 * MINUTES, "iat": -15 * MINUTES}, "about 15 minutes"),
    ({"exp": 40 * MINUTES, "iat": 30 * MINUTES}, "about 30 minutes"),
    ({"iat": 10**400}, "missing iat"),
]


@pytest.mark.parametrize(("changes", "sentence"), HOSTILE)
async def test_a_token_with_wrong_claims_is_refused(
    there: ScriptedProvider, http: ProviderHttp, changes: dict[str, Any], sentence: str
) -> None:
    times = {name: changes[name] for name in ("exp", "iat") if isinstance(changes.get(name), int)}
    there.changes = changes | {name: int(time.time()) + given for name, given in times.items()}
    with pytest.raises(ProviderFailed, match=sentence):
        await log_in(there, open_provider(there, http))


def unsigned(claims: dict[str, Any]) -> str:
    head = b64(json.dumps({"alg": "none"}).encode())
    return f"{head}.{b64(json.dumps(claims).encode())}."


def with_public_key(claims: dict[str, Any]) -> str:
    """Sign by HMAC with what everybody can read: the public key."""
    head = b64(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    text = f"{head}.{b64(json.dumps(claims).encode())}"
    pem = signing_key().as_pem(private=False)
    return f"{text}.{b64(hmac.new(pem, text.encode(), hashlib.sha256).digest())}"


def by_another_key(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, signing_key("other"))


def with_its_own_key(claims: dict[str, Any]) -> str:
    key = signing_key("other")
    return jwt.encode({"alg": "RS256", "jwk": key.as_dict(private=False)}, claims, key)


def changed_afterwards(claims: dict[str, Any]) -> str:
    head, _, signature = jwt.encode({"alg": "RS256", "kid": "one"}, claims, signing_key()).split(
        "."
    )
    return f"{head}.{b64(json.dumps(claims | {'sub': 'owner'}).encode())}.{signature}"


@pytest.mark.parametrize(
    ("sign", "sentence"),
    [
        (unsigned, "unsigned"),
        (with_public_key, "shared secret"),
        (by_another_key, "no key of it"),
        (with_its_own_key, "no key of it"),
        (changed_afterwards, "no key of it"),
        (lambda _: "x", "malformed"),
        (lambda _: "", "malformed"),
        (lambda _: "a.b.c.d.e", "malformed"),
        (lambda _: b64(b'{"alg":"RS256"}') + ".x.x", "no key of it"),
        (lambda _: b64(b'{"alg":' * 2000) + ".x.x", "malformed"),
        (lambda _: "A" * 100_000, "too large"),
    ],
)
async def test_a_token_that_is_signed_wrongly_is_refused(
    there: ScriptedProvider,
    http: ProviderHttp,
    sign: Callable[[dict[str, Any]], str],
    sentence: str,
) -> None:
    there.sign = sign
    with pytest.raises(ProviderFailed, match=sentence):
        await log_in(there, open_provider(there, http))


async def test_a_new_key_is_looked_for_once(there: ScriptedProvider, http: ProviderHttp) -> None:
    clock = Clock()
    provider = open_provider(there, http, clock)
    await log_in(there, provider)
    there.key = signing_key("two")
    there.published.append(there.key)
    with pytest.raises(ProviderFailed, match="no key of it"):  # too soon after the last look
        await log_in(there, provider)
    clock.now += 11
    assert (await log_in(there, provider)).identity.subject == "ann-1"
    assert there.requests.count("/keys") == 2
    there.key = signing_key("three")
    with pytest.raises(ProviderFailed, match="no key of it"):
        await log_in(there, provider)
    assert there.requests.count("/keys") == 2


KEY = signing_key().as_dict(private=False)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([], "no key that could"),
        ([KEY] * 101, "more keys"),
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}], "no key that could"),
        ([{**KEY, "use": "enc"}], "no key that could"),
        ([{**KEY, "n": b64(b"\xff" * 127)}], "no key that could"),  # too short
        ([{**KEY, "n": b64(b"\xff" * 100_000)}], "no key that could"),
        ([{**KEY, "e": b64(b"\xff" * 200)}], "no key that could"),
        ([{**KEY, "n": 5}, {"kty": ["RSA"]}, {}], "no key that could"),
        ("none", "not valid"),
    ],
)
async def test_keys_that_cannot_be_used_are_left_out(
    there: ScriptedProvider, http: ProviderHttp, keys: object, sentence: str
) -> None:
    there.answers["/keys"] = lambda: json_answer({"keys": keys})
    with pytest.raises(ProviderFailed, match=sentence):
        await log_in(there, open_provider(there, http))


def redirect_elsewhere() -> Any:
    return 302, {"Location": "https://evil.example/"}, b""


def too_much() -> Any:
    return 200, {}, b"[" + b" " * MAX_ANSWER_BYTES + b"]"


@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/token", "/userinfo"])
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (redirect_elsewhere, "another address"),
        (too_much, "more than Wick reads"),
        (lambda: (200, {}, b"<html>"), "not valid"),
        (lambda: (200, {}, b"\xff\xfe"), "not valid"),
        (lambda: (200, {}, b"[" * 10_000), "not valid"),
        (lambda: (500, {}, b"<html>"), "error|no tokens"),
    ],
)
async def test_an_answer_that_is_none_is_refused(
    there: ScriptedProvider,
    http: ProviderHttp,
    path: str,
    answer: Callable[[], Any],
    sentence: str,
) -> None:
    there.answers[path] = answer
    there.changes = {"preferred_username": None, "email": None}  # so that it asks for more
    with pytest.raises(ProviderFailed, match=sentence):
        await log_in(there, open_provider(there, http))


@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/token"])
async def test_a_provider_that_hangs_is_left(there: ScriptedProvider, path: str) -> None:
    http = ProviderHttp(seconds=0.2)
    there.answers[path] = there.hang
    with pytest.raises(ProviderUnreachable, match="Company does not answer"):
        await log_in(there, open_provider(there, http))
    await http.close()


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"issuer": "https://evil.example"}, "WICK_OIDC_COMPANY_ISSUER"),
        ({"token_endpoint": "http://evil.example/token"}, "not https"),
        ({"jwks_uri": "file:///etc/passwd"}, "not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "not https"),
        ({"end_session_endpoint": "https:///nowhere"}, "not https"),
        ({"userinfo_endpoint": "https://[1"}, "not https"),
        ({"jwks_uri": None}, "not valid"),
    ],
)
async def test_a_discovery_document_of_somebody_else_is_refused(
    there: ScriptedProvider, http: ProviderHttp, metadata: dict[str, Any], sentence: str
) -> None:
    there.metadata = metadata
    with pytest.raises(ProviderFailed, match=sentence):
        await open_provider(there, http).begin(new_request("company", "/", 0), REDIRECT)


async def test_two_providers_cannot_be_mixed_up(
    there: ScriptedProvider, http: ProviderHttp
) -> None:
    """Neither by the issuer that an answer names, nor by a token of the other."""
    provider = open_provider(there, http)
    there.parameters = {"iss": "https://honest.example"}
    with pytest.raises(ProviderFailed, match="Another provider"):
        await log_in(there, provider)
    there.parameters = {"iss": there.issuer}
    assert (await log_in(there, provider)).identity.subject == "ann-1"
    there.parameters = {}
    there.metadata = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(ProviderFailed, match="Another provider"):
        await log_in(there, open_provider(there, http))
    with scripted_provider() as other:
        there.metadata = {}
        there.sign = lambda claims: other.signed(claims | {"iss": other.issuer})
        there.key = signing_key("mine")
        there.published = [there.key]
        with pytest.raises(ProviderFailed, match="no key of it"):
            await log_in(there, open_provider(there, http))


async def test_a_code_is_worth_nothing_without_its_verifier(
    there: ScriptedProvider, http: ProviderHttp, caplog: pytest.LogCaptureFixture
) -> None:
    provider = open_provider(there, http)

    def other(_: AuthorizationRequest) -> AuthorizationRequest:
        return new_request("company", "/", time.time())

    with pytest.raises(LoginExpired):
        await log_in(there, provider, other)
    with pytest.raises(ProviderFailed, match="CLIENT_SECRET"):
        await log_in(there, open_provider(there, http, client_secret="wrong"))
    for code in ("", "x" * 5000):
        request = new_request("company", "/", time.time())
        with pytest.raises(ProviderFailed, match="without a code"):
            await provider.finish(request, code, None, REDIRECT)
    endings = {record.getMessage().rpartition(", ")[2] for record in caplog.records}
    assert endings == {"invalid_grant", "invalid_client"}  # and none of the provider's own words


async def test_an_outage_is_known_for_a_minute(there: ScriptedProvider, http: ProviderHttp) -> None:
    clock = Clock()
    provider = open_provider(there, http, clock)
    request = new_request("company", "/", time.time())
    await provider.begin(request, REDIRECT)
    assert provider.problem == ""
    there.answers[DISCOVERY] = lambda: json_answer({}, 503)
    await provider.begin(request, REDIRECT)  # it was there a moment ago
    clock.now += 61
    for _ in range(3):
        with pytest.raises(ProviderFailed, match="error \\(503\\)"):
            await provider.begin(request, REDIRECT)
    assert there.requests.count(DISCOVERY) == 2  # and not four times
    assert "503" in provider.problem
    clock.now += 6
    del there.answers[DISCOVERY]
    await provider.begin(request, REDIRECT)
    assert provider.problem == ""
    there.close()
    clock.now += 61
    with pytest.raises(ProviderUnreachable, match="Company can't be reached"):
        await provider.begin(request, REDIRECT)
    clock.now += 61
    assert provider.problem == ""


GROUPS = {"owner_groups": frozenset({"admins"}), "allowed_groups": frozenset({"staff"})}


@pytest.mark.parametrize(
    ("user", "settings", "expected"),
    [
        ({"groups": ["staff", "admins"]}, GROUPS, "owner"),
        ({"groups": ["admins"]}, GROUPS, "owner"),
        ({"groups": ["staff"]}, GROUPS, "member"),
        ({"groups": "staff"}, GROUPS, "member"),
        ({"groups": ["guests"]}, GROUPS, "none of the groups"),
        ({"groups": [{"name": "staff"}]}, GROUPS, "none of the groups"),
        ({"groups": []}, GROUPS, "none of the groups"),
        ({"groups": 5}, GROUPS, "none of the groups"),
        ({}, GROUPS, "none of the groups"),
        ({}, {"owner_groups": frozenset({"admins"})}, "member"),
        ({"groups": ["admins"]}, {}, "None"),
        (
            {"realm_access": {"roles": ["admins"]}},
            GROUPS | {"groups_claim": "realm_access.roles"},
            "owner",
        ),
        (
            {"https://x.example/g": ["staff"]},
            GROUPS | {"groups_claim": "https://x.example/g"},
            "member",
        ),
        ({}, {"allowed_emails": frozenset({"@example.org"})}, "None"),
        ({}, {"allowed_emails": frozenset({"ann@example.org"})}, "None"),
        ({}, {"allowed_emails": frozenset({"@other.org"})}, "may not use"),
        (
            {"email_verified": False},
            {"allowed_emails": frozenset({"@example.org"})},
            "no verified e-mail",
        ),
        (
            {"email": "x@example.org@other.org"},
            {"allowed_emails": frozenset({"@example.org"})},
            "may not use",
        ),
    ],
)
async def test_groups_and_addresses_decide(
    there: ScriptedProvider,
    http: ProviderHttp,
    user: dict[str, Any],
    settings: dict[str, Any],
    expected: str,
) -> None:
    there.user |= user
    try:
        answer = await log_in(there, open_provider(there, http, **settings))
        found = str(answer.identity.role)
    except IdentityRefused as error:
        found = str(error)
    assert expected in found


async def test_what_an_id_token_leaves_out_is_asked_for(
    there: ScriptedProvider, http: ProviderHttp
) -> None:
    there.user |= {"groups": ["admins"]}
    there.changes = {"groups": None, "preferred_username": None, "email": None}
    settings: dict[str, Any] = {"owner_groups": frozenset({"admins"}), "link_by": "username"}
    answer = await log_in(there, open_provider(there, http, **settings))
    assert (answer.identity.role, answer.identity.account) == ("owner", "ann")
    there.userinfo = {"sub": "somebody else"}
    with pytest.raises(ProviderFailed, match="two different users"):
        await log_in(there, open_provider(there, http, **settings))


async def test_an_address_is_verified_only_where_that_is_said_of_it(
    there: ScriptedProvider, http: ProviderHttp
) -> None:
    provider = open_provider(there, http, link_by="email")
    there.changes = {"email_verified": None}
    assert (await log_in(there, provider)).identity.account == "ann@example.org"
    there.changes = {"email_verified": None, "email": "owner@example.org"}
    assert (await log_in(there, provider)).identity.account == ""
    there.changes = {"email": None}
    there.userinfo = {"email": "owner@example.org", "email_verified": False}
    assert (await log_in(there, provider)).identity.account == ""


@pytest.mark.parametrize(
    ("link_by", "user", "account"),
    [
        ("off", {}, ""),
        ("username", {}, "ann"),
        ("email", {}, "ann@example.org"),
        ("email", {"email_verified": False}, ""),
        ("email", {"email_verified": None}, ""),
        ("email", {"email_verified": 1}, "ann@example.org"),
    ],
)
async def test_an_account_is_entered_by_a_name_only_where_that_is_on(
    there: ScriptedProvider,
    http: ProviderHttp,
    link_by: str,
    user: dict[str, Any],
    account: str,
) -> None:
    there.user |= user
    answer = await log_in(there, open_provider(there, http, link_by=link_by))
    assert answer.identity.account == account


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, ""),
        ({"sub": None, "sid": "session 1"}, ""),
        ({"aud": "another"}, "another application"),
        ({"iss": "https://evil.example"}, "another provider"),
        ({"events": None}, "not a logout token"),
        ({"events": ["http://schemas.openid.net/event/backchannel-logout"]}, "not a logout token"),
        ({"nonce": "n"}, "not a logout token"),
        ({"sub": None}, "nobody named"),
        ({"iat": time.time() - 3600, "exp": None}, "not a logout token"),
        ({"exp": time.time() - 3600}, "differ by about"),
        ({"iat": None}, "missing iat"),
    ],
)
async def test_a_logout_token_ends_sessions_only_when_it_is_right(
    there: ScriptedProvider, http: ProviderHttp, changes: dict[str, Any], sentence: str
) -> None:
    provider = open_provider(there, http)
    token = there.logout_token(**changes)
    if not sentence:
        issuer, subject, session = await provider.read_logout_token(token)
        assert issuer == there.issuer
        assert (subject, session) == (changes.get("sub", "ann-1") or "", changes.get("sid", ""))
        return
    with pytest.raises(ProviderFailed, match=sentence):
        await provider.read_logout_token(token)


async def test_an_id_token_is_no_logout_token(there: ScriptedProvider, http: ProviderHttp) -> None:
    provider = open_provider(there, http)
    answer = await log_in(there, provider)
    with pytest.raises(AccountError, match="not a logout token"):
        await provider.read_logout_token(answer.id_token)
    payload = answer.id_token.split(".")[1]
    assert b"nonce" in base64.urlsafe_b64decode(payload + "==")
