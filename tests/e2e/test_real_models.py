"""Real models end to end in a browser: one that only llama.cpp runs, and one on both engines."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
from playwright.async_api import expect

from app.models.store import ModelStore
from tests.e2e.conftest import SHORT, SMOLLM2, Meet, StartServer
from tests.e2e.person import ENDLESS
from tests.e2e.test_failed_starts import wick
from tests.gemma import gemma_or_skip
from tests.smollm2 import store_with_smollm2

GEMMA = "gemma-3-270m"


async def engine_of(origin: str, name: str) -> str:
    async with httpx.AsyncClient(base_url=origin) as client:
        models = (await client.get("/api/v1/models")).json()["data"]
    (engine,) = (model["engine"] for model in models if model["name"] == name)
    assert isinstance(engine, str)
    return engine


async def test_gemma_is_installed_by_the_page_answers_stops_and_is_read_again(
    start: StartServer, meet: Meet, tmp_path: Path
) -> None:
    source = await asyncio.to_thread(gemma_or_skip)
    server = await start(tmp_path / "store", titles="off", max_tokens=ENDLESS, context=4096)
    person = await meet(server)
    models = (await person.open("/models")).page
    await models.get_by_label("Source").fill(str(source))
    await models.get_by_label("Name (optional)").fill(GEMMA)
    await models.get_by_role("button", name=re.compile("^Download$")).click()
    card = models.locator(f"#card-{GEMMA}")
    await expect(card).to_contain_text("llama.cpp")
    assert await engine_of(server.origin, GEMMA) == "llama.cpp"
    chat = await person.open()
    await chat.ask("The capital of France is", GEMMA)
    await chat.writes()
    await chat.stop.click()
    await chat.ends("stopped")
    said = await chat.answer.locator("[data-body]").inner_text()
    assert said.strip()
    texts = await chat.page.evaluate("Object.values(window.seen).at(-1)")
    assert len(texts) > 1, "it streams"
    await chat.reload()
    await expect(chat.answer.locator("[data-body]")).to_have_text(said)
    await chat.ask("And the capital of Italy is")
    await chat.writes()
    await chat.stop.click()
    await chat.ends("stopped")
    await expect(chat.answers).to_have_count(2)


async def test_one_chat_goes_on_when_its_model_changes_engines(
    start: StartServer, meet: Meet, tmp_path: Path
) -> None:
    original = ModelStore(await asyncio.to_thread(store_with_smollm2, "originals")).get(SMOLLM2)
    folder = tmp_path / "store" / SMOLLM2
    folder.mkdir(parents=True)
    for file in original.folder.iterdir():
        (folder / file.name).symlink_to(file)
    server = await start(tmp_path / "store", titles="off", max_tokens=SHORT, context=4096)
    chat = await (await meet(server)).open()
    for count, engine in enumerate(("llama.cpp", "ctransformers"), start=1):
        code, _ = await wick(
            tmp_path,
            *("models", "engine", SMOLLM2, engine),
            models_dir=tmp_path / "store",
            data_dir=server.folder,
            port=server.port,
        )
        assert code == 0
        assert await engine_of(server.origin, SMOLLM2) == engine
        await chat.ask(f"What is the capital of country {count}?", SMOLLM2)
        await chat.ends()
        await expect(chat.answers).to_have_count(count)
        await expect(chat.answer).to_have_attribute("data-status", re.compile("done"))
        assert (await chat.answer.locator("[data-body]").inner_text()).strip()
    async with httpx.AsyncClient(base_url=server.origin) as client:
        answers = (await client.get(f"/api/v1/chats/{chat.chat_id}/messages")).json()["data"]
    assert len(answers) == 4, json.dumps(answers)
