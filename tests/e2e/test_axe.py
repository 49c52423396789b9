"""What axe-core finds: nothing, on every page and in what opens over it, in both themes, wide and
narrow, at rest and while an answer runs.

Pages are those that links lead to, and layers what buttons open, so new ones are looked at, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import httpx
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from tests.e2e.conftest import SMOLLM2, TINY, Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "color_scheme": "dark",
}
# Nobody reads what is in order, and it takes long to tell.
ALL: dict[str, Any] = {"resultTypes": ["violations"]}
# Another theme changes colours and nothing else.
COLOURS = ALL | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
# What another size changes, beside what it shows.
SIZES = ALL | {"runOnly": {"type": "rule", "values": ["scrollable-region-focusable", "region"]}}
ROWS_ALIKE = "#chats li:nth-child(n+4)"
"""Chats in the list that look like those above them, as many as there happen to be."""
INJECTED = Axe("0")
"""Runs the axe that a page has."""
OF_A_KIND = re.compile(rf"[0-9a-f]{{16}}|\d+|{SMOLLM2}|{TINY}")
"""What pages of one kind differ by in their addresses."""
OPENERS = (
    "[popovertarget]:not([popovertargetaction], [popovertarget=sidebar]),"
    " button[hx-get][hx-target='#dialog'], [aria-haspopup]"
)
LAYER = "dialog[open], [popover]:popover-open:not(#sidebar)"


async def assert_no_violations(
    page: Page, what: str, *rules: dict[str, Any], within: str = "html"
) -> None:
    """By these rules in the theme that is there, or by all, and by those of colours in the other.

    within: what has changed on a page that was looked at before.
    """
    context = {"include": [[within]], "exclude": [[ROWS_ALIKE]]}
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(Axe().axe_script)
    is_dark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    here, there = ("dark", "light") if is_dark else ("light", "dark")
    looks = [(here, one) for one in rules] or [(here, ALL), (there, COLOURS)]
    for scheme, options in looks:
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = await INJECTED.run(page, context, options)
        assert not found.violations_count, f"{what}, {scheme}:\n{found.generate_report()}"
    await page.emulate_media(color_scheme=here)  # type: ignore[arg-type]


async def assert_whole_page_clean(page: Page, what: str, *rules: dict[str, Any]) -> None:
    """With all that is folded on it unfolded."""
    await page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
    await assert_no_violations(page, what, *rules, within="html")


async def addresses(server: Server) -> list[str]:
    """One page of each kind that links lead to from the first one."""
    kinds, found, ahead = set(), ["/nothing"], ["/", "/search?q=axe"]
    async with httpx.AsyncClient(base_url=server.origin) as client:
        while ahead:
            path = ahead.pop(0)
            kind = OF_A_KIND.sub("*", path.partition("?")[0])
            if kind in kinds or kind.startswith(("/static", "/chats/*")):
                continue
            kinds.add(kind)
            async with client.stream("GET", path) as answer:
                if answer.headers.get("content-type", "").startswith("text/html"):
                    text = (await answer.aread()).decode()
                    ahead += re.findall(r'href="(/[^"#?]*)', text)
                    found.append(path)
    return found


KEY_AND_LAYER = f"""(one) => {{
  const id = one.matches("[popovertargetaction]") ? null : one.getAttribute("popovertarget");
  const name = (one.ariaLabel ?? one.textContent).trim().replace(/[“"].*|(?<= for ).*/, "");
  const isDialog = one.matches("[hx-target='#dialog'], [aria-haspopup=dialog]");
  return [id ?? name, id ? `#${{id}}:popover-open` : isDialog ? "dialog[open]" : "{LAYER}"];
}}"""
"""What an opener is, whichever of many rows or messages it stands at, and what it opens."""


async def openers(page: Page, within: str) -> dict[str, tuple[Locator, str]]:
    """The last visible one of each kind."""
    found: dict[str, tuple[Locator, str]] = {}
    for opener in await page.locator(within).locator(OPENERS).all():
        if await opener.is_visible() and await opener.is_enabled():
            key, layer = await opener.evaluate(KEY_AND_LAYER)
            found[key] = (opener, layer)
    return found


async def assert_layers_clean(
    page: Page, *rules: dict[str, Any], seen: Sequence[str] = ()
) -> list[str]:
    """What buttons open that were not seen before, and buttons in that in turn; returns which."""
    known = list(seen)
    for name in await openers(page, "body"):
        if name not in known:
            known += await assert_layer_clean(page, (name,), known, *rules)
    return known


async def assert_layer_clean(
    page: Page, path: tuple[str, ...], seen: list[str], *rules: dict[str, Any]
) -> list[str]:
    within = "body"
    for name in path:
        opener, within = (await openers(page, within))[name]
        await opener.hover()
        await opener.click()
        await expect(page.locator(f":is({within}):not(:empty)"), " > ".join(path)).to_be_visible()
    await assert_no_violations(page, " > ".join(path), *rules, within=within)
    inner = [name for name in await openers(page, within) if name not in (*seen, *path)]
    await close_layers(page)
    found = [path[-1]]
    for name in inner if len(path) < 3 else ():
        found += await assert_layer_clean(page, (*path, name), [*seen, *found], *rules)
    return found


async def close_layers(page: Page) -> None:
    for _ in range(5):
        await page.keyboard.press("Escape")
        if not await page.locator(LAYER).count():
            return
    raise AssertionError(f"Escape closes no {await page.locator(LAYER).first.get_attribute('id')}")


async def answered(server: Server, meet: Meet, title: str, **options: Any) -> ChatPage:
    """Amid a chat whose last answer was measured."""
    # The page's policy rightly keeps scripts out that are put into it; axe is one.
    person = await meet(server, bypass_csp=True, **options)
    person.expects("404")
    chat = await person.open(f"/chats/{plant(server.folder / 'wick.db', 2, title)}")
    await chat.ask("And one more", TINY)
    await chat.ends()
    return chat


async def assert_chat_clean(chat: ChatPage, *rules: dict[str, Any]) -> list[str]:
    """A chat, what is edited in place, and all that opens over it; returns what that is."""
    page = chat.page
    await assert_whole_page_clean(page, "a chat", *rules)
    await page.get_by_role("button", name="Edit", exact=True).last.click()
    await expect(page.locator("form.edit")).to_be_visible()
    await assert_no_violations(page, "a message that is written anew", *rules, within="form.edit")
    await page.keyboard.press("Escape")
    await page.reload()
    seen = await assert_layers_clean(page, *rules)
    await page.keyboard.press("Control+/")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await assert_no_violations(page, "the keys", *rules, within="dialog[open]")
    await close_layers(page)
    return seen


async def test_axe_finds_nothing_on_any_page(server: Server, meet: Meet) -> None:
    chat = await answered(server, meet, "Wide")
    seen = await assert_chat_clean(chat)
    for path in await addresses(server):
        await chat.page.goto(server.origin + path)
        await assert_whole_page_clean(chat.page, path)
        seen = await assert_layers_clean(chat.page, seen=seen)


async def test_axe_finds_nothing_on_any_page_on_a_dark_phone(server: Server, meet: Meet) -> None:
    chat = await answered(server, meet, "Narrow", **PHONE)
    page = chat.page
    await assert_chat_clean(chat, ALL)
    await page.get_by_role("button", name="Show or hide the sidebar").click()
    await expect(chat.chats).to_be_visible()
    await assert_no_violations(page, "the list of chats", ALL, within="#sidebar")
    await chat.use("Rename", "Narrow")
    await expect(chat.chats.get_by_role("textbox")).to_be_focused()
    await assert_no_violations(page, "a name that is edited", ALL, within="#chats")
    await page.keyboard.press("Escape")
    await chat.use("Delete", "Narrow")
    await expect(page.get_by_text("This chat is in the trash.")).to_be_attached()
    await assert_no_violations(page, "a deleted chat", ALL, within="main")
    for path in await addresses(server):
        await page.goto(server.origin + path)
        await assert_whole_page_clean(page, path, SIZES)


async def test_axe_finds_nothing_while_an_answer_runs_and_another_waits(
    endless: Server, meet: Meet
) -> None:
    chat = await (await meet(endless, bypass_csp=True)).open()
    await chat.ask("Go on for ever")
    try:
        await chat.writes()
        await chat.ask("And then?")
        await expect(chat.page.get_by_role("button", name="Cancel and edit")).to_be_visible()
        await assert_whole_page_clean(chat.page, "an answer that runs")
    finally:
        await chat.silence()
