"""A formatted answer in a real browser, frame by frame, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.async_api import Page, WebSocketRoute

from app.config import asset_dir
from app.conversations.answer_state import LiveAnswer
from app.web.render.fragments import Fragments
from app.web.render.markdown import render_markdown, render_prompt
from app.web.render.messages import MessageView, present_live
from app.web.render.streaming import StreamedMarkdown
from tests.e2e.conftest import TINY, Meet
from tests.e2e.server import Server

VECTORS: list[str] = json.loads(
    (Path(__file__).parents[1] / "web/render/xss_vectors.json").read_text()
)
ANSWER = (Path(__file__).parent / "answer.md").read_text()
WATCH = """
window.reports = [];
addEventListener('securitypolicyviolation', e => window.reports.push(e.violatedDirective));
"""
ACTED_ON = """log => [...log.querySelectorAll('.body *')].flatMap(
  one => [...one.attributes].map(a => a.name)).filter(name => /^(data-|hx-|on)/.test(name))"""
AS_WRITTEN = (
    "html => { const t = document.createElement('template');"
    " t.innerHTML = html; return t.innerHTML; }"
)


class Played:
    """A page whose socket the test plays: what the server would send of one answer."""

    def __init__(self, page: Page, socket: WebSocketRoute) -> None:
        self.page, self._socket = page, socket
        self._fragments = Fragments(asset_dir("templates"), asset_dir("static"))
        self._sent = 0

    async def send(self, frame: str) -> None:
        """Returns when the page has taken it."""
        self._sent += 1
        mark = f'<div hx-swap-oob="innerHTML:#announcer">{self._sent}</div>'
        self._socket.send(frame + mark)
        await (
            self.page.locator("#announcer")
            .get_by_text(str(self._sent), exact=True)
            .wait_for(state="attached")
        )

    async def prompt(self, text: str) -> None:
        view = self._view(1, "user", text, render_prompt(text))
        await self.send(self._fragments.appended(view))

    async def answer(self, text: str, step: int) -> None:
        """All of it, `step` characters at a time; every frame shows what it should."""
        blocks, stream = StreamedMarkdown(2), LiveAnswer(2, "c", 1, "a model", status="streaming")
        await self.send(self._fragments.appended(present_live(stream, blocks)))
        place = blocks.cursor
        for end in range(step, len(text), step):
            blocks.feed(text[:end])
            await self.send(self._fragments.answer_update(2, blocks.update_since(place)))
            place = blocks.cursor
        whole = self._view(2, "assistant", text, render_markdown(text, 2))
        body = self.page.locator("#m2-body")
        await body.evaluate("body => { body.firstElementChild.wasHere = true; }")
        if blocks.finish(text):
            await self.send(self._fragments.answer_finished(whole, blocks.update_since(place)))
            assert await body.evaluate("body => body.firstElementChild.wasHere")
        else:
            await self.send(self._fragments.message(whole, oob=True))
        rendered = await self.page.evaluate(AS_WRITTEN, render_markdown(text, 2))
        assert await body.inner_html() == rendered

    @staticmethod
    def _view(number: int, role: str, text: str, body: Any) -> MessageView:
        return MessageView(number, "c", role, "done", False, text, body, "", "", "a model")


async def play(server: Server, meet: Meet, **options: Any) -> Played:
    person = await meet(server, **options)
    page = await person.window()
    sockets: list[WebSocketRoute] = []
    await page.add_init_script(WATCH)
    await page.route_web_socket("**/live**", lambda socket: sockets.append(socket))  # noqa: PLW0108
    await page.goto(server.origin)
    while not sockets:
        await page.evaluate("new Promise(requestAnimationFrame)")
    return Played(page, sockets[0])


async def test_finished_blocks_are_not_replaced_while_an_answer_streams(
    endless: Server, meet: Meet, artefacts: Path
) -> None:
    looks: dict[str, dict[str, Any]] = {
        "wide-light": {"viewport": {"width": 1280, "height": 1700}},
        "wide-dark": {"viewport": {"width": 1280, "height": 1700}, "color_scheme": "dark"},
        "phone-light": {"viewport": {"width": 390, "height": 2400}},
    }
    for name, options in looks.items():
        played = await play(endless, meet, **options)
        await played.prompt("Show me everything.")
        await played.answer(ANSWER, 60)
        await played.page.screenshot(path=artefacts / f"markdown-{name}.png")
        assert await played.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )


async def test_code_and_answers_are_copied(endless: Server, meet: Meet) -> None:
    played = await play(endless, meet, permissions=["clipboard-read", "clipboard-write"])
    await played.prompt("Code, please.")
    await played.answer("# Code\n\n```python\nprint(1)\n```\n", 7)
    await played.page.locator(".code .copy").click()
    await played.page.locator("#announcer").get_by_text("Copied").wait_for(state="attached")
    assert await played.page.evaluate("navigator.clipboard.readText()") == "print(1)\n"


async def test_an_answer_is_copied_as_it_was_written(server: Server, meet: Meet) -> None:
    person = await meet(server, permissions=["clipboard-read", "clipboard-write"])
    chat = await person.open()
    await chat.ask("Hello", TINY)
    await chat.ends()
    await chat.page.get_by_role("button", name="Copy answer").click()
    await chat.page.locator("#announcer").get_by_text("Copied").wait_for(state="attached")
    stored = server.messages(chat.chat_id)[0]
    assert await chat.page.evaluate("navigator.clipboard.readText()") == stored["text"]
    foreign = f"{server.origin}/chats/{'0' * 16}/messages/{stored['id']}/text"
    assert (await person.context.request.get(foreign)).status == 404


async def test_known_attacks_in_an_answer_stay_text(endless: Server, meet: Meet) -> None:
    played = await play(endless, meet)
    title = await played.page.locator("#title").inner_html()
    await played.prompt("\n".join(VECTORS))
    await played.answer("\n\n".join(VECTORS), 97)
    page = played.page
    acting = "script, img, iframe, svg, style, form, object, embed, link, meta, base, input"
    assert await page.locator("#m1 .body").locator(acting).count() == 0
    assert await page.locator("#log").evaluate(ACTED_ON) == []
    assert await page.evaluate("[window.pwned ?? null, window.reports]") == [None, []]
    assert await page.locator("#title").inner_html() == title
