"""The corpus of known attacks through every way into a page: all of it stays text.

Many stand on each page. None may run (a canary, a listener for what the policy had to stop, and one
for dialogs), none may become an element, and none an attribute that htmx acts on.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import time
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Dialog, Page, expect

from app.conversations.settings import sanitize_text
from app.web.render.markdown import render_prompt
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.e2e.test_markdown import VECTORS, WATCH
from tests.foreign_files import chatgpt, open_webui

# What holds text of people and models, and the elements that may stand in it.
HOLDERS = {
    "#title, title, .away li > a, .who, .line, .figures dd, blockquote, option, textarea": "",
    ".state, .name, .card h2, .card dd, p.bad, .choice, dialog h2, .pull p": "strong",
    "#chats li > a": "span",
    ".found .title, .found .snippet, .about": "mark",
}
INTRUDERS = """holders => Object.entries(holders).flatMap(([selector, allowed]) =>
  [...document.querySelectorAll(selector)].filter(one => !one.closest('.rich'))
    .flatMap(one => [...one.querySelectorAll('*')])
    .filter(one => one.localName !== allowed).map(one => one.outerHTML))"""
# Attributes that act, wherever text of others stands; and handlers anywhere.
INSIDE = ".body *, #title *, #chats a *, .found *, .card dd *"
ACTING = """inside => [...document.querySelectorAll('*')].flatMap(one => [...one.attributes]
  .map(a => a.name)
  .filter(name => /^on/.test(name)
    || (/^(data-)?hx-/.test(name) && one.matches(inside)))
  .map(name => `${name} on ${one.outerHTML}`))"""
STOLEN = "[window.pwned ?? null, parent.pwned ?? null, window.reports]"
WORDS = ("window", "script", "svg", "iframe", "javascript", "hx", "style", "x", "alert")


def words_of(rendered: str) -> str:
    """Return what a page shows of this HTML, buttons included."""
    return html.unescape(re.sub(r"<[^>]*>", "", rendered))


def wick_file() -> dict[str, Any]:
    """A chat with every vector as a message of either side, a model, an error, a system prompt; and
    for every vector a pinned chat that is called so."""
    now, messages = time.time(), list[dict[str, Any]]()
    for number, vector in enumerate(VECTORS):
        before = messages[-1]["id"] if messages else None
        question = {"id": 2 * number + 1, "parent": before, "role": "user", "text": vector}
        answer = {
            **{"id": 2 * number + 2, "parent": 2 * number + 1, "role": "assistant"},
            **{"text": vector, "model": vector, "status": "failed", "error": vector},
            **{"completion_tokens": 9, "decode_seconds": 1.0, "prompt_tokens": 9},
            "settings": {"system_prompt": vector, "sampling": {}},
        }
        messages += [question, answer]
    one = {"model": TINY, "created_at": now, "updated_at": now, "title_source": "person"}
    first = {"id": f"{0:016x}", "title": "All of them", "messages": messages, **one}
    titled = [
        {"id": f"{n + 1:016x}", "title": vector, "pinned_at": now, "messages": messages[:2], **one}
        for n, vector in enumerate(VECTORS)
    ]
    return {"format": "wick-chats", "version": 1, "chats": [first, *titled]}


def foreign(make: Any, vectors: list[str], **put: Any) -> list[dict[str, Any]]:
    """For each vector a chat in the format of another program, with it as title and question."""
    chats = []
    for number, vector in enumerate(vectors):
        [chat] = deepcopy(make(title=vector, text=vector))
        key = "conversation_id" if "conversation_id" in chat else "id"
        chats.append(chat | put | {key: f"{number:08x}-0000-4000-8000-000000000000"})
    return chats


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """For every vector a model whose file gives it as title and licence, and one whose template
    complains with some."""
    for number, vector in enumerate([*VECTORS, "complains"]):
        folder = tmp_path / "store" / f"model{number}"
        shutil.copytree(tiny_store / TINY, folder, copy_function=lambda a, b: Path(b).symlink_to(a))
        facts = json.loads((folder / "model.json").read_text())
        (folder / "model.json").unlink()
        facts |= {"title": vector, "license": vector}
        if vector == "complains":
            said = " ".join(VECTORS[:8]).replace("\\", "").replace("'", "\\'").replace("\n", " ")
            facts["chat_template"] = f"{{{{ raise_exception('{said}') }}}}"
        (folder / "model.json").write_text(json.dumps(facts))
    shutil.copytree(tiny_store / TINY, tmp_path / "store" / TINY)
    return tmp_path / "store"


@pytest.fixture
async def server(start: StartServer, store: Path) -> Server:
    return await start(store, max_tokens=20, default_model=TINY)


@pytest.fixture
async def victim(server: Server, meet: Meet) -> Person:
    person = await meet(server)
    await person.context.add_init_script(WATCH)

    def noted(dialog: Dialog) -> None:
        person.problems.append(f"a dialog: {dialog.message}")

    person.context.on("dialog", noted)
    return person


async def assert_unharmed(page: Page) -> None:
    await page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    assert await page.evaluate(STOLEN) == [None, None, []]
    assert await page.evaluate(INTRUDERS, HOLDERS) == []
    assert await page.evaluate(ACTING, INSIDE) == []


async def test_attacks_in_files_titles_models_and_searches_stay_text(
    victim: Person, server: Server, tmp_path: Path
) -> None:
    page = await victim.window()
    files = {
        "wick": wick_file(),
        "chatgpt": foreign(chatgpt, VECTORS[::2]),
        "webui": foreign(open_webui, VECTORS[1::2]),
    }
    for name, content in files.items():
        await page.goto(f"{server.origin}/exchange")  # without the notice of the file before
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        await page.get_by_label("File to import").set_input_files(tmp_path / f"{name}.json")
        await page.get_by_role("button", name="Import", exact=True).click()
        count = len(content["chats"] if isinstance(content, dict) else content)
        await expect(page.locator("#notice")).to_contain_text(f"{count} chats imported")
    await assert_unharmed(page)

    # Every vector as title in the list, as prompt, answer, model, error and system prompt.
    [row] = server.rows("SELECT min(id) AS first FROM messages WHERE chat_id = ?", f"{0:016x}")
    address = f"{server.origin}/chats/{0:016x}?message={row['first']}#m{row['first']}"
    await page.goto(address)
    chat = ChatPage(page)
    await chat.awakes()
    await expect(chat.questions).to_have_count(len(VECTORS))
    shown = await chat.questions.locator(".body").all_text_contents()
    assert shown == [words_of(render_prompt(sanitize_text(vector))) for vector in VECTORS]
    assert await chat.chats.locator(".pinned li").count() == len(VECTORS)
    assert await page.locator(".figures dd").filter(has_text="window.pwned").count() > 90
    await assert_unharmed(page)
    assert await chat.model.locator("option").count() > len(VECTORS)

    # A title that is edited, and one that is told in a notice with its way back.
    title = await chat.chats.locator(".pinned a").first.inner_text()
    for verb in ("Rename", "Delete"):
        await chat.chats.locator(".pinned li").first.hover()
        await chat.chats.locator(".pinned li button").first.click()
        await page.locator("#chat-menu").get_by_text(verb, exact=True).click()
        if verb == "Rename":
            await expect(chat.chats.get_by_role("textbox")).to_have_value(title)
            await chat.chats.get_by_role("textbox").press("Escape")
    await expect(chat.notice).to_contain_text("is in the trash.")
    await assert_unharmed(page)

    # The archive (Open WebUI's chats came archived), and what a search finds and how it was asked.
    await page.goto(f"{server.origin}/archive")
    await page.evaluate("scrollTo(0, 1e6)")
    await expect(page.locator(".away li:not(.more)")).to_have_count(len(VECTORS[1::2]))
    await assert_unharmed(page)
    for word in (*WORDS, *(VECTORS[at][:200] for at in range(0, len(VECTORS), 12))):
        await page.goto(f"{server.origin}/search?{urlencode({'q': word})}")
        await expect(page.locator("#results .count")).to_be_visible()
        await assert_unharmed(page)
    await page.get_by_role("searchbox").fill(VECTORS[6])
    await expect(page.locator(".found mark").first).to_be_visible()
    await assert_unharmed(page)

    # Titles and licences of models, and a system prompt in the settings of one.
    await page.goto(f"{server.origin}/models")
    await expect(page.locator(".card")).to_have_count(len(VECTORS) + 2)
    await assert_unharmed(page)
    for name in ("Settings", "Remove"):
        await page.locator("#card-model6").get_by_role("button", name=name).click()
        await expect(page.get_by_role("dialog")).to_contain_text(VECTORS[6])
        await assert_unharmed(page)
        await page.keyboard.press("Escape")


async def test_attacks_in_settings_names_and_template_errors_stay_text(
    victim: Person, server: Server
) -> None:
    victim.expects("422")
    chat = await victim.open()
    page, everything = chat.page, "\n".join(VECTORS)
    await page.get_by_role("button", name="Chat settings").click()
    prompt = page.get_by_role("textbox", name="System prompt")
    await prompt.fill(everything)
    await page.get_by_role("textbox", name="Temperature").fill(VECTORS[0][:20])
    await page.get_by_role("button", name="Save", exact=True).click()  # refused, and shown again
    await expect(page.locator("[aria-invalid]")).to_have_count(1)
    await assert_unharmed(page)
    await page.get_by_role("textbox", name="Temperature").fill("")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await chat.ask("Complain, please.", f"model{len(VECTORS)}")
    await chat.ends("failed")
    await expect(chat.answer.locator(".line")).to_contain_text("window.pwned=1")
    await assert_unharmed(page)
    await chat.reload()
    await page.get_by_role("button", name="Chat settings").click()
    await expect(prompt).to_have_value(sanitize_text(everything))
    await assert_unharmed(page)
    await page.keyboard.press("Escape")

    # The name of the chat that is open, over the socket: heading, window title, list.
    for vector in VECTORS[::6]:
        given = await page.evaluate(
            "async ([address, title]) => (await fetch(address, {method: 'POST',"
            " body: new URLSearchParams({title})})).status",
            [f"/chats/{chat.chat_id}/name", vector],
        )
        assert given == 200
        shown = server.rows("SELECT title FROM chats WHERE id = ?", chat.chat_id)[0]["title"]
        await expect(page.locator("#title")).to_have_text(shown)
        await expect(page).to_have_title(re.compile("^" + re.escape(shown.split()[0])))
    await assert_unharmed(page)
