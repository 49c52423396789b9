"""Settings that `wick serve` refuses, and when it asks for accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli import serve
from app.config import Settings
from app.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"accounts": "off", "host": "0.0.0.0"}, "WICK_ACCOUNTS=off with WICK_HOST=0.0.0.0"),
        ({"accounts": "off", "host": "::"}, "WICK_ACCOUNTS=off"),
        ({"accounts": "off", "host": "192.168.1.2"}, "WICK_ACCOUNTS=off"),
        ({"accounts": "off", "host": "my-machine"}, "WICK_ACCOUNTS=off"),
        ({"accounts": "off", "trusted_proxies": ("proxy",)}, "WICK_TRUSTED_PROXIES"),
        ({"tls_cert": Path("/nothing")}, "WICK_TLS_KEY"),
        ({"tls_key": Path("/nothing")}, "WICK_TLS_CERT"),
        ({"tls_cert": Path("/nothing"), "tls_key": Path("/nothing")}, "cannot be read"),
        ({"tls_cert": Path(__file__), "tls_key": Path(__file__)}, "are no certificate"),
    ],
)
def test_settings_that_are_unsafe_or_cannot_work_are_refused(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        serve.check(Settings(**given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "has_accounts"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "::1"}, False),
        ({"accounts": "on"}, True),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "0"}, True),
        ({"host": "127.1"}, True),
        ({"host": "fe80::1%eth0"}, True),
        ({"host": "my-machine"}, True),
        ({"trusted_proxies": ("proxy",)}, True),
        ({"allowed_hosts": ("chat.example",)}, True),
        ({"allowed_hosts": ("localhost", "127.0.0.1")}, False),
        ({"allowed_hosts": ("wick.test",), "accounts": "off"}, False),
    ],
)
def test_accounts_are_on_wherever_others_can_connect(
    given: dict[str, Any], has_accounts: bool
) -> None:
    settings = Settings(**given)
    serve.check(settings)
    assert settings.has_accounts is has_accounts


def test_a_host_name_that_resolves_to_another_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(2, 1, 6, "", ("192.0.2.1", 8000))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConfigError, match=r"WICK_HOST=localhost is 192\.0\.2\.1 here"):
        serve.check(Settings(host="localhost"))
