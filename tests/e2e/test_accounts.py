"""A household: the first link makes an owner, who invites; chats stay apart; a login ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.e2e.test_axe import ALL, PHONE, assert_no_violations

PASSWORD = "correct horse battery"


@pytest.fixture
async def household(start: StartServer, tiny_store: Path) -> Server:
    return await start(tiny_store, host="0.0.0.0", max_tokens=20)


async def first_link(server: Server) -> str:
    return await server.said(r"http\S+/join/\S+")


async def join(person: Person, link: str, name: str) -> ChatPage:
    page = await person.window()
    await page.goto(link)
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_label("Confirm password").fill(PASSWORD)
    await page.locator("form button").click()
    await expect(page).to_have_title(re.compile("New chat"))
    chat = ChatPage(page)
    await chat.awakes()
    return chat


async def invite(page: Page, server: Server) -> str:
    await page.goto(f"{server.origin}/people")
    await page.get_by_role("button", name="Create link").click()
    return await page.get_by_label("Link", exact=True).input_value()


async def test_from_the_first_link_to_a_login_that_ends(household: Server, meet: Meet) -> None:
    anna, berta = await meet(household), await meet(household)
    hers = await join(anna, await first_link(household), "Anna")
    await hers.ask("A question of Anna's", TINY)
    await hers.ends()
    office = await anna.window()
    other = await join(berta, await invite(office, household), "Berta")
    await expect(other.chats).not_to_contain_text("Anna")
    await other.ask("Berta wonders", TINY)
    await other.ends()
    await expect(other.chats.get_by_role("link")).to_have_count(1)
    await expect(hers.chats.get_by_role("link")).to_have_count(1)
    await expect(hers.chats).not_to_contain_text("Berta")
    menu = await other.open_menu()
    await expect(menu.get_by_role("link", name="Account")).to_be_visible()
    for what in ("Status", "Users"):
        await expect(menu.get_by_role("link", name=what)).to_have_count(0)
    await other.page.keyboard.press("Escape")

    # What she may do is on her page as soon as it is decided, and what she writes stays there.
    await other.message.fill("half a thought")
    for decision, count in (("Make an owner", 1), ("Make a member", 0)):
        await office.goto(f"{household.origin}/people")
        await office.get_by_label("Change Berta").click()
        await office.get_by_role("button", name=decision).click()
        users = other.page.locator("#menu").get_by_text("Users", exact=True)
        await expect(users).to_have_count(count)
        await expect(other.message).to_have_value("half a thought")
    await other.message.fill("")

    # What is on Berta's screen goes, wherever she is, as soon as the owner keeps her out.
    berta.expects("401|WebSocket")
    await office.goto(f"{household.origin}/people")
    await office.get_by_label("Change Berta").click()
    await office.get_by_role("button", name="Disable").click()
    await expect(office.get_by_text("disabled")).to_be_visible()
    await expect(other.page).to_have_title(re.compile("Log in"))
    await expect(other.page.locator("body")).not_to_contain_text("wonders")
    await expect(hers.page.locator("#offline")).to_be_hidden()

    # Let in again, she comes back to where she was.
    await office.get_by_label("Change Berta").click()
    await office.get_by_role("button", name="Enable").click()
    await expect(office.get_by_text("disabled")).to_have_count(0)
    await other.page.get_by_label("Name").fill("berta")
    await other.page.get_by_label("Password").fill(PASSWORD)
    await other.page.get_by_label("Password").press("Enter")
    await expect(other.questions).to_have_text(re.compile("Berta wonders"))

    # What is written and not sent is hers alone, and forgotten when she logs out.
    await other.message.fill("something half said")
    await other.page.goto(f"{household.origin}/you")
    await other.page.get_by_role("button", name="Log out", exact=True).click()
    await expect(other.page.get_by_role("status")).to_have_text("You are logged out.")
    await other.holds("() => !Object.keys(localStorage).some((key) => /draft/.test(key))")
    await other.page.get_by_label("Name").fill("berta")
    await other.page.get_by_label("Password").fill(PASSWORD)
    await other.page.get_by_label("Password").press("Enter")
    await other.chats.get_by_role("link").first.click()

    # What htmx sends carries the token of the login, uploads included.
    await other.use("Pin", "Berta wonders")
    await expect(other.chats.get_by_role("heading", name="Pinned")).to_be_visible()
    await office.goto(f"{household.origin}/models")
    files = {"name": "x.gguf", "mimeType": "application/octet-stream", "buffer": b"no model"}
    anna.expects("502|422")
    await office.get_by_label("GGUF files on this device").set_input_files(files)  # type: ignore[arg-type]
    await office.get_by_role("button", name="Upload").click()
    await expect(office.get_by_role("alert")).to_contain_text(re.compile("GGUF"))


async def test_logging_in_needs_no_script(household: Server, meet: Meet) -> None:
    anna = await meet(household, java_script_enabled=False)
    page = await anna.context.new_page()
    await page.goto(await first_link(household))
    await page.get_by_label("Name").fill("Anna")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_label("Confirm password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await page.goto(f"{household.origin}/you")
    await page.get_by_role("button", name="Log out", exact=True).click()
    await page.goto(f"{household.origin}/search?q=fox")
    await page.get_by_label("Name").fill("Anna")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{household.origin}/search?q=fox")
    anna.problems.clear()  # pages for scripts say that there are none


async def test_axe_finds_nothing_on_pages_of_accounts(household: Server, meet: Meet) -> None:
    anna = await meet(household, bypass_csp=True)
    chat = await join(anna, await first_link(household), "Anna")
    await invite(chat.page, household)
    await assert_no_violations(chat.page, "a fresh link")
    state = await anna.context.storage_state()
    looks: dict[str, dict[str, Any]] = {"wide": {}, "phone": PHONE}
    for name, look in looks.items():
        person = await meet(household, bypass_csp=True, storage_state=state, **look)
        person.expects("404|422")
        page = await person.window()
        rules = () if name == "wide" else (ALL,)
        for path in ("/people", "/you/codes", "/you/passkeys", "/you", "/you?done=password"):
            await page.goto(household.origin + path)
            await assert_no_violations(page, f"{path}, {name}", *rules)
        await page.locator("summary").click()
        await page.get_by_label("Current password").fill("wrong password")
        await page.get_by_label("New password").fill("one password")
        await page.get_by_label("Confirm password").fill("another one")
        await page.get_by_role("button", name="Change password").click()
        await assert_no_violations(page, f"a form that is wrong, {name}", *rules)
        await person.context.clear_cookies()
        for path in ("/login", "/join/nothing"):
            await page.goto(household.origin + path)
            await assert_no_violations(page, f"{path}, {name}", *rules)
