"""Answers read aloud by the browser's own voices; only these are scripted here."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import expect

from app.web.render.markdown import render_markdown
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.e2e.speech import SCRIPTED_VOICES, letters_of, spoken
from tests.long_chat import plant
from tests.media.piper_stub import install_piper

SENTENCES = """async html => {
  const { sentencesOf } = await import('/static/lazy/spoken.js');
  const body = document.createElement('div');
  body.innerHTML = html;
  return sentencesOf(body).map(({ text, lang }) => [text, lang]);
}"""
MARKDOWN = r"""# A *short* plan 🚀

See [the page](https://example.org/a) or https://www.example.org/b?c=d, and use `wick serve`. Dr. Smith said so.

1. Buy milk
2. Go **home**
   - [x] by bus

Then $x^2 + 1 = 0$ and $\frac{a}{b}$ follow[^1].

```python
a = 1
b = 2
```

| part | weight |
|---|---:|
| first | 1 |
| second | 2 |

> That is all.

[^1]: A note.
"""  # noqa: E501
SPOKEN = [
    ["A short plan", "en"],
    ["See the page or example.org, and use wick serve.", "en"],
    ["Dr. Smith said so.", "en"],
    ["1. Buy milk", "en"],
    ["2. Go home", "en"],
    ["Done: by bus", "en"],
    ["Then x squared plus 1 equals 0 and a over b follow.", "en"],
    ["A code block of 2 lines.", "en"],
    ["A table of 2 rows and 2 columns.", "en"],
    ["That is all.", "en"],
    ["A note.", "en"],
]
LANGUAGES = {
    "de": "Das ist die Antwort auf deine Frage, und sie ist nicht lang.",
    "fr": "Voici la réponse, qui n'est pas longue pour vous.",
    "ja": "これは答えです。短いです。",
    "zh": "这是答案。很短。",
    "ru": "Это ответ.",
    "en": "Here is the answer to that.",
}


@pytest.fixture
async def listener(server: Server, meet: Meet) -> Person:
    person = await meet(server)
    await person.context.add_init_script(SCRIPTED_VOICES)
    return person


def plant_answer(server: Server, text: str) -> str:
    chat_id = plant(server.folder / "wick.db", 4, "Read to me")
    with closing(sqlite3.connect(server.folder / "wick.db", timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE messages SET text = ? WHERE id = (SELECT leaf_id FROM chats WHERE id = ?)",
            (text, chat_id),
        )
    return chat_id


async def test_an_answer_in_spoken_sentences(listener: Person) -> None:
    page = (await listener.open("/settings")).page
    assert await page.evaluate(SENTENCES, str(render_markdown(MARKDOWN))) == SPOKEN
    for lang, text in LANGUAGES.items():
        found = await page.evaluate(SENTENCES, str(render_markdown(text)))
        assert {one[1] for one in found} == {lang}, text
        assert "".join(one[0] for one in found).replace(" ", "") == text.replace(" ", "")
    long = "word " * 200
    parts = [one[0] for one in await page.evaluate(SENTENCES, f"<p>{long}</p>")]
    assert max(map(len, parts)) <= 240
    assert " ".join(parts) == long.strip()
    for empty in ("", "<p>🎉</p>", "<p>---</p>"):
        assert await page.evaluate(SENTENCES, empty) == []


async def test_read_aloud_and_stop(listener: Person, server: Server) -> None:
    text = "Das ist der erste Satz. Und der zweite ist nicht lang.\n\n```\ncode\n```\n\nEnde."
    chat = await listener.open(f"/chats/{plant_answer(server, text)}")
    read = chat.answer.get_by_role("button", name="Read aloud", exact=True)
    stop = chat.page.get_by_role("button", name="Stop reading", exact=True)
    await read.click()
    await chat.holds("() => window.spoken.length === 4")
    assert await chat.page.evaluate("window.spoken") == [
        {"text": "Das ist der erste Satz.", "voice": "Anna", "rate": 1},
        {"text": "Und der zweite ist nicht lang.", "voice": "Anna", "rate": 1},
        {"text": "A code block of 1 line.", "voice": "Amy", "rate": 1},
        {"text": "Ende.", "voice": "Anna", "rate": 1},
    ]
    await expect(stop).to_have_count(0)

    await chat.page.evaluate("window.isHeld = true, window.spoken.length = 0")
    await read.focus()
    await read.press("Enter")
    await expect(stop).to_be_focused()  # the same button, by another name
    await chat.message.press("Escape")
    await expect(read).to_be_visible()
    await expect(chat.message).to_be_focused()
    assert await chat.page.evaluate("speechSynthesis.speaking") is False

    await read.click()
    await expect(stop).to_have_count(1)
    other = chat.answers.first.get_by_role("button", name="Read aloud", exact=True)
    await other.click()  # another answer
    await expect(chat.answers.first.get_by_role("button", name="Stop reading")).to_be_visible()
    await expect(read).to_be_visible()
    await chat.holds("() => window.spoken.at(-1).text.startsWith('Here is what I know')")
    await stop.click()
    await expect(stop).to_have_count(0)
    await read.click()
    await chat.ask("A new question ends it", TINY)
    await expect(stop).to_have_count(0)
    assert await chat.page.evaluate("speechSynthesis.speaking") is False
    await chat.ends()
    assert len(await spoken(chat)) == 4  # nothing by itself


async def test_answers_are_read_as_they_come(endless: Server, meet: Meet) -> None:
    person = await meet(endless)
    await person.context.add_init_script(SCRIPTED_VOICES)
    settings = (await person.open("/settings")).page
    await settings.get_by_role("checkbox", name="Read answers aloud as they come").check()
    await settings.get_by_role("combobox", name="Voice").select_option("anna")
    await settings.get_by_role("combobox", name="Speed").select_option("Fast")
    await expect(settings.get_by_role("combobox", name="Voice").locator("option")).to_have_text(
        ["Automatic", "Amy (American English)", "Anna (German (Germany))"]
    )
    await settings.get_by_role("button", name="Try this voice").click()
    await settings.wait_for_timeout(0)
    tried = await settings.evaluate("window.spoken")
    assert tried == [{"text": "This is how answers are read.", "voice": "Anna", "rate": 1.5}]
    chat, other = await person.open(), ChatPage(await person.window())
    await chat.ask("Tell me a story", TINY)
    await other.page.goto(chat.page.url)
    await chat.holds("() => window.spoken.length >= 2")
    hush = chat.page.locator("#hush")
    await expect(hush).to_have_text("Stop reading")
    await expect(hush).to_be_visible()
    await expect(chat.stop).to_be_visible()  # the answer still runs
    await chat.message.press("Escape")
    await expect(hush).to_be_hidden()
    await expect(chat.stop).to_be_visible()
    read = await spoken(chat)
    await chat.silence()
    await chat.ends("stopped")
    assert await spoken(chat) == read
    assert await spoken(other) == []  # it only watches
    await chat.page.evaluate("window.isHeld = true")
    await chat.ask("And another one")
    await expect(hush).to_be_visible()
    await chat.silence()
    await expect(hush).to_be_hidden()  # the answer has its buttons now
    stop = chat.answer.get_by_role("button", name="Stop reading", exact=True)
    await stop.click()
    await expect(stop).to_have_count(0)
    whole = letters_of(await chat.answers.first.locator(".body").inner_text())
    assert [sentence for sentence in read if letters_of(sentence) not in whole] == []


async def test_a_browser_without_voices_says_so(listener: Person, server: Server) -> None:
    await listener.context.add_init_script("window.voices = window.voices.slice(2)")
    chat = await listener.open(f"/chats/{plant_answer(server, 'Hello.')}")
    await chat.answer.get_by_role("button", name="Read aloud").click()
    await expect(chat.notice).to_contain_text("This browser has no voice on this device.")
    await expect(chat.answer.get_by_role("button", name="Read aloud")).to_be_visible()
    await chat.page.goto(f"{server.origin}/settings")
    about = chat.page.get_by_text("This browser has no voice on this device.")
    await expect(about).to_be_visible()
    await expect(chat.page.get_by_role("combobox", name="Voice")).to_be_disabled()


async def test_the_servers_voice(
    tiny_store: Path, tmp_path: Path, start: StartServer, meet: Meet
) -> None:
    program, voice = install_piper(tmp_path)
    server = await start(tiny_store, piper=program, piper_voice=voice)
    text = "This is the first of them. And that is the second.\n\nDas ist nicht Englisch, und kurz."
    path, person = f"/chats/{plant_answer(server, text)}", await meet(server)
    await person.context.add_init_script(SCRIPTED_VOICES)
    settings = (await person.open("/settings")).page
    await settings.get_by_role("combobox", name="Voice").select_option(
        "This server (en_US-stub-medium)"
    )
    chat = await person.open(path)
    await chat.answer.get_by_role("button", name="Read aloud").click()
    await expect(chat.answer.get_by_role("button", name="Stop reading")).to_be_visible()
    await expect(chat.answer.get_by_role("button", name="Read aloud")).to_be_visible()
    assert [line.split(" ", 3)[3] for line in (tmp_path / "log").read_text().splitlines()] == [
        "This is the first of them. False",
        "And that is the second. False",
        "Das ist nicht Englisch, und kurz. False",
    ]
    assert await spoken(chat) == []
    voice.unlink()  # the owner takes it away
    await chat.page.evaluate("window.voices.length = 0")
    await chat.answer.get_by_role("button", name="Read aloud").click()
    await expect(chat.notice).to_contain_text("This browser has no voice on this device.")
