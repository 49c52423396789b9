"""What axe-core finds: nothing, on every page and in what opens over it, in both themes, wide and
narrow, at rest and while an answer runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
PAGES = (
    "/models",
    "/status",
    "/search?q=axe",
    "/prompts",
    "/personas",
    "/archive",
    "/trash",
    "/settings",
    "/exchange",
    "/keys",
    "/people",
    "/nothing",
)
# Nobody reads what is in order, and it takes long to tell.
ALL: dict[str, Any] = {"resultTypes": ["violations"]}
# Another theme changes colours and nothing else.
COLOURS = ALL | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
ROWS_ALIKE = "#chats li:nth-child(n+4)"
"""Chats in the list that look like those above them, as many as there happen to be."""
INJECTED = Axe("0")
"""Runs the axe that a page has."""


async def assert_no_violations(
    page: Page, what: str, *within: str, other_theme: bool = True
) -> None:
    """In the theme that is there, by all rules; in the other, by those about colours.

    within: what has changed on a page that was looked at before; without, all of it.
    """
    context = {"include": [[one] for one in within or ("html",)], "exclude": [[ROWS_ALIKE]]}
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(Axe().axe_script)
    is_dark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    here, there = ("dark", "light") if is_dark else ("light", "dark")
    for scheme, options in ((here, ALL), (there, COLOURS))[: 1 + other_theme]:
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = await INJECTED.run(page, context, options)
        assert not found.violations_count, f"{what}, {scheme}:\n{found.generate_report()}"
    await page.emulate_media(color_scheme=here)  # type: ignore[arg-type]


async def assert_clean_everywhere(chat: ChatPage, server: Server, *, other_theme: bool) -> None:
    """A chat and everything that opens over it, then every other page."""
    page = chat.page
    look = partial(assert_no_violations, page, other_theme=other_theme)
    await look("a chat")
    await chat.model.click()
    await expect(page.get_by_role("option").first).to_be_visible()
    await look("the model picker", "#model-menu")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Other ways to answer").last.click()
    await expect(page.get_by_role("menuitem").first).to_be_visible()
    await look("the menu of Regenerate", "#answer-menu")
    await page.keyboard.press("Escape")
    for name in ("Chat settings", "With another model", "With other settings"):
        if name == "Chat settings":
            await chat.open_settings()
        else:
            await chat.answer_by(name)
        await expect(page.get_by_role("dialog")).to_be_visible()
        await look(name, "dialog[open]")
        await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Edit", exact=True).last.click()
    await expect(page.locator("form.edit")).to_be_visible()
    await look("a message that is written anew", "form.edit")
    await page.keyboard.press("Escape")
    await page.locator(".figures summary").last.click()
    await page.locator("#gauge summary").click()
    await look("the gauge and the figures", "#gauge", ".figures[open]")
    await page.locator("#gauge summary").click()
    if is_narrow := await chat.chats.is_hidden():
        await page.get_by_role("button", name="Show or hide the sidebar").click()
        await expect(chat.chats).to_be_visible()
        await look("the list of chats")
    await chat.open_menu()
    await look("the menu at the foot", "#menu")
    await page.keyboard.press("Escape")
    for verb, changed in (
        ("the menu of a chat", "#chat-menu"),
        ("Rename", "#chats"),
        ("Delete", "body"),
    ):
        await chat.chats.locator("li").first.hover()
        await page.get_by_role("button", name="Menu for").first.click()
        await expect(page.locator("#chat-menu").get_by_text("Rename")).to_be_focused()
        if verb in {"Rename", "Delete"}:
            await page.locator("#chat-menu").get_by_text(verb, exact=True).click()
        if verb == "Rename":
            await expect(chat.chats.get_by_role("textbox")).to_be_focused()
        if verb == "Delete":
            await expect(page.get_by_text("This chat is in the trash.")).to_be_attached()
        await look(verb, changed)
        if verb != "Delete":
            await page.keyboard.press("Escape")
    if is_narrow and await chat.chats.is_visible():
        await page.get_by_role("button", name="Close sidebar").click()
    await chat.page.keyboard.press("Control+/")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await look("the keys", "dialog[open]")
    for path in ("/", *PAGES):
        await page.goto(server.origin + path)
        await look(path)


async def answered(server: Server, meet: Meet, title: str, **options: Any) -> ChatPage:
    """Amid a chat whose last answer was measured."""
    # The page's policy rightly keeps scripts out that are put into it; axe is one.
    person = await meet(server, bypass_csp=True, **options)
    person.expects("404")
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 2, title)}")
    await chat.ask("And one more", TINY)
    await chat.ends()
    return chat


async def test_axe_finds_nothing_on_any_page(server: Server, meet: Meet) -> None:
    chat = await answered(server, meet, "Wide")
    await assert_clean_everywhere(chat, server, other_theme=True)


async def test_axe_finds_nothing_on_any_page_on_a_dark_phone(server: Server, meet: Meet) -> None:
    options = {**PHONE, "color_scheme": "dark"}
    chat = await answered(server, meet, "Narrow", **options)
    await assert_clean_everywhere(chat, server, other_theme=False)


async def test_axe_finds_nothing_while_an_answer_runs_and_another_waits(
    endless: Server, meet: Meet
) -> None:
    for options in ({}, {**PHONE, "color_scheme": "dark"}):
        chat = await (await meet(endless, bypass_csp=True, **options)).open()
        await chat.ask("Go on for ever")
        try:
            await chat.writes()
            await chat.ask("And then?")
            await expect(chat.page.get_by_role("button", name="Cancel and edit")).to_be_visible()
            await assert_no_violations(chat.page, "an answer that runs")
        finally:
            await chat.silence()
