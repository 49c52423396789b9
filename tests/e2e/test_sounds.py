"""Recordings in the composer: sound for a model that hears, else text, which is said."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from app.models.store import ModelStore
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.media.samples import tone
from tests.tiny_gguf import write_tiny_gguf
from tests.tiny_projectors import HEARING, write_projector, write_seeing_model
from tests.whisper import speak, with_voice

TUNE = {"name": "tune.wav", "mimeType": "audio/wav", "buffer": tone(2)}


async def test_a_recording_goes_to_a_model_that_hears_and_else_becomes_text(
    tmp_path: Path, start: StartServer, meet: Meet
) -> None:
    store = ModelStore(tmp_path / "store")
    store.install(write_tiny_gguf(tmp_path / "tiny.gguf"), TINY)
    weights = write_seeing_model(tmp_path / "model.gguf", HEARING)
    projector = write_projector(tmp_path / "mmproj-model.gguf", HEARING)
    store.install(weights, "ears", projector=projector)
    person = await meet(await start(store.root, default_model="ears", max_tokens=8, context=2048))
    person.expects("status of 501")
    chat = await person.open()
    page, chips = chat.page, chat.page.get_by_role("list", name="Attachments")
    await chat.model.select_option("ears")
    await page.locator("#files").set_input_files(TUNE)  # type: ignore[arg-type]
    chip = chips.locator("[data-kind=audio][data-status=ready]")
    await expect(chip).to_contain_text("tune.wav")
    await expect(chip).to_contain_text("0:02")
    await chat.ask("What do you hear?")
    await chat.ends()
    await chat.reload()
    sound = chat.questions.locator("[data-attachment][data-kind=audio] audio")
    await expect(sound).to_have_count(1)
    await sound.evaluate("(one) => { one.muted = true; return one.play(); }")
    assert await sound.evaluate("(one) => one.duration") == 2
    await page.locator("#files").set_input_files(TUNE)  # type: ignore[arg-type]
    await chip.get_by_role("button", name="Turn into text").click()
    await expect(chip).to_contain_text("Voice to text needs a voice model")
    await chat.model.select_option(TINY)
    await expect(page.locator("#deaf")).to_be_visible()
    await chip.get_by_role("button", name="Remove tune.wav").click()
    await page.locator("#files").set_input_files(TUNE)  # type: ignore[arg-type]
    failed = chips.locator("[data-status=failed]")
    await expect(failed).to_contain_text("This model can't hear. Voice to text needs a voice model")


async def test_a_recording_for_a_model_that_hears_is_turned_into_text_by_whisper(
    tmp_path: Path, start: StartServer, meet: Meet
) -> None:
    store = ModelStore(tmp_path / "own")
    weights = write_seeing_model(tmp_path / "model.gguf", HEARING)
    projector = write_projector(tmp_path / "mmproj-model.gguf", HEARING)
    store.install(weights, "ears", projector=projector)
    server = await start(with_voice(store.root, tmp_path / "store"), max_tokens=8, context=2048)
    chat = await (await meet(server)).open()
    page, chips = chat.page, chat.page.get_by_role("list", name="Attachments")
    await chat.message.fill("Look:")
    speech = speak("Please write a short story about a dog and a cat.", tmp_path)
    await page.locator("#files").set_input_files(speech)
    turn = chips.get_by_role("button", name="Turn into text")
    await turn.click()
    await page.get_by_role("button", name="Remove speech.wav").click()  # meanwhile
    await expect(chips.locator("li")).to_have_count(0)
    await page.locator("#files").set_input_files(speech)
    await turn.click()
    once = re.compile(r"^Look: please write a short story[^.]+\.$", re.I)
    await expect(chat.message).to_have_value(once)
    await expect(chips.locator("li")).to_have_count(0)
    await expect(chat.message).to_be_focused()
    await chat.send.click()
    await expect(chat.questions).to_contain_text("short story about")
    await chat.ends()
