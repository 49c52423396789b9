"""Documents: several at once become chips with their pages, and an answer says what was read."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.documents.test_reader import FILES
from tests.e2e.conftest import TINY
from tests.e2e.person import Person
from tests.e2e.server import Server


async def test_documents_are_read_asked_about_and_told_under_the_answer(
    person: Person, server: Server
) -> None:
    person.expects("status of 415")  # the browser's own words about a refused file
    chat = await person.open()
    page = chat.page
    await chat.model.select_option(TINY)
    names = ("report.pdf", "show.pptx", "report.rtf", "locked.pdf")
    await page.set_input_files("#files", [FILES / name for name in names])
    chips = page.get_by_role("list", name="Attachments").locator("[data-kind=document]")
    await expect(chips.and_(page.locator("[data-status=ready]"))).to_have_count(3)
    failed = chips.and_(page.locator("[data-status=failed]"))
    await expect(failed).to_contain_text("is locked with a password. Save a copy without one.")
    await expect(chips.first).to_contain_text(re.compile(r"report\.pdf\s*3 pages, \d+ tokens"))
    await expect(chips.nth(1)).to_contain_text(re.compile(r"2 slides, \d+ tokens"))
    assert int(await chips.first.get_attribute("data-tokens") or 0) > 10
    await expect(page.get_by_text(re.compile("These files fill [0-9]+ % of what"))).to_be_visible()
    await chat.ask("How many steps has the stair?")
    answer = chat.answers.first
    whole = "Read whole: report.pdf (3 pages), show.pptx (2 slides), report.rtf"
    await expect(answer.locator("[data-documents]")).to_have_text(whole)
    shown = chat.questions.locator("[data-attachment]").first
    await shown.locator("summary").click()
    await expect(shown.locator("pre")).to_contain_text("[Page 2]")
    await page.reload()
    await expect(answer.locator("[data-documents]")).to_have_text(whole)
