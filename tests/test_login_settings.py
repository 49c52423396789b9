"""Settings of OpenID providers: several by name, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import Settings, load_settings
from app.errors import ConfigError
from app.login_settings import DAY_SECONDS, ProviderSettings

GIVEN = {
    "WICK_OIDC_COMPANY_ISSUER": "https://login.example.org/realms/home",
    "WICK_OIDC_COMPANY_CLIENT_ID": "wick",
}


def provider(**given: str) -> ProviderSettings:
    named = {f"WICK_OIDC_COMPANY_{name.upper()}": text for name, text in given.items()}
    return load_settings(GIVEN | named, None).providers[0]


def test_defaults_are_careful() -> None:
    settings = load_settings(GIVEN, None)
    (company,) = settings.providers
    assert (company.name, company.title) == ("company", "Company")
    assert company.scopes == ("openid", "profile", "email")
    assert not company.create
    assert company.link_by == "off"
    assert company.session == 7 * DAY_SECONDS
    assert settings.has_accounts
    assert not Settings().has_accounts


def test_several_providers_in_a_file(tmp_path: Path) -> None:
    secret, dotenv = tmp_path / "secret", tmp_path / ".env"
    secret.write_text("hidden\n")
    dotenv.write_text(
        "WICK_OIDC_GOOGLE_ISSUER=https://accounts.google.com\n"
        "WICK_OIDC_GOOGLE_CLIENT_ID=1.apps.googleusercontent.com\n"
        f"WICK_OIDC_GOOGLE_CLIENT_SECRET_FILE={secret}\n"
        "WICK_OIDC_GOOGLE_LABEL=Google\n"
        "WICK_OIDC_GOOGLE_CREATE=1\n"
        "WICK_OIDC_GOOGLE_ALLOWED_EMAILS=@example.org, Ann@example.com\n"
    )
    company, google = load_settings(GIVEN, dotenv).providers
    assert company.name == "company"
    assert google.client_secret == "hidden"
    assert "hidden" not in repr(google)
    assert google.allowed_emails == {"@example.org", "ann@example.com"}


def test_values_are_parsed() -> None:
    found = provider(
        issuer="https://login.example.org/.well-known/openid-configuration",
        scopes="profile,groups",
        owner_groups="cn=owners,ou=x|/wick",
        allowed_groups="a, b",
        create="on",
        link_by="Email",
        session="12h",
    )
    assert found.issuer == "https://login.example.org"
    assert found.scopes == ("openid", "profile", "groups")
    assert found.owner_groups == {"cn=owners,ou=x", "/wick"}
    assert found.allowed_groups == {"a", "b"}
    assert (found.create, found.link_by, found.session) == (True, "email", 12 * 3600)
    assert provider(issuer="http://localhost:9400").issuer == "http://localhost:9400"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("issuer", "http://login.example.org"),
        ("issuer", "https://login.example.org/?a=b"),
        ("issuer", "https://user@login.example.org"),
        ("issuer", "https://[1"),
        ("issuer", "login"),
        ("client_id", "a\nb"),
        ("label", "x" * 41),
        ("scopes", 'openid "'),
        ("client_secret_file", "/nowhere/at/all"),
        ("allowed_emails", "example.org"),
        ("create", "perhaps"),
        ("link_by", "name"),
        ("session", "1y"),
        ("session", "91d"),
        ("session", "0h"),
        ("colour", "blue"),
    ],
)
def test_wrong_value_is_one_line_naming_it(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        provider(**{name: text})
    assert f"WICK_OIDC_COMPANY_{name.upper()}" in str(caught.value)
    assert "\n" not in str(caught.value).replace(text, "")


def test_what_is_missing_or_too_much_is_said(tmp_path: Path) -> None:
    for variable in GIVEN:
        rest = {name: text for name, text in GIVEN.items() if name != variable}
        with pytest.raises(ConfigError, match=f"{variable} is missing"):
            load_settings(rest, None)
    file = tmp_path / "secret"
    file.write_text("x")
    with pytest.raises(ConfigError, match="Leave one out"):
        provider(client_secret="x", client_secret_file=str(file))
    file.write_text("")
    with pytest.raises(ConfigError, match="no secret"):
        provider(client_secret_file=str(file))
    for variable in ("WICK_OIDC", "WICK_PROVIDERS", "WICK_OIDC_A_B_ISSUER"):
        with pytest.raises(ConfigError, match="not a setting"):
            load_settings({variable: "x"}, None)


def test_an_issuer_of_everybody_needs_a_bound() -> None:
    with pytest.raises(ConfigError, match="WICK_OIDC_COMPANY_ALLOWED_EMAILS"):
        provider(issuer="https://accounts.google.com", create="1")
    assert not provider(issuer="https://accounts.google.com").create
