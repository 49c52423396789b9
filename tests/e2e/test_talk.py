"""Talk mode: Chromium's fake microphone plays speech, Whisper writes it down, a model answers. Only
the voice that speaks is scripted."""

from __future__ import annotations

import re
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.e2e.conftest import FLAGS, TINY, StartServer, executable
from tests.e2e.person import RECORDER, ChatPage, Person
from tests.e2e.server import Server
from tests.e2e.speech import SCRIPTED_VOICES, letters_of, spoken
from tests.patience import PATIENCE
from tests.whisper import speak, store_with_whisper

QUESTION = "Please write a short story about a dog and a cat."
WORDS = {"please", "write", "short", "story", "about", "dog", "cat"}
SILENT_SECONDS = 1.5
WATCHED_MICROPHONE = """
(() => {
  const media = navigator.mediaDevices;
  if (!media) return;
  const open = media.getUserMedia.bind(media);
  window.streams = [];
  media.getUserMedia = async (wanted) => {
    const stream = await open(wanted);
    window.streams.push(stream);
    for (const track of stream.getTracks()) track.enabled = !window.isMuted;
    return stream;
  };
})();
"""
SO_FAR = "Please write"
WATCHED_TEXT = """
const [talk, text] = ["talk", "talk-text"].map((id) => document.getElementById(id));
window.shown = [];
new MutationObserver(() => {
  if (talk.dataset.state === "listening") window.shown.push(text.textContent);
}).observe(text, { childList: true, characterData: true, subtree: true });
"""
OPEN_MICROPHONES = "window.streams.filter(({ active }) => active).length"


def pad(path: Path) -> Path:
    """Put silence around speech: before, while the page begins to listen, and for its end."""
    with wave.open(str(path)) as file:
        settings, frames = file.getparams(), file.readframes(file.getnframes())
    silence = bytes(2 * int(SILENT_SECONDS * settings.framerate))
    with wave.open(str(path), "wb") as file:
        file.setparams(settings)
        file.writeframes(silence + frames + 2 * silence)
    return path


def with_microphone(sound: Path | None) -> list[str]:
    """Flags of a browser in which somebody speaks once, each time the microphone is opened; or in
    which nobody may open it."""
    if sound is None:
        return [
            *(*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny")
        ]
    return [
        *(*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
        f"--use-file-for-fake-audio-capture={sound}%noloop",
    ]


@pytest.fixture
def talking_store(tiny_store: Path, tmp_path: Path) -> Path:
    """A store with the tiny model and Whisper."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / TINY).symlink_to(tiny_store / TINY)
    (folder / ".voice").symlink_to(store_with_whisper() / ".voice")
    return folder


@pytest.fixture
async def talker(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Browser]:
    sound = pad(speak(QUESTION, tmp_path)) if request.param else None
    own = await browser.browser_type.launch(
        executable_path=executable(), args=with_microphone(sound)
    )
    yield own
    await own.close()


async def open_talk(browser: Browser, server: Server, draft: str) -> tuple[Person, ChatPage]:
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    await context.add_init_script(RECORDER)
    await context.add_init_script(SCRIPTED_VOICES + WATCHED_MICROPHONE)
    # In earnest it is written down only while nothing else needs the processor.
    await context.route("**/dictation?partial*", lambda route: route.fulfill(json={"text": SO_FAR}))
    person = Person(context, server)
    chat = await person.open()
    await chat.message.fill(draft)
    await chat.page.evaluate("localStorage.aloud = 'on'; window.isHeld = true")
    await chat.page.evaluate(WATCHED_TEXT)
    await chat.page.get_by_role("button", name="Talk", exact=True).click()
    return person, chat


def state_of(chat: ChatPage) -> Locator:
    return chat.page.get_by_role("dialog", name="Talk").get_by_role("status")


@pytest.mark.parametrize("talker", [True], indirect=True)
async def test_listen_answer_speak_listen(
    talker: Browser, talking_store: Path, start: StartServer
) -> None:
    server = await start(talking_store, max_tokens=24)
    person, chat = await open_talk(talker, server, "My draft")
    state = state_of(chat)
    await expect(state).to_have_text("Speaking")
    assert SO_FAR in await chat.page.evaluate("window.shown")  # while somebody spoke
    question = chat.questions.first.locator(".body")
    heard = set(re.findall(r"\w+", (await question.inner_text()).lower()))
    assert len(heard & WORDS) >= 3, heard  # a busy machine loses some of the sound
    await chat.ends()
    assert await chat.page.evaluate(OPEN_MICROPHONES) == 0  # it does not hear itself
    await chat.page.evaluate("window.isHeld = false; window.finishSentence()")
    await chat.holds("() => window.streams.length === 2")  # it listens again
    await chat.page.evaluate("window.isHeld = true")
    whole = letters_of(await chat.answers.first.locator(".body").inner_text())
    assert letters_of("".join(await spoken(chat))) == whole  # once, by the talk alone

    await expect(chat.questions).to_have_count(2)  # the same question
    await expect(state).to_have_text("Speaking")
    await chat.page.evaluate("window.isMuted = true")
    await chat.page.keyboard.press("Space")
    await expect(state).to_have_text("Listening")  # interrupted
    assert await chat.page.evaluate("speechSynthesis.speaking") is False
    await chat.page.keyboard.press("Space")
    await expect(state).to_have_text("Paused")
    assert await chat.page.evaluate(OPEN_MICROPHONES) == 0
    await chat.page.keyboard.press("Escape")
    await expect(chat.page.get_by_role("dialog", name="Talk")).to_be_hidden()
    await expect(chat.message).to_have_value("My draft")
    await chat.reload()
    await expect(chat.questions).to_have_count(2)  # ordinary messages
    await expect(chat.answers).to_have_count(2)
    await expect(chat.message).to_have_value("My draft")
    assert not person.problems


@pytest.mark.parametrize("talker", [True], indirect=True)
async def test_nothing_can_hear_here(talker: Browser, tiny_store: Path, start: StartServer) -> None:
    person, chat = await open_talk(talker, await start(tiny_store), "")
    person.expects("501")
    await expect(state_of(chat)).to_have_text(re.compile("^Voice to text"))
    await expect(chat.page.get_by_role("button", name="Go on")).to_be_focused()
    assert await chat.page.evaluate(OPEN_MICROPHONES) == 0
    await chat.page.keyboard.press("Escape")
    await expect(chat.questions).to_have_count(0)
    assert not person.problems


@pytest.mark.parametrize("talker", [False], indirect=True)
async def test_what_is_wrong_is_said(talker: Browser, tiny_store: Path, start: StartServer) -> None:
    server = await start(tiny_store)
    person, chat = await open_talk(talker, server, "")
    state = state_of(chat)
    await expect(state).to_have_text(re.compile("The browser blocks the microphone."))
    await chat.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    await chat.page.get_by_role("button", name="Go on").click()
    await expect(state).to_have_text(re.compile("The microphone needs HTTPS."))
    await chat.page.get_by_role("button", name="Leave").click()
    await expect(chat.page.get_by_role("button", name="Talk", exact=True)).to_be_focused()
    await chat.page.evaluate("window.voices.length = 0")
    await chat.page.get_by_role("button", name="Talk", exact=True).click()
    await expect(state).to_have_text(re.compile("This browser has no voice on this device."))
    assert not person.problems
