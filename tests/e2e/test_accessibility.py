"""Contrast themes, and zoom until there are 320 by 256 pixels: nothing is lost."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import Locator, expect

from tests.e2e.conftest import Meet
from tests.e2e.server import ROOT, Server
from tests.long_chat import plant

ZOOMED: dict[str, Any] = {"viewport": {"width": 320, "height": 256}}
"""A screen of 1280 by 1024, zoomed in to 400 %."""
PAGES = (
    "/",
    "/prompts",
    "/personas",
    "/models",
    "/search",
    "/archive",
    "/trash",
    "/exchange",
    "/status",
    "/tools",
)
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"


async def has_line(element: Locator) -> bool:
    """Whether a line that contrast themes leave alone says what this is."""
    return bool(
        await element.evaluate(
            """(one) => {
              const style = getComputedStyle(one);
              return style.outlineStyle !== "none" || parseFloat(style.borderTopWidth) > 0;
            }"""
        )
    )


async def test_lines_say_in_contrast_themes_what_backgrounds_say_else(
    server: Server, meet: Meet
) -> None:
    person = await meet(server, forced_colors="active")
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 2, 'Contrast')}")
    current = chat.chats.locator("li.current")
    for element in (current, chat.send, chat.questions.first.locator(".body")):
        assert await has_line(element)
    await chat.message.focus()
    assert await has_line(chat.page.locator("#composer"))


async def test_everything_is_in_reach_at_400_percent(server: Server, meet: Meet) -> None:
    person = await meet(server, **ZOOMED)
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 2, 'Zoomed in')}")
    page = chat.page
    log = await page.locator("#scroll").bounding_box()
    assert log is not None
    assert log["height"] > 80
    await page.get_by_role("button", name="Show or hide the sidebar").click()
    await chat.chats.get_by_role("link", name="Zoomed in", exact=True).click()
    await expect(page.get_by_role("log")).to_be_visible()
    for path in PAGES:
        await page.goto(server.origin + path)
        assert not await page.evaluate(TOO_WIDE), path


def test_what_people_write_stands_in_its_own_direction() -> None:
    """Every field for words says so; numbers and addresses are from left to right."""
    wrong = []
    for path in sorted((ROOT / "templates").glob("*.html")):
        for field in re.findall(r"<(?:textarea|input)\b[^>]*>", path.read_text()):
            kind = re.search(r'type="(\w+)"', field)
            if "inputmode=" in field or (kind and kind[1] not in {"text", "search"}):
                continue
            wrong += [] if 'dir="auto"' in field else [f"{path.name}: {field[:60]}"]
    assert wrong == []
