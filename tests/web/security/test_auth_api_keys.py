"""Keys: made and shown once, good for what they were made for, and for nothing once revoked."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from quart import Quart

from app.accounts.api_keys import MAX_KEYS, SCOPES, ApiKeys
from app.cli import main
from app.config import Settings
from app.db import users
from app.db.connection import open_database
from app.errors import InvalidAccount, KeyNotFound
from app.server import create_app
from app.web.security.auth import scope_of
from tests.application import BrowserClient, context_of, csrf_in, quick_passwords, sign_in, text_of

FORM = "application/x-www-form-urlencoded"
PROGRAM = {"Host": "localhost:8000", "Content-Type": "application/json"}


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def host(request: pytest.FixtureRequest) -> str:
    host: str = request.param
    return host


@pytest.fixture
async def app(tmp_path: Path, tiny_store: Path, host: str) -> AsyncIterator[Quart]:
    settings = Settings(host=host, data_dir=tmp_path, models_dir=tiny_store, auto_pull=False)
    made = create_app(settings, quick_passwords())
    async with made.test_app():
        yield made


async def ask(app: Quart, secret: str, path: str = "/v1/models", **given: Any) -> Any:
    headers = PROGRAM | {"Authorization": f"Bearer {secret}"} | given.pop("headers", {})
    return await app.test_client().open(path, headers=headers, **given)


@pytest.mark.parametrize("host", ["0.0.0.0"])
async def test_a_key_acts_for_its_user(app: Quart) -> None:
    owner = await sign_in(app, "Ada", "owner")
    page = await text_of(await owner.ask("GET", "/keys"))
    fields = [
        ("csrf", csrf_in(page)),
        ("name", "My <editor>"),
        ("scope", "chat"),
        ("scope", "read"),
    ]
    made = await text_of(
        await owner.ask("POST", "/keys", data=urlencode(fields), headers={"Content-Type": FORM})
    )
    found = re.search(r'id="secret"[^>]* value="(wick_[\w-]{40,})"', made)
    assert found
    secret = found[1]
    again = await text_of(await owner.ask("GET", "/keys"))
    assert secret not in again
    assert "My &lt;editor&gt;" in again
    assert "never used" in again
    for headers in ({}, {"Authorization": "", "X-Api-Key": secret}):
        answer = await ask(app, secret, headers=headers)
        assert answer.status_code == 200
    assert "last used" in await text_of(await owner.ask("GET", "/keys"))
    assert (await ask(app, secret, "/api/v1/chats")).status_code == 200
    refused = await ask(app, secret, "/api/v1/chats", method="POST", json={"text": "hello"})
    assert refused.status_code == 403
    assert "My <editor>" in (await refused.get_json())["error"]["message"]
    # It opens no page, and takes the place of no login there.
    assert (await ask(app, secret, "/")).status_code == 303
    key = re.search(r"/keys/(\d+)/revoke", again)
    assert key
    form = {"csrf": csrf_in(page)}
    await owner.ask("POST", f"/keys/{key[1]}/revoke", form=form)
    answer = await ask(app, secret)
    assert answer.status_code == 401
    assert (await answer.get_json())["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("host", ["0.0.0.0"])
async def test_keys_are_their_users_alone(app: Quart) -> None:
    await sign_in(app, "Ada", "owner")
    member, here = await sign_in(app, "Ben"), context_of(app)
    ben = await users.get_by_name(here.chats._db, "ben")
    assert ben
    theirs, key = await here.api_keys.add(ben.id, "mine", SCOPES)
    stranger = await sign_in(app, "Cleo")
    page = await text_of(await stranger.ask("GET", "/keys"))
    assert key.hint not in page
    form = {"csrf": csrf_in(page)}
    assert (await stranger.ask("POST", f"/keys/{key.id}/revoke", form=form)).status_code == 404
    assert (await ask(app, theirs, "/api/v1/chats")).status_code == 200
    await here.users.disable(ben.id)
    assert (await ask(app, theirs, "/api/v1/chats")).status_code == 401
    assert (await member.ask("GET", "/keys")).status_code == 303


async def test_requests_without_a_key(app: Quart, host: str) -> None:
    client, is_local = app.test_client(), host == "127.0.0.1"
    for headers in (
        PROGRAM,
        PROGRAM | {"Authorization": "Bearer sk-none"},  # programs insist on sending something
        PROGRAM | {"Authorization": "Basic eDp5"},
        PROGRAM | {"X-Api-Key": "ollama"},
    ):
        answer = await client.get("/v1/models", headers=headers)
        assert answer.status_code == (200 if is_local else 401)
        if not is_local:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for secret in ("wick_", "wick_forged", "wick_" + "a" * 43):
        assert (await ask(app, secret)).status_code == 401


async def test_only_the_hash_of_a_link_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "wick.db"
    now = 1000.0
    async with open_database(path) as db:
        keys = ApiKeys(db, lambda: now)
        secret, key = await keys.add(1, " my \n key ", ["read", "chat", "nonsense"])
        assert (key.name, key.scopes) == ("my key", ("chat", "read"))
        for _ in range(2):
            holder = await keys.authenticate(secret)
            assert holder is not None
            assert holder.user.id == 1
        assert (await keys.list_for_user(1))[0].used_at == now
        for name, scopes in (("", ["chat"]), ("x" * 61, ["chat"]), ("x", []), ("x", ["nonsense"])):
            with pytest.raises(InvalidAccount):
                await keys.add(1, name, scopes)
        for number in range(MAX_KEYS - 1):
            await keys.add(1, f"key {number}", ["chat"])
        with pytest.raises(InvalidAccount, match="the limit"):
            await keys.add(1, "one more", ["chat"])
        with pytest.raises(KeyNotFound):
            await keys.revoke(2, key.id)
    with closing(sqlite3.connect(path)) as database:
        kept = "\n".join(database.iterdump())
    assert secret not in kept
    assert secret.removeprefix(key.hint) not in kept


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/models", ""),
        ("POST", "/v1/chat/completions", "chat"),
        ("POST", "/api/chat", "chat"),
        ("POST", "/v1/messages", "chat"),
        ("POST", "/v1/responses", "chat"),
        ("GET", "/v1/responses/resp_1", "chat"),
        ("DELETE", "/v1/responses/resp_1", "chat"),
        ("POST", "/api/show", ""),
        ("GET", "/api/v1/chats", "read"),
        ("POST", "/api/v1/chats", "write"),
        ("DELETE", "/api/v1/chats/x", "write"),
    ],
)
def test_the_scope_that_each_address_needs_of_an_api_key(
    method: str, path: str, scope: str
) -> None:
    assert scope_of(method, path) == scope


def test_keys_are_made_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path))
    assert main(["key", "list"]) == 0
    assert "No keys yet" in capsys.readouterr().out
    assert main(["key", "add", "my editor", "--scope", "chat", "--scope", "read"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("wick_")
    assert main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert "my editor" in listed
    assert secret not in listed
    assert main(["key", "revoke", "1"]) == 0
    assert main(["key", "revoke", "1"]) == 1
    assert main(["key", "add", "x", "--user", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


async def test_a_page_of_our_own_may_use_the_api_with_its_login(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False)
    made = create_app(settings, quick_passwords())
    async with made.test_app():
        answer = await BrowserClient(made).ask("GET", "/api/v1/chats")
        assert (await answer.get_json())["data"] == []
