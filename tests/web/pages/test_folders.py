"""Folders asked for over HTTP: by the page, by programs, and in files."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest
from quart import Quart

from app.db import chats, messages
from tests.application import PAGE, BrowserClient, context_of, run_app, sign_in, text_of

CHAT, OTHER = "0123456789abcdef", "fedcba9876543210"
FOLDERS = "/api/v1/folders"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    """Start a server with two chats."""
    async with run_app(tmp_path) as made:
        await context_of(made).chats._db.write(fill)
        yield made


async def fill(connection: aiosqlite.Connection) -> None:
    for number, chat_id in enumerate((CHAT, OTHER)):
        await chats.create(connection, chat_id, 1, f"Chat {number}", "tiny", number)
        said = await messages.add_user(connection, 1, chat_id, None, "hello", chat_id, 1.0)
        await chats.set_leaf(connection, 1, chat_id, said)


async def test_a_folder_from_its_first_chat_to_its_end(app: Quart) -> None:
    browser = BrowserClient(app)
    dialog = await text_of(await browser.ask("GET", f"/chats/{CHAT}/folder", headers=PAGE))
    assert "New folder" in dialog
    moved = await browser.ask("POST", f"/chats/{CHAT}/folder", form={"name": " Recipes <b> "})
    assert "Moved to “Recipes &lt;b&gt;”." in await text_of(moved)
    (folder,) = (await (await browser.ask("GET", FOLDERS)).get_json())["data"]
    assert (folder["name"], folder["chats"]) == ("Recipes <b>", 1)
    page = await text_of(await browser.ask("GET", "/"))
    assert page.index("Recipes &lt;b&gt;") < page.index("Chat 0") < page.index("Chat 1")

    address = f"/folders/{folder['id']}"
    values = {"name": "Kitchen", "instructions": "Be brief.", "model": "tiny"}
    assert (await browser.ask("POST", address, form=values)).status_code == 200
    assert (await browser.ask("POST", address, form={"name": " "})).status_code == 400
    assert "Be brief." in await text_of(await browser.ask("GET", address, headers=PAGE))
    await browser.ask("POST", f"{address}/fold?folded=1")
    page = await text_of(await browser.ask("GET", "/"))
    assert 'aria-expanded="false"' in page
    assert "Chat 0" not in page
    assert "In the folder" in await text_of(await browser.ask("GET", f"/?folder={folder['id']}"))

    await browser.ask("DELETE", address)
    page = await text_of(await browser.ask("GET", "/"))
    assert "Kitchen" not in page
    assert "Chat 0" in page


async def test_programs_use_folders_too(app: Quart) -> None:
    browser = BrowserClient(app)
    made = await browser.ask("POST", FOLDERS, json={"name": "Work", "model": "tiny"})
    assert made.status_code == 201
    folder = (await made.get_json())["id"]
    chat = f"/api/v1/chats/{CHAT}"
    moved = await browser.ask("PATCH", chat, json={"folder": folder})
    assert (await moved.get_json())["folder"] == folder
    changed = await browser.ask("PATCH", f"{FOLDERS}/{folder}", json={"instructions": "Be kind."})
    shown = await changed.get_json()
    assert (shown["name"], shown["instructions"], shown["model"]) == ("Work", "Be kind.", "tiny")
    listed = await (await browser.ask("GET", "/api/v1/chats")).get_json()
    assert {one["id"]: one["folder"] for one in listed["data"]} == {CHAT: folder, OTHER: None}
    inside = f"/api/v1/chats?list=folder&folder={folder}"
    assert [one["id"] for one in (await (await browser.ask("GET", inside)).get_json())["data"]] == [
        CHAT
    ]
    for wrong, status in (
        ("list=folder", 400),
        (f"folder={folder}", 400),
        ("list=folder&folder=99", 404),
    ):
        assert (await browser.ask("GET", f"/api/v1/chats?{wrong}")).status_code == status
    assert (await browser.ask("PATCH", chat, json={"folder": 99})).status_code == 404
    out = await browser.ask("PATCH", chat, json={"folder": None})
    assert (await out.get_json())["folder"] is None
    assert (await browser.ask("DELETE", f"{FOLDERS}/{folder}")).status_code == 204
    assert (await browser.ask("GET", f"{FOLDERS}/{folder}")).status_code == 404


async def test_files_carry_folders(app: Quart, tmp_path: Path) -> None:
    browser = BrowserClient(app)
    body = {"name": "Work", "instructions": "Be kind."}
    folder = (await (await browser.ask("POST", FOLDERS, json=body)).get_json())["id"]
    await browser.ask("PATCH", f"/api/v1/chats/{CHAT}", json={"folder": folder})
    file = await (await browser.ask("GET", "/exchange/chats.json")).get_data()
    assert json.loads(file)["chats"][0]["folder"]["name"] == "Work"
    async with run_app(tmp_path / "other") as other:
        imports, there = context_of(other).imports, BrowserClient(other)
        await there.ask("POST", FOLDERS, json={"name": "Play"})
        for _ in range(2):  # again it changes nothing
            await imports.import_file(1, io.BytesIO(file))
        found = (await (await there.ask("GET", FOLDERS)).get_json())["data"]
        assert [(one["name"], one["chats"]) for one in found] == [("Play", 0), ("Work", 1)]
        assert found[1]["instructions"] == "Be kind."


async def test_nobody_reaches_anothers_folder(tmp_path: Path) -> None:
    async with run_app(tmp_path, accounts="on") as app:
        ada, ben = await sign_in(app, "ada", "owner"), await sign_in(app, "ben")
        await context_of(app).chats._db.write(fill)
        made = await ada.ask("POST", f"/chats/{CHAT}/folder", form={"name": "Secret"})
        assert made.status_code == 200
        folder = (await context_of(app).folders.all(1))[0].id
        for method, path in (
            ("GET", f"/folders/{folder}"),
            ("GET", f"/folders/{folder}/menu"),
            ("POST", f"/folders/{folder}"),
            ("DELETE", f"/folders/{folder}"),
            ("POST", f"/chats/{OTHER}/folder?folder={folder}"),
        ):
            form = {"name": "Mine"} if method == "POST" and "chats" not in path else None
            assert (await ben.ask(method, path, form=form)).status_code == 404, path
        await ben.ask("POST", f"/folders/{folder}/fold?folded=1")
        assert await context_of(app).folders.all(1) == [
            await context_of(app).folders.get(1, folder)
        ]
        assert not (await context_of(app).folders.get(1, folder)).is_folded
        assert "Secret" not in await text_of(await ben.ask("GET", "/"))
