"""What is wider than a phone is reached by scrolling, and shows that it can be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.e2e.conftest import Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
FORMULA = " + ".join(f"x_{{{n}}}^{{2}}" for n in range(30))
CASES = {
    "formula": f"So ${FORMULA}$ is it.",
    "list formula": f"- So ${FORMULA}$ is it.\n- And more",
    "display": f"$${FORMULA}$$",
    "quotes": "> " * 24 + "deep within",
    "lists": "\n".join("  " * n + f"- level {n}" for n in range(24)),
    "table": "|" + "|".join(f"column{n}" for n in range(12)) + "|\n" + "|---" * 12 + "|\n"
    "|" + "|".join(f"averylongvalue{n}" for n in range(12)) + "|",
}
# Elements that stick out of their message with nothing around them that scrolls to them.
CUT = """() => {
  const edge = innerWidth;
  const scrolls = (one) => one && (one.matches(".body") ? false
    : one.scrollWidth > one.clientWidth && /auto|scroll/.test(getComputedStyle(one).overflowX)
      && one.getBoundingClientRect().right < edge + 2 || scrolls(one.parentElement));
  return [...document.querySelectorAll("[data-role=assistant] .body *")]
    .filter((one) => one.getBoundingClientRect().right > edge + 2 && !scrolls(one))
    .map((one) => one.outerHTML.slice(0, 80));
}"""


@pytest.mark.parametrize("name", CASES)
async def test_wide_content_is_not_cut(server: Server, meet: Meet, name: str) -> None:
    chat_id = plant(server.folder / "wick.db", 2, f"Wide {name}")
    with closing(sqlite3.connect(server.folder / "wick.db", timeout=30)) as db, db:
        db.execute(
            "UPDATE messages SET text = ? WHERE chat_id = ? AND role = 'assistant'",
            [CASES[name], chat_id],
        )
    chat = await (await meet(server, **PHONE)).open(f"/chats/{chat_id}")
    assert await chat.page.evaluate(CUT) == []
    if name == "table":
        table = chat.page.locator(".scroll")
        await scrolls_by_key(chat, table)
        await expect(table).to_have_attribute("tabindex", "0")
        await expect(table).to_have_css("background-attachment", "local, local, scroll, scroll")
    if "formula" in name or name == "display":
        formula = chat.page.locator(".rich .formula").first
        await scrolls_by_key(chat, formula)
        await expect(formula).to_have_css("background-attachment", "local, local, scroll, scroll")


async def scrolls_by_key(chat: ChatPage, box: Locator) -> None:
    await box.focus()
    await expect(box).to_be_focused()
    await expect(box).to_have_js_property("scrollLeft", 0)
    await chat.page.keyboard.press("ArrowRight")
    await expect(box).not_to_have_js_property("scrollLeft", 0)
