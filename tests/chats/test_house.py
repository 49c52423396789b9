"""The house: what is looked after in it, and what its tabs remember."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.chats import house
from app.chats.house import House, Watch, open_house
from app.chats.hub import MANY, Hub
from app.config import Settings
from app.store.db import open_database
from tests.chats.house import CHAT, OTHER
from tests.patience import PATIENCE


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder, models_dir=folder / "models", auto_pull=False, threads=1)


async def test_a_watch_that_breaks_is_logged_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(house, "WATCH_AGAIN", 0)
    is_second = asyncio.Event()
    begun = 0

    class Watched(House):
        def watches(self) -> dict[str, Watch]:
            return {"something": self._look}

        async def _look(self) -> None:
            nonlocal begun
            begun += 1
            if begun == 1:
                raise RuntimeError("a bug")
            is_second.set()
            await asyncio.Event().wait()

    settings = settings_of(tmp_path)
    async with open_database(settings.database) as db, Watched(settings, db).open():
        async with asyncio.timeout(PATIENCE):
            await is_second.wait()
    assert "Watching over something broke off" in caplog.text
    assert begun == 2


async def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    async with open_house(settings_of(tmp_path)) as wick:
        await wick.close()
        assert wick.is_closing


def test_a_tab_that_shows_no_list_does_not_gather_chats_without_end() -> None:
    hub = Hub()
    subscription = hub.subscribe(1, CHAT)
    hub.chat_changed(1, OTHER)
    assert (subscription.changed, subscription.reordered) == ({OTHER}, False)
    for number in range(3 * MANY):
        hub.chat_changed(1, f"{number:016x}")
        assert len(subscription.changed) <= MANY
    assert subscription.reordered
