"""The services: what is looked after in them, and what its tabs remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import pytest

from app import services
from app.config import Settings
from app.conversations.answer_state import LiveAnswer
from app.conversations.hub import MAX_CHANGED, Hub
from app.db import chats, messages
from app.db.connection import open_database
from app.services import Job, Services
from tests.conversations.services import CHAT, OTHER
from tests.patience import PATIENCE


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    async with open_database(settings.database) as db:
        wick = Services(settings, db)
        async with wick.open():
            yield wick


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder, models_dir=folder / "models", auto_pull=False, threads=1)


async def test_a_watch_that_breaks_is_logged_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(services, "RESTART_SECONDS", 0)
    is_second = asyncio.Event()
    begun = 0

    class Watched(Services):
        def background_jobs(self) -> dict[str, Job]:
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
    assert "The background job for something failed" in caplog.text
    assert begun == 2


async def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    async with open_services(settings_of(tmp_path)) as wick:
        await wick.close()
        assert wick.is_closing


async def test_text_that_is_dropped_at_a_stop_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Look for it in the log, and with the message after the next start."""

    async def begin(connection: aiosqlite.Connection) -> int:
        await chats.create(connection, CHAT, 1, "Foxes", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "hello", "client01", 1.0)
        answer = await messages.add_answer(connection, 1, CHAT, asked, "tiny", 1.0)
        await chats.advance(connection, 1, CHAT, answer, "tiny", 2.0)
        await messages.checkpoint(connection, 1, answer, "twelve", 2.0)
        return answer

    settings = settings_of(tmp_path)
    async with open_database(settings.database) as db:
        wick = Services(settings, db)
        async with wick.open():
            answer = await db.write(begin)
            wick.hub.add(
                LiveAnswer(answer, CHAT, 1, "tiny", text="twelve chars")
            )  # nobody saves it
    assert f"The end of answer {answer} in chat {CHAT} could not be saved" in caplog.text
    assert "of 12 characters" in caplog.text
    async with open_services(settings) as again:
        message = (await again.chats.messages(await again.chats.get(1, CHAT)))[-1]
    assert message.status == "interrupted"
    assert message.error == "Wick ended before all of this was saved. Its end may be missing."


def test_a_tab_that_shows_no_list_does_not_gather_chats_without_end() -> None:
    hub = Hub()
    subscription = hub.subscribe(1, CHAT)
    hub.chat_changed(1, OTHER)
    assert (subscription.changed, subscription.reordered) == ({OTHER}, False)
    for number in range(3 * MAX_CHANGED):
        hub.chat_changed(1, f"{number:016x}")
        assert len(subscription.changed) <= MAX_CHANGED
    assert subscription.reordered
