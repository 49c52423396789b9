"""The page of saved prompts, the menu of the composer and the API; a stranger reaches nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart

from tests.application import run_app, sign_in, text_of

HOSTILE = "<img src=x onerror=alert(1)> {{<b>}} \"'&"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


async def test_a_prompt_is_saved_edited_used_and_deleted(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    refused = await anna.ask("POST", "/prompts", form={"name": "a/b", "text": "kept words"})
    assert refused.status_code == 422
    html = await text_of(refused)
    assert "Use letters, digits, - and _ only." in html
    assert "kept words" in html
    form = {"name": "Hostile", "text": HOSTILE}
    assert (await anna.ask("POST", "/prompts", form=form)).status_code == 303
    page = await text_of(await anna.ask("GET", "/prompts?done=saved"))
    assert "Prompt saved." in page
    assert "/hostile" in page
    assert "<img" not in page.split("<main")[1]
    menu = await text_of(await anna.ask("GET", "/prompts/menu"))
    assert 'hx-target="#dialog"' in menu
    assert "<img" not in menu
    asked = await text_of(await anna.ask("GET", "/prompts/1/use"))
    assert '<label for="blank0" dir="auto">&lt;b&gt;</label>' in asked
    filled = await anna.ask("POST", "/prompts/1/use", form={"blank0": "<i>word</i>"})
    assert "&lt;i&gt;word&lt;/i&gt;" in await text_of(filled)
    form = {"name": "plain", "text": "Thank them."}
    assert (await anna.ask("POST", "/prompts/1", form=form)).status_code == 303
    assert await text_of(await anna.ask("GET", "/prompts/1/use")) == "Thank them."
    assert "Thank them." in await text_of(await anna.ask("GET", "/prompts/1"))
    assert (await anna.ask("POST", "/prompts/1/delete")).status_code == 303
    assert (await anna.ask("GET", "/prompts/1")).status_code == 404


async def test_programs_have_the_same_and_strangers_nothing(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    body = {"name": "Reply", "text": "In {{language}}"}
    made = await anna.ask("POST", "/api/v1/prompts", json=body)
    assert made.status_code == 201
    prompt = json.loads(await text_of(made))
    assert (prompt["name"], prompt["blanks"]) == ("reply", ["language"])
    again = await anna.ask("POST", "/api/v1/prompts", json=body)
    assert again.status_code == 422
    assert "already" in await text_of(again)
    path = f"/api/v1/prompts/{prompt['id']}"
    for method, where, given in (
        ("GET", path, {}),
        ("PUT", path, {"json": body}),
        ("DELETE", path, {}),
        ("GET", f"/prompts/{prompt['id']}", {}),
        ("GET", f"/prompts/{prompt['id']}/use", {}),
        ("POST", f"/prompts/{prompt['id']}/use", {"form": {}}),
        ("POST", f"/prompts/{prompt['id']}", {"form": body}),
        ("POST", f"/prompts/{prompt['id']}/delete", {"form": {}}),
    ):
        assert (await ben.ask(method, where, **given)).status_code == 404, (method, where)
    assert json.loads(await text_of(await ben.ask("GET", "/api/v1/prompts")))["data"] == []
    changed = await anna.ask("PUT", path, json=body | {"text": "Short"})
    assert json.loads(await text_of(changed))["text"] == "Short"
    (listed,) = json.loads(await text_of(await anna.ask("GET", "/api/v1/prompts")))["data"]
    assert listed["text"] == "Short"
    assert (await anna.ask("DELETE", path)).status_code == 204
