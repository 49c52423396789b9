"""Remote model in a real browser: added, used, and seen when it goes away."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.conftest import Meet, StartServer
from tests.inference.remote.stub import Call, answer, serving


async def test_a_remote_server_is_added_used_and_shown_when_it_goes_away(
    start: StartServer, tmp_path: Path, meet: Meet
) -> None:
    store = ModelStore(tmp_path / "store")
    store.add_remote("far", [Upstream("http://far.invalid/v1", "far")], title="Far")
    server = await start(store.root, titles="off")
    person = await meet(server)
    async with serving() as stub:
        models = (await person.open("/models")).page
        chat = await person.open()
        await models.get_by_label("Server URL").fill(stub.url)
        await models.get_by_label("Model ID on the server").fill("stub")
        await models.get_by_label("Display name").fill("near")
        await models.get_by_role("button", name="Add", exact=True).click()
        card = models.locator("#card-near")
        await expect(card.locator(".state")).to_have_text("Ready")
        await expect(card).to_contain_text("stays on this machine")
        await expect(models.locator("#card-far .where")).to_contain_text("sent to far.invalid")
        await expect(models.get_by_label("Server URL")).to_have_value("")

        picked = chat.model.locator("[value=near]")
        await expect(picked).to_have_text("near · ready")
        leaves = chat.page.locator(".hint .leaves")
        await chat.model.select_option("far")
        await expect(leaves).to_be_visible()
        await chat.model.select_option("near")
        await expect(leaves).to_be_hidden()
        await chat.ask("Hello?", "near")
        await chat.ends()
        await expect(chat.answers.last).to_contain_text("Hello there")

        async def fails(call: Call) -> None:
            await call.refuse(500, "out of memory")

        stub.script = fails
        await chat.ask("And now?", "near")
        await chat.ends("failed")
        await expect(chat.log).to_contain_text("failed with status 500: out of memory")
        await expect(picked).to_have_text("near · can't be reached")
        await expect(card.locator(".state")).to_have_text(re.compile("Can't be reached since"))
        stub.script = answer
        await chat.ask("Once more?", "near")
        await chat.ends()
        await expect(picked).to_have_text("near · ready")
