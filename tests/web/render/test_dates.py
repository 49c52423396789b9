"""Days and hours on pages are those of whoever reads."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart
from quart.testing import QuartClient

from app.config import Settings
from app.db import chats
from app.server import create_app
from app.web.render.dates import parse_zone
from tests.application import OWN

NOON = dt.datetime(2026, 3, 10, 12, 0, tzinfo=dt.UTC).timestamp()
CHAT = "0123456789abcdef"


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Quart]:
    """A chat of 10 March, 11:30 UTC; it is half an hour later."""
    made = create_app(Settings(data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False))
    monkeypatch.setattr("app.web.render.dates.time.time", lambda: NOON)
    async with made.test_app():
        db = made.extensions["wick"].chats._db
        await db.write(lambda c: chats.create(c, CHAT, 1, "Foxes", "tiny", NOON - 1800))
        yield made


async def page(app: Quart, path: str, zone: str) -> str:
    headers = OWN | {"Cookie": f"zone={zone}"}
    answer = await QuartClient(app).get(path, headers=headers)
    text: str = await answer.get_data(as_text=True)
    return text


@pytest.mark.parametrize(
    ("zone", "heading", "offset"),
    [
        ("Pacific/Kiritimati.840", "Today", "840"),  # 01:30, and it is 02:00
        ("Etc/GMT-12.720", "Yesterday", "720"),  # 23:30, and it is midnight
        ("Nowhere/Land.720", "Yesterday", "720"),
        (".720", "Yesterday", "720"),
        ("Europe/Berlin.60", "Today", "60"),
    ],
)
async def test_yesterday_ends_at_the_readers_midnight(
    app: Quart, zone: str, heading: str, offset: str
) -> None:
    html = await page(app, "/", zone)
    assert f"<h2>{heading}</h2>" in html
    assert re.search(r'name="utc-offset" content="(-?\d+)"', html)[1] == offset  # type: ignore[index]


async def test_days_are_the_readers(app: Quart) -> None:
    db = app.extensions["wick"].chats._db
    await db.write(lambda c: chats.set_timestamp(c, 1, CHAT, "archived_at", NOON))
    assert "10 March 2026" in await page(app, "/archive", "Europe/Berlin.60")
    assert "11 March 2026" in await page(app, "/archive", "Pacific/Kiritimati.840")


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "America.x", "../../etc/passwd.0", "A" * 99 + ".0", "A.9999", "A.1;", "\0.1"],
)
def test_an_invalid_time_zone_cookie_means_the_zone_of_the_machine(cookie: str) -> None:
    assert parse_zone(cookie) is None or cookie == "../../etc/passwd.0"


def test_the_name_of_a_folder_is_no_zone() -> None:
    assert parse_zone("America.-300") == dt.timezone(dt.timedelta(minutes=-300))
