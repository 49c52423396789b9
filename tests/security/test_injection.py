"""Names that would be paths or headers, wherever the application takes a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiosqlite
import pytest
from quart import Quart
from quart.testing import QuartClient

from app.db import chats, messages
from app.models.store import ModelStore
from tests.application import OWN, run_app
from tests.tiny_gguf import write_tiny_gguf

CHAT = "0123456789abcdef"
SECRET = "root-of-all-secrets"


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quart]:
    folder = tmp_path_factory.mktemp("names")
    (folder / "secret.txt").write_text(SECRET)
    (folder / "data" / "models").mkdir(parents=True)
    ModelStore(folder / "data" / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    async with run_app(folder / "data") as made:
        yield made


def outside(app: Quart) -> set[str]:
    """Everything beside the data folder, and the folders of models."""
    data: Path = app.extensions["wick"].settings.data_dir
    beside = {path.name for path in data.parent.iterdir()}
    return beside | {path.name for path in (data / "models").iterdir()}


TITLES = [
    "a\r\nSet-Cookie: stolen=1",
    "a\nX-Other: b",
    'a"; filename="b.exe',
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "a\0b",
    "\u202egnp.exe",
    "ä" * 300,
    "",
    ".",
    "con",
]


@pytest.mark.parametrize("kind", ["md", "json"])
@pytest.mark.parametrize("title", TITLES)
async def test_the_file_name_of_an_export_is_only_a_name(app: Quart, title: str, kind: str) -> None:
    async def add(connection: aiosqlite.Connection) -> None:
        await connection.execute("DELETE FROM chats")
        await chats.create(connection, CHAT, 1, title, "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "hello", "c1", 1.0)
        await chats.advance(connection, 1, CHAT, asked, "tiny", 1.0)

    await app.extensions["wick"].chats._db.write(add)
    answer = await QuartClient(app).get(f"/chats/{CHAT}/export.{kind}", headers=OWN)
    assert answer.status_code == 200
    name = answer.headers["Content-Disposition"]
    assert not set(name) & set("\r\n\0/\\")
    assert name.count('"') == 2
    assert len(name) < 1000
    assert "stolen" not in str(answer.headers.getlist("Set-Cookie"))
    assert "X-Other" not in answer.headers


PATHS = [
    "../secret.txt",
    "../../secret.txt",
    "..",
    ".",
    "/etc/passwd",
    "....//secret.txt",
    "..\\..\\secret.txt",
    "%2e%2e/secret.txt",
    "tiny/../../../secret.txt",
    "tiny/\0",
    "~/secret.txt",
    "C:\\secret.txt",
    "tiny\n",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_is_no_model_name(app: Quart, path: str) -> None:
    client, before, name = QuartClient(app), outside(app), quote(path, safe="")
    for method, address in (
        ("GET", f"/static/{name}"),
        ("GET", f"/static/{quote(path)}"),
        ("GET", f"/models/{name}/settings"),
        ("GET", f"/models/{name}/remove"),
        ("POST", f"/models/{name}/load"),
        ("POST", f"/models/{name}/default"),
        ("DELETE", f"/models/{name}"),
        ("GET", f"/chats/{name}/export.md"),
        ("GET", f"/shared/{name}"),
        ("DELETE", f"/trash/{name}"),
        ("PUT", f"/models/upload/{name}.gguf"),
    ):
        answer = await client.open(address, method=method, headers=OWN, data=b"nothing")
        body = await answer.get_data(as_text=True)
        assert answer.status_code in {308, 404, 405, 409, 422}, (address, answer.status_code)
        assert answer.headers.get("Location", "/").startswith(("/", "http://localhost:8000/"))
        assert SECRET not in body
        assert "root:" not in body
    assert outside(app) == before
