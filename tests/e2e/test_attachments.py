"""Files in the composer: chosen, pasted and dropped, as chips, into a message."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from tests.e2e.conftest import SMOLLM2, TINY
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server

PASTE = """(field, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  const event = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
  return field.dispatchEvent(event);
}"""
DROP = """(name) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["one,two\\n1,2\\n"], name));
  const target = document.getElementById("log");
  for (const kind of ["dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));
  }
}"""


async def test_files_are_chosen_dropped_and_pasted_and_sent(
    person: Person, server: Server, tmp_path: Path
) -> None:
    person.expects("status of 415")  # the browser's own words about a refused file
    chat = await person.open()
    await chat.model.select_option(TINY)
    await expect(chat.send).to_be_disabled()
    await choose(chat, tmp_path, "notes.py", b"x = 1\n")
    chips = chat.page.get_by_role("list", name="Attachments").locator("[data-attachment]")
    ready = chat.page.locator("#chips [data-status=ready]")
    await expect(ready).to_have_count(1)
    await expect(chat.send).to_be_enabled()
    await expect(chips).to_contain_text(re.compile(r"notes\.py\s*\d tokens"))  # counted for TINY
    await chat.model.select_option(SMOLLM2)  # other tokens, and a smaller window
    await expect(chips).to_have_attribute("data-for", SMOLLM2)
    await chat.model.select_option(TINY)
    await expect(chips).to_have_attribute("data-for", TINY)
    await chat.page.evaluate(DROP, "table.csv")
    await expect(ready).to_have_count(2)
    assert await chat.message.evaluate(PASTE, "short")  # stays text
    assert not await chat.message.evaluate(PASTE, "long " * 5000)
    await expect(ready).to_have_count(3)
    await choose(chat, tmp_path, "scan.pdf", b"%PDF-1.7")
    failed = chips.and_(chat.page.locator("[data-status=failed]"))
    await expect(failed).to_contain_text("is damaged, or not what its name says.")
    too_large = chat.page.get_by_text("Too long for tiny, which reads up to")
    await expect(too_large).to_be_visible()
    await chat.page.get_by_role("button", name="Remove Pasted text.txt").click()
    await expect(too_large).to_be_hidden()
    await chat.page.close()  # what is not sent is there again in the next tab
    chat = await person.open()
    ready = chat.page.locator("#chips [data-status=ready]")
    chips = chat.page.get_by_role("list", name="Attachments").locator("[data-attachment]")
    await expect(ready).to_have_count(2)
    await choose(chat, tmp_path, "more.txt", b"more")
    await expect(ready).to_have_count(3)
    await chat.reload()
    await expect(ready).to_have_count(3)
    await chat.page.get_by_role("button", name="Remove table.csv").click()
    await expect(ready).to_have_count(2)
    await chat.model.select_option(TINY)
    await chat.message.fill("What is x?")
    await chat.message.press("Enter")
    await expect(chat.questions).to_have_count(1)
    await expect(chips).to_have_count(0)
    await expect(chat.send).to_be_disabled()
    await chat.ends()
    await chat.reload()
    files = chat.questions.locator("[data-attachment]")
    await expect(files).to_have_count(2)
    await expect(files.first).not_to_contain_text("x = 1")
    await files.first.locator("summary").press("Enter")
    await expect(files.first).to_contain_text("x = 1")
    assert "notes.py" in str(await exported(chat, server))
    await chat.page.keyboard.press("Control+k")
    await chat.page.get_by_role("searchbox", name="Search everything").fill("notes.py")
    group = chat.page.get_by_role("dialog", name="Search").get_by_role("group", name="Files")
    await group.get_by_role("option").filter(has_text="notes.py").first.click()
    await expect(files.first.locator(".content")).to_contain_text("x = 1")  # opened
    await chat.questions.get_by_role("button", name="Edit", exact=True).click()
    await chat.page.get_by_role("checkbox", name="more.txt").uncheck()
    await chat.page.get_by_role("button", name="Save & submit").click()
    await expect(files).to_have_count(1)
    await expect(files).to_contain_text("notes.py")
    await chat.ends()
    chat = await person.open()
    await expect(chat.page.locator("#chips [data-status]")).to_have_count(0)


async def choose(chat: ChatPage, folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    async with chat.page.expect_file_chooser() as opened:
        await chat.page.get_by_role("button", name="Attach", exact=True).click()
    await (await opened.value).set_files(folder / name)


async def exported(chat: ChatPage, server: Server) -> object:
    address = f"{server.origin}/chats/{chat.chat_id}/export.json"
    return (await (await chat.page.request.get(address)).json())["chats"][0]["messages"][0]
