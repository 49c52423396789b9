"""Whoever opens a settings dialog and saves it untouched has changed nothing, not by one byte."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from playwright.async_api import expect

from app.models.model import ModelSettings
from app.models.parameters import Sampling
from app.models.store import ModelStore
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.long_chat import plant

# What forms like to change: breaks, spaces at the ends, digits, the separator of stop strings.
PROMPT = "\n  Line one\r\nline two\rthree \\n, <b>&amp;</b> \U0001f642\t\n\n"
CHOSEN = {
    "system_prompt": PROMPT,
    "temperature": 0.1 + 0.2,
    "top_p": 0.9500000000000001,
    "top_k": 40,
    "min_p": 1e-07,
    "repetition_penalty": 1.0,
    "seed": 0,
    "max_tokens": 32768,
    "context_length": 1000,
    "stop": ["\n\n", "###\nUser:", " a ", "\\n", "\\", "\r\n", "\t", "\u2028"],
}


async def test_chat_settings_saved_untouched_change_nothing(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    server = await start(tiny_store)
    chat_id = plant(server.folder / "wick.db", 2)
    text = json.dumps(CHOSEN, ensure_ascii=False)
    database = server.folder / "wick.db"
    with closing(sqlite3.connect(database, timeout=30)) as db, db:
        db.execute(
            "INSERT INTO chat_settings (chat_id, user_id, settings, updated_at)"
            " VALUES (?, 1, ?, 1.0)",
            [chat_id, text],
        )
    page = (await (await meet(server)).open(f"/chats/{chat_id}")).page
    await page.get_by_role("button", name="Chat settings").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Context size")).to_have_value("1000")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    with closing(sqlite3.connect(database, timeout=30)) as db:
        [(kept,)] = db.execute("SELECT settings FROM chat_settings")
    assert json.loads(kept) == CHOSEN
    assert kept == text


async def test_model_settings_saved_untouched_change_nothing(
    start: StartServer, tiny_store: Path, tmp_path: Path, meet: Meet
) -> None:
    shutil.copytree(tiny_store / TINY, tmp_path / "store" / TINY)
    store = ModelStore(tmp_path / "store")
    sampling = Sampling(temperature=0.1 + 0.2, top_k=7, min_p=1e-07, seed=0)
    store.save_settings(TINY, ModelSettings(PROMPT, sampling, 1000, "chatml"))
    before = files(store.root)
    page = (await (await meet(await start(store.root))).open("/models")).page
    await page.get_by_role("button", name="Settings for Tiny").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Context size")).to_have_value("1000")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    assert files(store.root) == before


def files(folder: Path) -> dict[str, bytes]:
    """All of a store but the weights."""
    found = [path for path in folder.rglob("*.json") if path.is_file()]
    assert found
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
