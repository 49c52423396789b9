"""One message to several models, whose answers stand side by side until one becomes the chat."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.e2e.conftest import SMOLLM2, TINY, Meet
from tests.e2e.server import Server


async def test_two_models_answer_side_by_side_and_one_becomes_the_chat(
    server: Server, meet: Meet
) -> None:
    person = await meet(server)
    person.expects("status of 400")  # too few models
    chat = await person.open()
    page = chat.page
    await chat.message.fill("Say hello.")
    await chat.model.click()
    await page.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog", name="Compare models")
    await dialog.get_by_role("checkbox", name="SmolLM2").set_checked(checked=True)
    await dialog.get_by_role("checkbox", name="Tiny").set_checked(checked=False)
    await dialog.get_by_role("button", name="Compare").click()
    await expect(dialog.get_by_role("alert")).to_have_text("Choose 2 to 3 models.")
    await dialog.get_by_role("checkbox", name="Tiny").check()
    await dialog.get_by_role("button", name="Compare").press("Enter")

    answers = page.get_by_role("log").locator("article")
    await expect(answers.locator(".who")).to_have_text(["SmolLM2 135M Instruct", "Tiny"])
    ended = page.locator("article[data-role=assistant][data-status=done]")
    await expect(ended).to_have_count(2)
    await expect(chat.stop).to_have_count(0)
    boxes = [await answers.nth(place).bounding_box() for place in (0, 1)]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    # Each goes on by itself.
    await page.locator(".column").last.get_by_role("button", name="Continue").click()
    await expect(ended).to_have_count(2)
    said = await answers.last.locator(".body").inner_text()

    await page.get_by_role("button", name="Use the answer of Tiny").press("Enter")
    await expect(page).to_have_url(re.compile("/chats/[0-9a-f]{16}$"))
    await expect(chat.message).to_have_value("")
    await expect(chat.answers.locator(".who")).to_have_text(["Tiny"])
    assert (await chat.body())[: len(said)] == said
    rows = server.messages(chat.chat_id)
    assert [row["model"] for row in rows] == [SMOLLM2, TINY]
    await chat.answer.get_by_role("link", name="Side by side").click()
    await expect(answers.locator(".who")).to_have_text(["SmolLM2 135M Instruct", "Tiny"])
    await page.get_by_role("link", name="Back to chat").click()
    await expect(chat.answers.locator(".who")).to_have_text(["Tiny"])
