"""Events that matter for security, as they are written down."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from app import audit
from tests.application import OWN, PASSWORD, BrowserClient, context_of, run_app, sign_in


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count from zero, whatever other tests have been refused before."""
    monkeypatch.setattr(audit, "_throttle", audit.EventThrottle())


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


def events(folder: Path, name: str = "") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / audit.FILE).read_text().splitlines()]
    return [event for event in found if not name or event["event"] == name]


def test_a_line_is_one_object_whatever_is_in_it(tmp_path: Path) -> None:
    with audit.write_audit_file(tmp_path):
        audit.audit("refused", what="Host", value='evil"\r\n{"event": "login"}' + "x" * 9999)
        audit.audit("login", user=7, login=None)
    first, second = events(tmp_path)
    assert len(first["value"]) == audit.MAX_VALUE_CHARS
    assert (second["event"], second["user"]) == ("login", 7)
    assert "login" not in second
    assert stat.S_IMODE((tmp_path / audit.FILE).stat().st_mode) == 0o600


def test_a_flood_pushes_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(audit, "_throttle", audit.EventThrottle(lambda: now[0]))
    with audit.write_audit_file(tmp_path):
        for number in range(1000):
            audit.audit("refused", what="Host", address="192.0.2.1")
            audit.audit("login-failed", address=f"192.0.2.{number}")
        audit.audit("refused", what="Host", address="192.0.2.2")
        audit.audit("login", user=7)
        now[0] = audit.WINDOW_SECONDS
        audit.audit("refused", what="Host", address="192.0.2.1")
    logged = events(tmp_path)
    assert len([e for e in logged if e.get("address") == "192.0.2.1" and "what" in e]) == 31
    assert len([e for e in logged if e["event"] == "login-failed"]) == 300
    assert [e for e in logged if e.get("address") == "192.0.2.2" and "what" in e]
    assert [e for e in logged if e["event"] == "login"]
    left_out = {e["of"]: e["count"] for e in logged if e["event"] == "left-out"}
    assert left_out == {"refused": 970, "login-failed": 700}


def test_old_files_are_kept_for_their_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_FILE_BYTES", 500)
    with audit.write_audit_file(tmp_path):
        for number in range(100):
            audit.audit("login", user=number)
    files = sorted(tmp_path.glob("audit.log*"))
    assert len(files) == 1 + audit.OLD_FILES
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_logins_and_logouts_are_audited(app: Quart, tmp_path: Path) -> None:
    anna = await sign_in(app, "Anna", "owner")
    assert (await BrowserClient(app).log_in("Anna", "hunter2-secret")).status_code == 403
    assert (await BrowserClient(app).log_in("my-password-in-the-wrong-field")).status_code == 403
    await anna.ask("POST", "/logout/everywhere")
    known, unknown = events(tmp_path, "login-failed")
    assert (known["user"], "user" in unknown) == (1, False)
    assert next(e["event"] for e in events(tmp_path)) == "login"
    assert events(tmp_path, "all-logins-ended")
    text = (tmp_path / audit.FILE).read_text()
    for secret in (PASSWORD, "hunter2", "wrong-field", "Anna"):
        assert secret not in text


async def test_refused_requests_are_audited(app: Quart, tmp_path: Path) -> None:
    anna = await sign_in(app, "Anna", "owner")
    await anna.ask("GET", "/", headers={"Host": "evil.example"})
    await anna.ask("POST", "/logout", headers={"Origin": "http://evil.example"})
    await anna.ask("POST", "/logout", headers={"X-CSRF-Token": "guess"})
    assert [e["what"] for e in events(tmp_path, "refused")] == ["Host", "Origin", "CSRF token"]
    assert "guess" not in (tmp_path / audit.FILE).read_text()


async def test_guessed_passwords_and_changes_of_users_are_audited(
    app: Quart, tmp_path: Path
) -> None:
    anna = await sign_in(app, "Anna", "owner")
    token = await context_of(app).users.invite("member", 1)
    member = await context_of(app).users.add("Ben", PASSWORD, "member")
    await anna.ask("POST", f"/people/{member.id}/disable")
    await anna.ask("POST", f"/people/{member.id}/remove")
    for _ in range(6):
        await BrowserClient(app).log_in("Anna", "wrong")
    said = {e["event"] for e in events(tmp_path)}
    wanted = {"invitation-made", "person-added", "person-disabled", "person-removed"}
    assert wanted | {"limit-reached"} <= said
    assert token not in (tmp_path / audit.FILE).read_text()
    assert OWN["Host"] not in (tmp_path / audit.FILE).read_text()
