"""The settings page, and what each of its settings does to a chat."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.long_chat import plant

SIZE = "getComputedStyle(document.documentElement).fontSize"
WIDTH = "document.getElementById('log').offsetWidth"
AWAY = """() => {
  document.hasFocus = () => false;
  window.told = [];
  window.Notification = class extends EventTarget {
    static permission = 'granted';
    constructor(title, options) { super(); window.told.push([title, options.body]); }
  };
}"""


async def test_settings_change_how_chats_look_and_send(person: Person, server: Server) -> None:
    chat_id = plant(server.folder / "wick.db", 2, "How it looks")
    chat = await person.open(f"/chats/{chat_id}")
    await chat.ask("Count", TINY)
    await chat.ends()
    await expect(chat.answer.locator(".figures")).to_be_visible()
    assert await chat.page.evaluate(SIZE) == "16px"
    width = await chat.page.evaluate(WIDTH)
    page = (await person.open("/settings")).page
    await page.get_by_role("textbox", name="About me").fill("I am a <nurse>.")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#notice")).to_contain_text("Saved.")
    await page.get_by_role("combobox", name="Text size").select_option("Large")
    await ChatPage(page).holds(f"() => {SIZE} === '18px'")
    await page.get_by_role("combobox", name="Width of the chat").select_option("Narrow")
    await page.get_by_role("checkbox", name="Show figures of answers").uncheck()
    await page.get_by_role("combobox", name="Send with").select_option("Ctrl+Enter or Cmd+Enter")
    await chat.holds(f"() => {SIZE} === '18px'")  # the other tab, at once
    await chat.holds(f"width => {WIDTH} < width", width)
    await expect(chat.answer.locator(".figures")).to_be_hidden()
    await chat.message.fill("one")
    await chat.message.press("Enter")
    await expect(chat.message).to_have_value("one\n")
    await chat.message.press("Control+Enter")
    await expect(chat.questions).to_have_count(3)
    await chat.ends()
    await page.reload()
    await expect(page.get_by_role("textbox", name="About me")).to_have_value("I am a <nurse>.")
    await page.get_by_role("textbox", name="About me").fill("")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#notice")).to_contain_text("Saved.")
    await expect(page.get_by_role("combobox", name="Text size")).to_have_value("large")
    await expect(page.get_by_role("checkbox", name="Show figures of answers")).not_to_be_checked()


SPEAKER = """() => {
  window.tones = [];
  const param = (heard) => ({
    setValueAtTime: (value) => heard?.push(value), exponentialRampToValueAtTime() {},
  });
  window.AudioContext = class {
    currentTime = 0;
    createOscillator() {
      const heard = [];
      return { frequency: param(heard), connect: (to) => to, start() { window.tones.push(heard); },
        stop() {}, addEventListener() {} };
    }
    createGain() { return { gain: param(), connect() {} }; }
  };
}"""


async def test_a_long_answer_tells_who_is_elsewhere_that_it_has_ended(
    endless: Server, meet: Meet
) -> None:
    chat = await (await meet(endless)).open()
    await chat.page.evaluate("localStorage.notify = 'on'")
    await chat.page.evaluate(AWAY)
    await chat.page.clock.install()
    await chat.ask("Briefly", TINY)
    await chat.writes()
    await chat.silence()
    await chat.ends("stopped")
    assert await chat.page.evaluate("window.told") == []
    await chat.ask("At length")
    await chat.writes()
    await chat.page.clock.fast_forward(20_000)
    await chat.silence()
    await chat.holds("() => window.told.length > 0")
    title = await chat.page.get_by_role("heading", level=1).inner_text()
    assert (await chat.page.evaluate("window.told"))[0] == [title, "The answer is ready."]
    # And by a sound, for who wants one.
    await chat.page.evaluate("localStorage.notify = ''; localStorage.sound = 'on'")
    await chat.page.evaluate(SPEAKER)
    await chat.ask("At length again")
    await chat.writes()
    await chat.page.clock.fast_forward(20_000)
    await chat.silence()
    await chat.holds("() => window.tones.length > 0")
    assert await chat.page.evaluate("window.tones") == [[660, 880]]
    assert len(await chat.page.evaluate("window.told")) == 1
