"""The list of chats, the search, the archive and the trash, and files in and out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.conftest import SMOLLM2, TINY, Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.foreign_files import chatgpt, open_webui

HOSTILE = "<img src=x onerror=\"document.body.dataset.stolen='yes'\"> \"'<hx-partial>"
NARROW: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


async def take(page: Page, origin: str, *files: Path) -> None:
    await page.goto(f"{origin}/exchange")
    for file in files:
        await page.get_by_label("File to import").set_input_files(file)
        await page.get_by_role("button", name="Import", exact=True).click()


def link(chat: ChatPage, title: str) -> Locator:
    return chat.chats.get_by_role("link", name=title, exact=True)


async def test_search_finds_while_typing_and_jumps_to_the_message(
    chat: ChatPage, person: Person
) -> None:
    for number in range(3):
        await chat.ask(f"A question about zebras, number{number}")
        await chat.ends()
    page = chat.page
    await page.get_by_role("link", name="Search", exact=True).click()
    field = page.get_by_role("searchbox")
    await expect(field).to_be_focused()
    await field.press_sequentially("number0 zeb")
    await expect(page.locator(".snippet mark").first).to_have_text("zebras")
    await expect(page).to_have_url(
        f"{person.server.origin}/search?q=number0+zeb&role=&model=&in=&since="
    )
    await page.get_by_label("Written by").select_option("Models")
    await expect(page.get_by_text("No results.")).to_be_visible()
    await page.get_by_label("Written by").select_option("You")
    await expect(page.locator(".snippet mark").first).to_be_visible()
    await field.press("Tab")
    for _ in range(4):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    target = chat.questions.nth(1)
    await expect(target).to_be_in_viewport()
    await expect(target.locator(".body")).to_have_css("outline-style", "none")
    await assert_found(chat, "zebras", "number0")
    await page.go_back()
    await expect(page.locator(".snippet mark").first).to_be_visible()


async def assert_found(chat: ChatPage, *words: str) -> None:
    """Wait until these are painted over, in the order of the text."""
    painted = "[...(CSS.highlights.get('found') ?? ['nothing yet'])].map(String)"
    await chat.holds(f"words => JSON.stringify({painted}) === JSON.stringify(words)", list(words))


async def test_search_finds_words_inside_markdown(chat: ChatPage) -> None:
    """The answer of the fixture has them in bold, in code, in a table."""
    address = chat.page.url
    for sought, found in (
        ("PARTS", ["parts"]),
        ("n\u00e1mes return", ["names", "return"]),
        ("names one thing", ["names", "one", "thing"]),
        ("wei", ["weight"]),
        ("no-such-word", []),
    ):
        answer = await chat.answer.get_attribute("data-message-id")
        query = urlencode({"message": answer, "find": sought})
        await chat.page.goto(f"{address}?{query}#m{answer}")
        await assert_found(chat, *found)


async def test_pin_and_archive_in_every_tab(
    chat: ChatPage, person: Person, request: pytest.FixtureRequest
) -> None:
    title, other = request.node.name, await person.open()
    pinned = other.chats.locator(".pinned").get_by_role("link", name=title, exact=True)
    await chat.use("Pin", title)
    await expect(pinned).to_be_visible()
    await expect(link(other, title)).to_have_count(1)
    await chat.use("Unpin", title)
    await expect(pinned).to_have_count(0)
    await chat.use("Archive", title)
    for tab in (chat, other):
        await expect(link(tab, title)).to_have_count(0)
    await (await other.open_menu()).get_by_role("link", name="Archive").click()
    row = other.page.locator("#away").get_by_role("listitem").filter(has_text=title)
    await row.get_by_role("button", name="Unarchive").click()
    await expect(row).to_have_count(0)
    await expect(link(chat, title)).to_be_visible()


async def test_the_menu_of_a_chat_works_by_keyboard(
    chat: ChatPage, request: pytest.FixtureRequest
) -> None:
    button = chat.chats.get_by_role("button", name=f"Menu for {request.node.name}", exact=True)
    menu = chat.page.locator("#chat-menu")
    await button.focus()
    await chat.page.keyboard.press("Enter")
    await expect(menu.get_by_role("button", name="Rename")).to_be_focused()
    await chat.page.keyboard.press("Escape")
    await expect(menu).to_be_hidden()
    await expect(button).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(menu.get_by_role("button", name="Rename")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(chat.chats.get_by_role("textbox")).to_be_focused()


async def test_a_chat_is_restored_from_the_trash_or_deleted_for_good(
    chat: ChatPage, person: Person, request: pytest.FixtureRequest
) -> None:
    page = (await person.open("/")).page
    row = page.locator("#away").get_by_role("listitem").filter(has_text=request.node.name)
    for verb in ("Restore", "Delete permanently"):
        await chat.use("Delete", request.node.name)
        await expect(link(chat, request.node.name)).to_have_count(0)
        await page.goto(f"{person.server.origin}/trash")
        await expect(row).to_contain_text("Deleted permanently on")
        await row.get_by_text(verb, exact=True).click()
        if verb == "Delete permanently":
            question = page.get_by_role("dialog", name="Delete this chat permanently?")
            await expect(question.get_by_role("button", name="Cancel")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(question).to_be_hidden()
            await expect(row).to_have_count(1)
            await row.get_by_text(verb, exact=True).click()
            await question.get_by_role("button", name=verb).click()
        await expect(row).to_have_count(0)
        if verb == "Restore":
            await expect(link(chat, request.node.name)).to_be_visible()
    assert person.server.messages(chat.chat_id) == []


async def test_an_answer_nobody_saw_is_marked_until_it_is_looked_at(
    person: Person, request: pytest.FixtureRequest
) -> None:
    title, chat, other = request.node.name, await person.open(), await person.open()
    await chat.lengthen()
    await chat.ask(title, SMOLLM2)
    await expect(other.chats.get_by_role("link", name=f"answering {title}")).to_be_visible()
    address = chat.page.url
    await chat.page.goto(f"{person.server.origin}/trash")
    await other.page.evaluate("address => fetch(`${address}/stop`, {method: 'POST'})", address)
    unread = other.chats.get_by_role("link", name=f"new answer {title}")
    await expect(unread).to_be_visible()
    await chat.page.goto(address)
    await expect(unread).to_have_count(0)
    await expect(link(other, title)).to_be_visible()


async def test_exports_are_downloads(
    chat: ChatPage, person: Person, request: pytest.FixtureRequest
) -> None:
    async with chat.page.expect_download() as coming:
        await chat.use("Export as Markdown", request.node.name)
    download = await coming.value
    assert download.suggested_filename == f"{request.node.name}.md"
    assert Path(await download.path()).read_text().startswith(f"# {request.node.name}\n")
    await expect(chat.page.locator("#chat-menu")).to_be_hidden()
    await chat.page.goto(f"{person.server.origin}/exchange")
    async with chat.page.expect_download() as coming:
        await chat.page.get_by_role("link", name="JSON").click()
    every = json.loads(Path(await (await coming.value).path()).read_text())
    assert request.node.name in [one["title"] for one in every["chats"]]


async def test_imports_appear_in_every_tab_as_text_only(person: Person, tmp_path: Path) -> None:
    person.expects("status of 4")
    files = [tmp_path / name for name in ("chatgpt.json", "webui.json", "bad.json")]
    foreign = open_webui(title="Herons of the north")
    foreign[0]["archived"] = False
    files[0].write_text(json.dumps(chatgpt(title=f"Foxes {HOSTILE}", text=HOSTILE)))
    files[1].write_text(json.dumps(foreign))
    files[2].write_text("{")
    other, page = await person.open(), await person.window()
    notice = page.locator("#notice")
    for file, sentence in (
        (files[0], "1 chat imported."),
        (files[0], "0 chats imported, 1 was there already."),
        (files[1], "1 chat imported."),
        (files[2], "t a supported export."),
    ):
        await take(page, person.server.origin, file)
        await expect(notice).to_contain_text(sentence)
    await notice.get_by_role("button", name="Dismiss").click()
    await expect(notice).to_be_empty()
    await expect(link(other, "Herons of the north")).to_be_visible()
    await other.chats.get_by_role("link", name="Foxes <img").click()
    await expect(other.questions.first.locator(".body")).to_have_text(HOSTILE)
    await page.goto(f"{person.server.origin}/search")
    await page.get_by_role("searchbox").fill(HOSTILE[:40])
    await expect(page.locator(".found a").first).to_contain_text("<img src=x")
    for one in (page, other.page):
        assert await one.evaluate("document.body.dataset.stolen ?? ''") == ""


def many(count: int) -> dict[str, Any]:
    """An export of Wick with so many chats, a minute apart."""
    now = time.time()
    return {
        "format": "wick-chats",
        "version": 1,
        "chats": [
            {
                "id": f"{number:016x}",
                "title": f"Chat {number}",
                "model": TINY,
                "created_at": now - 60 * number,
                "updated_at": now - 60 * number,
                "current": 2,
                "messages": [
                    {"id": 1, "parent": None, "role": "user", "text": f"word {number}"},
                    {"id": 2, "parent": 1, "role": "assistant", "text": "yes", "status": "done"},
                ],
            }
            for number in range(count)
        ],
    }


async def test_thousands_of_chats_load_as_one_scrolls_and_live_news_drop_none(
    start: StartServer, meet: Meet, tiny_store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "many.json"
    file.write_text(json.dumps(many(300)))
    server = await start(tiny_store, max_tokens=5)
    person = await meet(server)
    page = await person.window()
    await take(page, server.origin, file)
    await expect(page.locator("#notice")).to_contain_text("300 chats imported.")
    await page.close()
    chat, other = await person.open(), await person.open()
    rows = chat.chats.get_by_role("listitem")
    await expect(rows).to_have_count(60)
    for count in (120, 180):
        await chat.chats.evaluate("nav => nav.scrollTo(0, nav.scrollHeight)")
        await expect(rows).to_have_count(count)
    scrolled = await chat.chats.evaluate("nav => nav.scrollTop")

    # From far down to the top, and renamed, pinned and deleted where it stands.
    moved = await person.open(f"/chats/{150:016x}")
    await moved.ask("To the top", TINY)
    await expect(chat.chats.locator("#chats-first").get_by_text("Chat 150")).to_have_count(1)
    await expect(link(chat, "Chat 150")).to_have_count(1)
    await other.chats.evaluate("nav => nav.scrollTo(0, nav.scrollHeight)")
    await other.use("Rename", "Chat 100")
    await other.chats.get_by_role("textbox").fill("Hundred")
    await other.chats.get_by_role("textbox").press("Enter")
    await expect(other.chats.get_by_role("button", name="Menu for Hundred")).to_be_focused()
    await expect(link(chat, "Hundred")).to_have_count(1)
    await other.use("Pin", "Hundred")
    await expect(chat.chats.locator(".pinned").get_by_text("Hundred")).to_be_visible()
    await other.use("Delete", "Chat 101")
    await expect(link(chat, "Chat 101")).to_have_count(0)
    titles = await rows.all_inner_texts()
    assert len(titles) == len(set(titles)) >= 179
    assert [t for t in titles if t not in {"Hundred", "Chat 150"}] == [
        f"Chat {n}" for n in range(len(titles) + 1) if n not in {100, 101, 150}
    ]
    assert abs(await chat.chats.evaluate("nav => nav.scrollTop") - scrolled) < 200

    # What comes back goes to its place, and what was scrolled to stays.
    await other.use("Unpin", "Hundred")
    await other.page.get_by_role("button", name="Undo").click()
    await expect(link(chat, "Chat 101")).to_have_count(1)
    await expect(chat.chats.locator("#chats-more").get_by_text("Hundred")).to_have_count(1)
    titles = await rows.all_inner_texts()
    assert [t for t in titles if t not in {"Hundred", "Chat 150"}] == [
        f"Chat {n}" for n in range(len(titles)) if n not in {100, 150}
    ]
    assert titles[titles.index("Chat 99") :][:3] == ["Chat 99", "Hundred", "Chat 101"]
    assert abs(await chat.chats.evaluate("nav => nav.scrollTop") - scrolled) < 200

    # A name is not torn away while it is being written.
    await other.use("Rename", "Chat 3")
    name = other.chats.get_by_role("textbox")
    await name.fill("Half a na")
    await chat.use("Rename", "Chat 4")
    await chat.chats.get_by_role("textbox").fill("Four")
    await chat.chats.get_by_role("textbox").press("Enter")
    await expect(link(chat, "Four")).to_be_visible()
    await expect(name).to_have_value("Half a na")
    await name.press("Enter")
    await expect(link(other, "Half a na")).to_be_visible()
    await expect(link(other, "Four")).to_be_visible()


async def test_on_a_phone_the_menu_fits_and_works_by_touch(
    server: Server, meet: Meet, request: pytest.FixtureRequest
) -> None:
    chat = await (await meet(server, **NARROW)).open()
    await chat.ask(request.node.name, TINY)
    await chat.ends()
    await chat.page.locator("#opener").tap()
    await chat.chats.get_by_role("button", name=f"Menu for {request.node.name}").tap()
    menu = chat.page.locator("#chat-menu")
    await expect(menu.get_by_role("button", name="Delete")).to_be_in_viewport(ratio=1)
    await menu.get_by_role("button", name="Pin").tap()
    await expect(chat.chats.locator(".pinned").get_by_text(request.node.name)).to_be_visible()
    await chat.chats.get_by_role("button", name=f"Menu for {request.node.name}").tap()
    await menu.get_by_role("button", name="Unpin").tap()
    await expect(chat.chats.locator(".pinned").get_by_text(request.node.name)).to_have_count(0)


async def test_print_shows_only_the_messages(chat: ChatPage) -> None:
    await chat.page.emulate_media(media="print")
    await expect(chat.questions.first).to_be_visible()
    for hidden in (chat.chats, chat.message, chat.model):
        await expect(hidden).to_be_hidden()
    await expect(chat.page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")


async def test_chats_are_grouped_by_days_of_the_readers_clock(server: Server, meet: Meet) -> None:
    chat = await (await meet(server, timezone_id="Pacific/Kiritimati")).open("/archive")
    offset = chat.page.locator("meta[name=utc-offset]")
    await expect(offset).to_have_attribute("content", "840")
