"""Pictures in the composer: dropped, pasted and chosen, and the text in them answered."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from playwright.async_api import expect

from tests.e2e.conftest import SMOLLM2
from tests.e2e.person import ChatPage, Person
from tests.media.samples import drawn, encoded, written

BRING = """([kind, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, {type: "image/png"}));
  const options = {bubbles: true, cancelable: true};
  if (kind === "paste") {
    const field = document.getElementById("message");
    field.dispatchEvent(new ClipboardEvent(kind, {clipboardData: files, ...options}));
  } else {
    for (const one of ["dragover", "drop"]) {
      const event = new DragEvent(one, {dataTransfer: files, ...options});
      document.getElementById("log").dispatchEvent(event);
    }
  }
}"""


async def bring(chat: ChatPage, kind: str, name: str, data: bytes) -> None:
    await chat.page.evaluate(BRING, [kind, name, base64.b64encode(data).decode()])


async def test_pictures_are_brought_read_answered_and_looked_at(
    person: Person, tmp_path: Path
) -> None:
    person.expects("status of (415|503)")
    chat = await person.open()
    page = chat.page
    await chat.model.select_option(SMOLLM2)
    chips = page.get_by_role("list", name="Attachments").locator("[data-kind=image]")
    ready = chips.and_(page.locator("[data-status=ready]"))
    await page.route("**/attachments/*/text", lambda one: one.fulfill(status=503, body="Busy."))
    await bring(chat, "drop", "photo.png", encoded(drawn()))
    await expect(ready).to_contain_text("Its text could not be read. Busy.")
    await page.unroute("**/attachments/*/text")
    await page.get_by_role("button", name="Remove photo.png").click()
    await bring(chat, "drop", "sign.png", encoded(written("The bakery opens at seven.")))
    text = page.get_by_role("textbox", name="Text in the picture", exact=True)
    await expect(text).to_have_value("The bakery opens at seven.")
    await expect(chips.first).to_have_attribute("data-tokens", re.compile("^1[0-9]$"))
    await expect(page.locator("#blind")).to_have_text(
        "This model can't see pictures: it gets the text in them."
    )
    await bring(chat, "paste", "image.png", encoded(drawn()))
    (tmp_path / "photo.jpg").write_bytes(encoded(drawn(90, 90), "JPEG"))
    async with page.expect_file_chooser() as opened:
        await page.get_by_role("button", name="Attach", exact=True).click()
    await (await opened.value).set_files(tmp_path / "photo.jpg")
    await expect(ready).to_have_count(3)
    await expect(chips.nth(1)).to_contain_text("No text found in it.")
    await bring(chat, "drop", "broken.png", b"\x89PNG\r\n\x1a\nno")
    failed = page.locator("#chips [data-status=failed]")
    await expect(failed).to_contain_text("broken.png is damaged")
    await text.fill("The bakery opens at eight.")
    await expect(ready).to_have_count(3)
    await chat.ask("When does the bakery open?")
    await chat.ends()
    await chat.reload()
    pictures = chat.questions.locator("[data-attachment][data-kind=image][data-status=ready]")
    await expect(pictures).to_have_count(3)
    await pictures.first.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("heading")).to_have_text("sign.png")
    await dialog.get_by_text("Text in the picture").click()
    await expect(dialog).to_contain_text("opens at eight.")
    await dialog.get_by_label("Description").fill("A sign")
    await dialog.get_by_role("button", name="Save").click()
    await expect(chat.questions.get_by_alt_text("A sign")).to_have_count(1)
    await dialog.get_by_role("button", name="Next picture").click()
    await expect(dialog.get_by_role("heading")).to_have_text("image.png")
    await page.keyboard.press("ArrowRight")
    await expect(dialog.get_by_role("heading")).to_have_text("photo.jpg")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(pictures.first).to_be_focused()
