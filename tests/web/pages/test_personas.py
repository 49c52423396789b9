"""Personas on the page, in a new chat and in the API; a stranger reaches nothing."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart
from quart.datastructures import FileStorage

from app.models.store import ModelStore
from tests.application import PAGE, BrowserClient, run_app, sign_in, text_of
from tests.tiny_gguf import write_tiny_gguf

PNG = b"\x89PNG\r\n\x1a\nrest"
FORM = {
    "name": "Ed <b>",
    "emoji": "✍️",
    "instructions": "Be <i>brief</i>.",
    "starters": "Proofread:\nShorten:",
    "greeting": "Show me <u>a text</u>.",
    "temperature": "0.5",
}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    ModelStore(tmp_path / "models").install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


async def test_a_persona_is_made_chosen_edited_and_deleted(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    refused = await anna.ask("POST", "/personas", form=FORM | {"temperature": "hot"})
    assert refused.status_code == 422
    assert "Be &lt;i&gt;brief&lt;/i&gt;." in await text_of(refused)
    picture = FileStorage(io.BytesIO(PNG), filename="a.png")
    made = await anna.ask("POST", "/personas", form=FORM, files={"picture": picture})
    assert made.status_code == 303, await text_of(made)
    page = await text_of(await anna.ask("GET", "/personas?done=saved"))
    assert "Persona saved." in page
    assert "<b>" not in page
    new = await text_of(await anna.ask("GET", "/?persona=1"))
    for words in (
        '<input type="hidden" name="persona" value="1">',
        "&amp;persona=1",
        "Show me &lt;u&gt;a text&lt;/u&gt;.",
        ">Proofread:</button>",
        'href="/" aria-current="true"',
    ):
        assert words in new
    answer = await anna.ask("GET", "/personas/1/picture")
    assert (await answer.get_data(as_text=False), answer.content_type) == (PNG, "image/png")
    edited = await text_of(await anna.ask("GET", "/personas/1"))
    assert 'value="0.5"' in edited
    changed = FORM | {"name": "Editor", "no_picture": "on"}
    assert (await anna.ask("POST", "/personas/1", form=changed)).status_code == 303
    assert (await anna.ask("GET", "/personas/1/picture")).status_code == 404
    card = json.loads(await text_of(await anna.ask("GET", "/personas/1/card.json")))
    assert card["data"]["name"] == "Editor"
    assert (await anna.ask("POST", "/personas/1/delete")).status_code == 303
    assert "persona=1" not in await text_of(await anna.ask("GET", "/?persona=1"))


async def test_a_library_is_exported_and_imported_on_the_page(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    await anna.ask("POST", "/personas", form=FORM)
    await anna.ask("POST", "/prompts", form={"name": "reply", "text": "Hello"})
    data = await (await anna.ask("GET", "/library.json")).get_data(as_text=False)
    file = FileStorage(io.BytesIO(data), filename="library.json")
    done = await text_of(await ben.ask("POST", "/library/import", files={"file": file}))
    assert "1 prompt and 1 persona imported." in done
    file = FileStorage(io.BytesIO(b"no"), filename="x.json")
    refused = await ben.ask("POST", "/library/import", files={"file": file})
    assert refused.status_code == 400
    assert "Can&#39;t read this file." in await text_of(refused)


async def test_programs_have_the_same_and_strangers_nothing(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    body = {"name": "Ed", "settings": {"temperature": 0.5}, "starters": ["Go"]}
    made = await anna.ask("POST", "/api/v1/personas", json=body)
    assert made.status_code == 201, await text_of(made)
    persona = json.loads(await text_of(made))
    assert persona["settings"]["temperature"] == 0.5
    path = f"/api/v1/personas/{persona['id']}"
    page = f"/personas/{persona['id']}"
    for method, where, given in (
        ("GET", path, {}),
        ("PUT", path, {"json": body}),
        ("DELETE", path, {}),
        ("GET", page, {}),
        ("GET", f"{page}/card.json", {}),
        ("GET", f"{page}/picture", {}),
        ("POST", page, {"form": FORM}),
        ("POST", f"{page}/delete", {"form": {}}),
    ):
        assert (await ben.ask(method, where, **given)).status_code == 404, (method, where)
    chat = {"text": "hi", "persona": persona["id"]}
    assert (await ben.ask("POST", "/api/v1/chats", json=chat)).status_code == 404
    again = await anna.ask("POST", "/api/v1/personas", json=body)
    assert again.status_code == 422
    changed = await anna.ask("PUT", path, json={"name": "Ed", "instructions": "x"})
    assert json.loads(await text_of(changed))["instructions"] == "x"
    exported = await (await anna.ask("GET", "/api/v1/library")).get_data(as_text=False)
    report = await ben.ask("POST", "/api/v1/library", data=exported)
    assert json.loads(await text_of(report))["personas"] == 1
    assert (await anna.ask("DELETE", path)).status_code == 204


async def test_the_settings_of_a_new_chat_show_what_it_begins_with(app: Quart) -> None:
    """A persona's values stand in the empty fields, and those of a folder."""
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    await anna.ask("POST", "/personas", form=FORM)
    await anna.ask("POST", "/folders/new", form={"name": "Work"})
    await anna.ask("POST", "/folders/1", form={"name": "Work", "instructions": "Be formal."})
    address = "/chats/0123456789abcdef/settings"
    new = await text_of(await anna.ask("GET", "/?persona=1"))
    assert 'hx-include="#model, #composer [name=persona], #composer [name=folder]"' in new

    async def shown(browser: BrowserClient, **given: str) -> str:
        return await text_of(await browser.ask("GET", address, query_string=given, headers=PAGE))

    dialog = await shown(anna, model="tiny", persona="1")
    assert "Ed &lt;b&gt;&#39;s settings" in dialog
    assert 'placeholder="Be &lt;i&gt;brief&lt;/i&gt;.' in dialog
    assert 'placeholder="default 0.5"' in dialog
    assert 'name="persona" value="1"' in dialog
    assert 'placeholder="Be formal."' in await shown(anna, model="tiny", folder="1")
    refused = await anna.ask("POST", address, form={"persona": "1", "model": "tiny", "top_p": "x"})
    assert refused.status_code == 422
    assert "Ed &lt;b&gt;&#39;s settings" in await text_of(refused)
    for given in ({"persona": "1", "folder": "1"}, {"persona": "x", "folder": "9" * 40}):
        assert "Be " not in await shown(ben, model="tiny", **given)


async def test_an_error_stands_beside_the_chats_of_who_is_logged_in(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    refused = await anna.ask("GET", "/personas/999")
    page = await text_of(refused)
    assert refused.status_code == 404
    assert "There is no such persona." in page
    assert 'aria-label="Chats"' in page
    lost = await anna.ask("GET", "/no/such/page")
    assert lost.status_code == 404
    assert 'aria-label="Chats"' in await text_of(lost)
    stranger = await text_of(await BrowserClient(app).ask("GET", "/static/none"))
    assert 'aria-label="Chats"' not in stranger
