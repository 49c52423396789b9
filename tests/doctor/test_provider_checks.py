from __future__ import annotations

import pytest

from app.config import Settings
from app.doctor.provider_checks import check_providers
from tests.openid import json_answer, scripted_provider


def test_each_provider_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(check_providers(Settings())) == []
    with scripted_provider() as there, scripted_provider() as other:
        other.answers["/keys"] = lambda: json_answer({"keys": []})
        settings = Settings(providers=(there.settings(), other.settings(name="other")))
        works, fails = check_providers(settings)
        assert (works.level, fails.level) == ("ok", "fault")
        assert "Other has no key" in fails.sentence
        assert other.issuer in fails.sentence
        monkeypatch.setattr("app.accounts.oidc.providers.MODULES", ("no_such_library",))
        (missing,) = check_providers(settings)
        assert "pip install" in missing.sentence
