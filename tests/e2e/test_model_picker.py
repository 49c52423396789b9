"""The model picker: a list that one can search, by mouse, by keys, by touch, and as a select."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.e2e.conftest import SMOLLM2, TINY, Meet
from tests.e2e.server import Server

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TITLE = "SmolLM2 135M Instruct"


async def test_a_model_is_chosen_by_mouse_by_keys_and_in_the_select(
    server: Server, meet: Meet
) -> None:
    chat = await (await meet(server)).open()
    page, face = chat.page, chat.page.locator("#picked")
    menu, options = page.get_by_role("dialog", name="Choose a model"), page.get_by_role("option")
    await chat.model.select_option(TINY)
    await expect(face).to_have_text("Tiny")

    await chat.model.click()
    await expect(chat.model).to_have_attribute("aria-expanded", "true")
    await expect(chat.model).to_be_focused()
    await expect(
        page.get_by_role("group", name="On this computer").get_by_role("option")
    ).to_have_text(
        [
            re.compile(rf"{TITLE}.*default.*\d+ MB.*fits", re.DOTALL),
            re.compile("^\\s*Tiny.* fits", re.DOTALL),
        ]
    )
    await expect(menu.get_by_role("link", name="Manage models")).to_be_visible()
    await options.filter(has_text=TITLE).click()
    await expect(menu).to_be_hidden()
    await expect(chat.model).to_have_value(SMOLLM2)
    await expect(face).to_have_text(TITLE)
    await expect(chat.message).to_be_focused()

    await page.set_viewport_size({"width": 640, "height": 400})  # as at 200 % zoom
    await chat.model.click()
    await expect(menu).to_be_in_viewport(ratio=1)
    await page.keyboard.press("Escape")

    # By keys: a letter searches, arrows go on, Escape leaves all as it was.
    await chat.model.focus()
    await chat.model.press("t")
    await expect(chat.model).to_have_value("t")
    await expect(options.filter(has_text="Tiny")).to_be_visible()
    await chat.model.press_sequentially("iny")
    await expect(options.filter(visible=True)).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(menu).to_be_hidden()
    await expect(chat.model).to_be_focused()
    await expect(chat.model).to_have_value(SMOLLM2)
    await chat.model.press("ArrowDown")
    marked = page.locator(f"#pick-{TINY}")
    await expect(page.locator(f"#pick-{SMOLLM2}")).to_have_class(re.compile("active"))
    await chat.model.press("ArrowDown")
    await expect(marked).to_have_class(re.compile("active"))
    await expect(chat.model).to_have_attribute("aria-activedescendant", f"pick-{TINY}")
    await chat.model.press("Enter")
    await expect(chat.model).to_have_value(TINY)
    await chat.ask("Hello")
    await chat.ends()
    await expect(chat.answers.locator(".who")).to_have_text(["Tiny"])

    # The list that is open follows what happens to models.
    await chat.model.click()
    await expect(marked).to_contain_text("ready")
    await expect(marked).to_contain_text("tokens/s")
    away = await page.context.request.post(
        f"{server.origin}/models/{TINY}/unload", headers={"Origin": server.origin}
    )
    assert away.status == 204
    await expect(marked).to_contain_text("not loaded")
    await page.mouse.click(5, 400)
    await expect(menu).to_be_hidden()


async def test_on_a_phone_the_models_are_a_sheet_at_the_bottom(server: Server, meet: Meet) -> None:
    chat = await (await meet(server, **PHONE)).open()
    menu = chat.page.get_by_role("dialog", name="Choose a model")
    await chat.model.tap()
    await expect(chat.page.get_by_role("option", name="Tiny")).to_be_visible()
    await expect(chat.page.get_by_role("listbox", name="Models")).to_be_focused()  # no keyboard
    await chat.rests()
    box = await menu.bounding_box()
    assert box is not None
    assert (box["x"], box["width"], box["y"] + box["height"]) == (0, 390, 844)
    await chat.page.get_by_role("option", name="Tiny").tap()
    await expect(menu).to_be_hidden()
    await expect(chat.model).to_have_value(TINY)
