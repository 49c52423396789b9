"""Dictation with Chromium's fake microphone, which plays speech, and Whisper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.conftest import StartServer, executable
from tests.e2e.person import RECORDER, ChatPage, Person
from tests.e2e.server import Server
from tests.e2e.test_talk import pad, with_microphone
from tests.patience import PATIENCE
from tests.whisper import speak, with_voice

SENTENCE = "Please write a short story about a dog and a cat."
HEARD = re.compile(r"write a short story about", re.I)


async def open_chat(browser: Browser, server: Server) -> tuple[Person, ChatPage]:
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    await context.add_init_script(RECORDER)
    person = Person(context, server)
    return person, await person.open()


async def test_what_is_said_stands_in_the_field_and_is_sent(
    browser: Browser, tiny_store: Path, tmp_path: Path, start: StartServer
) -> None:
    server = await start(with_voice(tiny_store, tmp_path / "store"), max_tokens=16)
    own = await browser.browser_type.launch(
        executable_path=executable(), args=with_microphone(pad(speak(SENTENCE, tmp_path)))
    )
    person, chat = await open_chat(own, server)
    page = chat.page
    await chat.message.fill("First, and last.")
    await chat.message.press("Home")
    for _ in "First,":
        await chat.message.press("ArrowRight")
    await page.get_by_role("button", name="Dictate").press("Enter")
    status = page.locator("#dictation").get_by_role("status")
    await expect(page.get_by_role("button", name="Stop dictating")).to_be_visible()
    await expect(chat.message).to_have_value(HEARD)
    assert (await chat.message.input_value()).startswith("First, ")
    assert (await chat.message.input_value()).endswith(" and last.")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Dictate")).to_be_visible()
    await expect(status).to_be_hidden()
    await expect(chat.message).to_be_focused()
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(chat.questions.first).to_contain_text(HEARD)
    await chat.ends()

    await page.evaluate("localStorage['dictation-sends'] = 'on'")
    await page.get_by_role("button", name="Dictate").click()  # speech is played from its beginning
    await expect(chat.questions).to_have_count(2)
    await expect(page.get_by_role("button", name="Dictate")).to_be_visible()
    assert not person.problems
    await own.close()


async def test_a_recording_that_is_attached_becomes_text(
    browser: Browser, tiny_store: Path, tmp_path: Path, start: StartServer
) -> None:
    server = await start(with_voice(tiny_store, tmp_path / "store"))
    own = await browser.browser_type.launch(
        executable_path=executable(), args=with_microphone(pad(_silence(tmp_path)))
    )
    person, chat = await open_chat(own, server)
    page = chat.page
    await page.locator("#files").set_input_files(speak(SENTENCE, tmp_path))
    await expect(chat.message).to_have_value(HEARD)
    await expect(page.locator("#chips li")).to_have_count(0)
    await chat.message.fill("")
    await page.get_by_role("button", name="Dictate").click()
    status = page.locator("#dictation").get_by_role("status")
    await expect(status).to_have_text("Listening")
    await page.get_by_role("button", name="Stop dictating").click()
    await expect(status).to_have_text("No speech was recognized.")
    await expect(chat.message).to_have_value("")
    assert not person.problems
    await own.close()


async def test_what_is_wrong_is_said(
    browser: Browser, tiny_store: Path, tmp_path: Path, start: StartServer
) -> None:
    server = await start(with_voice(tiny_store, tmp_path / "store"))
    own = await browser.browser_type.launch(
        executable_path=executable(), args=with_microphone(None)
    )
    person, chat = await open_chat(own, server)
    page = chat.page
    button = page.get_by_role("button", name="Dictate")
    status = page.locator("#dictation").get_by_role("status")
    await button.click()
    await expect(status).to_have_text(re.compile("The browser blocks the microphone."))
    await expect(button).to_be_visible()
    await page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    await button.click()
    await expect(status).to_have_text(re.compile("The microphone needs HTTPS."))
    await chat.message.press_sequentially("x")
    await expect(status).to_be_hidden()
    assert not person.problems
    await own.close()


async def test_it_is_set_up_from_the_composer(
    browser: Browser, tiny_store: Path, start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    server = await start(tiny_store)
    _, chat = await open_chat(browser, server)
    status = chat.page.locator("#dictation").get_by_role("status")
    await chat.page.get_by_role("button", name="Dictate").click()
    await expect(status).to_have_text("Voice to text isn't set up yet.")
    await chat.page.get_by_role("button", name="Set up", exact=True).click()
    await expect(status).to_have_text(re.compile("can't reach the package index|doesn't have it"))
    await expect(chat.page.get_by_role("button", name="Try again", exact=True)).to_be_visible()


def _silence(folder: Path) -> Path:
    import wave

    path = folder / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes(bytes(44_100))
    return path
