"""The models page in a real browser: filling the store, using it, and everybody seeing the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from app.conversations.settings import parse_generation_settings
from app.models.store import ModelStore
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import ChatPage, Person
from tests.e2e.server import Server
from tests.models.gguf.test_reader_split import parts_of
from tests.models.stub_server import Stub, serve_stub
from tests.tiny_gguf import write_tiny_gguf

SECOND = "Tiny (second) · {} · ctransformers"
PHONE: dict[str, Any] = {"viewport": {"width": 320, "height": 700}, "has_touch": True}
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# Every value that the bar of a pull ever has on this page, after the number of its stage: each one
# fills the bar anew, which a page on a slow machine sees.
BARS = """
window.bars = [];
const stages = ["Downloading", "Checking", "Installing"];
new MutationObserver(() => {
  const bar = document.querySelector('#coming progress');
  if (!bar) return;
  const sentence = document.querySelector('#coming .sentence').textContent;
  const now = [stages.findIndex((stage) => sentence.startsWith(stage)), bar.value];
  if (String(window.bars.at(-1)) !== String(now)) window.bars.push(now);
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


class ModelsPage(ChatPage):
    """An open models page."""

    def card(self, name: str) -> Locator:
        return self.page.locator(f"#card-{name}")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name)

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def bar(self) -> Locator:
        return self.page.locator("#coming progress")


async def models_page(person: Person) -> ModelsPage:
    return ModelsPage((await person.open("/models")).page)


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A store of one's own."""
    shutil.copytree(tiny_store / TINY, tmp_path / "store" / TINY)
    return tmp_path / "store"


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """A web server with a model, `/second.gguf`, that it sends half of until it may go on."""
    with serve_stub() as stub:
        source = write_tiny_gguf(tmp_path / "x.gguf", seed=1, context_length=4096)
        stub.files["/second.gguf"] = source.read_bytes() + bytes(3 << 20)
        stub.stall = "/second.gguf"
        yield stub


async def test_a_model_is_pulled_shown_in_every_tab_and_used(
    start: StartServer, store: Path, stub: Stub, meet: Meet
) -> None:
    server = await start(store, max_tokens=30)
    one, two = await meet(server), await meet(server)
    await one.context.add_init_script(BARS)
    page, other = await models_page(one), await models_page(two)
    await page.page.get_by_label("Source").fill(f"{stub.url}/second.gguf")
    await page.page.get_by_label("Name (optional)").fill("second")
    await page.button(re.compile("^Download$")).click()
    await expect(page.page.get_by_label("Source")).to_have_value("")
    for tab in (page, other):
        await tab.holds("() => document.querySelector('#coming progress')?.value > 1e6")
        await expect(tab.page.locator("#coming .sentence")).to_contain_text(" MB")
    chat = await two.open()
    await expect(chat.model.locator("[value=second]")).to_contain_text("second · downloading")
    await chat.model.select_option("second")
    await page.reload()
    await page.holds("() => document.querySelector('#coming progress')?.value > 1e6")
    stub.go_on.set()
    for tab in (page, other):
        await expect(tab.card("second")).to_be_visible()
        await expect(tab.bar).to_have_count(0)
    bars = await page.page.evaluate("window.bars")
    assert bars
    assert bars == sorted(bars)
    # Both are called Tiny: the picker tells them apart.
    await expect(chat.model.locator("[value=second]")).to_have_text(
        "Tiny (second) · not loaded · ctransformers"
    )
    await expect(chat.model).to_have_value("second")  # the choice outlived the new list
    await chat.ask("Hello")
    await chat.ends()
    await expect(page.card("second").locator(".state")).to_have_text("Ready")
    await expect(page.card("second")).to_contain_text("tokens per second")
    await expect(chat.model.locator("option:checked")).to_have_text(
        "Tiny (second) · ready · ctransformers"
    )
    # In mid-chat to another, which is remembered even without a message.
    await chat.ask("And you?", TINY)
    await chat.ends()
    await expect(chat.answers.locator(".who")).to_have_text(["Tiny (second)", "Tiny (tiny)"])
    async with chat.page.expect_response("**/model"):
        await chat.model.select_option("second")
    await chat.reload()
    await expect(chat.model).to_have_value("second")
    await page.button("Unload Tiny").first.click()
    await expect(page.card("second").locator(".state")).to_have_text("Not loaded")
    await expect(other.card("second").locator(".state")).to_have_text("Not loaded")
    # Removed, it stays the chat's model, and comes back from where it was.
    await page.card("second").get_by_role("button", name="Remove").click()
    await page.dialog.get_by_role("button", name="Remove").click()
    await expect(page.card("second")).to_have_count(0)
    await expect(chat.model.locator("option:checked")).to_have_text("Tiny · needs download")
    await expect(chat.page.locator("#missing")).to_contain_text("Tiny is not installed.")
    await chat.page.get_by_role("button", name="Download (").click()
    await expect(page.card("second")).to_be_visible()
    await expect(chat.page.locator("#missing")).to_be_empty()
    await expect(chat.model.locator("option:checked")).to_have_text(
        "Tiny (second) · not loaded · ctransformers"
    )


async def test_a_pull_is_cancelled_and_a_failed_pull_tried_again(
    start: StartServer, store: Path, stub: Stub, meet: Meet
) -> None:
    server = await start(store)
    person = await meet(server)
    person.expects("422")
    page = await models_page(person)
    await page.page.get_by_label("Source").fill(f"{stub.url}/second.gguf")
    await page.page.get_by_label("Source").press("Enter")
    await page.holds("() => document.querySelector('#coming progress')?.value > 1e6")
    await page.button("Cancel downloading second").click()
    await expect(page.bar).to_have_count(0)
    stub.go_on.set()
    stub.files["/missing.gguf"] = stub.files["/second.gguf"]
    stub.statuses["/missing.gguf"] = [404] * 2
    await page.page.get_by_label("Source").fill(f"{stub.url}/missing.gguf")
    await page.page.get_by_label("Source").press("Enter")
    await expect(page.button("Try again to download missing")).to_be_visible()
    stub.statuses["/missing.gguf"] = []
    await page.button("Try again to download missing").click()
    await expect(page.card("missing")).to_be_visible()
    await page.page.get_by_label("Source").fill("ftp://example.org/x.gguf")
    await page.page.get_by_label("Source").press("Enter")
    await expect(page.notice).to_contain_text("Wick cannot fetch from")
    await expect(page.page.get_by_label("Source")).to_have_value("ftp://example.org/x.gguf")


async def test_settings_of_a_model_are_kept_and_take_effect(
    start: StartServer, store: Path, meet: Meet
) -> None:
    server = await start(store, max_tokens=20)
    person = await meet(server)
    person.expects("422")
    page, chat = await models_page(person), await person.open()
    await page.button("Settings for Tiny").click()
    await page.dialog.get_by_label("System prompt").fill("Answer like a pirate.")
    await page.dialog.get_by_label("Temperature").fill("hot")
    await page.dialog.get_by_label("Seed").fill("7")
    await page.button("Save").click()
    await expect(page.dialog.locator("#temperature-bad")).to_contain_text("a number from 0 to")
    await expect(page.dialog.get_by_label("System prompt")).to_have_value("Answer like a pirate.")
    await page.dialog.get_by_label("Temperature").fill("0")
    await page.dialog.get_by_label("Context size").fill("1000")
    await page.dialog.get_by_label("Context size").press("Enter")
    await expect(page.dialog).to_have_count(0)
    await expect(page.button("Settings for Tiny")).to_be_focused()
    await expect(page.card(TINY)).to_contain_text("1,000 of 32,768 tokens")
    await chat.ask("Hello")
    await chat.ends()
    await chat.ask("Hello")
    await chat.ends()
    made_with = parse_generation_settings(server.messages(chat.chat_id)[-1]["settings"])
    assert made_with is not None
    assert (made_with.sampling.temperature, made_with.sampling.seed) == (0, 7)
    assert made_with.system_prompt == "Answer like a pirate."
    assert made_with.context_length == 1000
    assert server.messages(chat.chat_id)[0]["prompt_tokens"] > 20  # the system prompt is read
    await page.button("Settings for Tiny").click()
    await page.button("Reset").click()
    await expect(page.dialog).to_have_count(0)
    await expect(page.card(TINY)).to_contain_text("4,096 of 32,768 tokens")


async def test_a_model_is_made_the_default_and_removed_and_its_chats_stay(
    start: StartServer, store: Path, tmp_path: Path, meet: Meet
) -> None:
    ModelStore(store).install(
        write_tiny_gguf(tmp_path / "x.gguf", seed=1), "second", title="Second"
    )
    server = await start(store, max_tokens=20)
    person = await meet(server)
    page = await models_page(person)
    await page.button("Load Second").press("Enter")
    await expect(page.card("second").locator(".state")).to_have_text("Ready")
    await expect(page.button("Unload Second")).to_be_focused()
    await page.button("Unload Second").press("Enter")
    await expect(page.card("second").locator(".state")).to_have_text("Not loaded")
    await expect(page.button("Load Second")).to_be_focused()
    await page.button("Make Second the default").click()
    await expect(page.card("second").locator(".mark")).to_have_text("Default")
    chat = await person.open()
    await expect(chat.model).to_have_value("second")
    await chat.ask("Hello, whoever you are")
    await chat.ends()
    said = await chat.body()
    await chat.message.fill("Are you still there?")
    await page.button("Remove Second").click()
    await page.button("Cancel").click()
    await expect(page.dialog).to_have_count(0)
    await page.button("Remove Second").click()
    await page.dialog.get_by_role("button", name="Remove").click()
    await expect(page.card("second")).to_have_count(0)
    await expect(chat.model.locator("option:checked")).to_contain_text("not installed")
    await chat.message.press("Enter")
    await expect(chat.notice).to_contain_text("“second” is not installed")
    await expect(chat.message).to_have_value("Are you still there?")
    await chat.reload()
    assert await chat.body() == said
    await expect(chat.model).to_have_value("second")
    await chat.page.get_by_role("button", name="Use Tiny").click()
    await expect(chat.model).to_have_value(TINY)
    await expect(chat.page.locator("#missing")).to_be_empty()
    await chat.ask("Are you still there?")
    await chat.ends()
    await expect(chat.answers.locator(".who")).to_have_text(["Second", "Tiny"])


async def test_a_model_that_is_answering_cannot_be_removed(endless: Server, meet: Meet) -> None:
    person = await meet(endless)
    person.expects("409")
    chat, page = await person.open(), await models_page(person)
    await chat.ask("Go on and on")
    await chat.writes()
    await expect(page.card(TINY).locator(".state")).to_contain_text("writing 1 answer")
    await page.button("Remove Tiny").click()
    await page.dialog.get_by_role("button", name="Remove").click()
    await expect(page.notice).not_to_be_empty()
    await expect(page.card(TINY)).to_be_visible()
    await chat.stop.click()
    await chat.ends("stopped")


async def test_a_model_file_is_uploaded(
    start: StartServer, store: Path, tmp_path: Path, meet: Meet
) -> None:
    server = await start(store)
    person = await meet(server, **PHONE)
    person.expects("422")
    page = await models_page(person)
    chosen = page.page.get_by_label("GGUF files on this device")
    (tmp_path / "bad.gguf").write_bytes(b"this is no model")
    await chosen.set_input_files(tmp_path / "bad.gguf")
    await page.button("Upload").click()
    await expect(page.notice).to_contain_text("is not a GGUF file")
    await chosen.set_input_files(write_tiny_gguf(tmp_path / "My own.gguf", seed=2))
    await page.button("Upload").click()
    await expect(page.card("my-own")).to_be_visible()
    await expect(page.notice).to_be_empty()
    for name, part in zip("12", parts_of(2), strict=True):
        (tmp_path / f"Big-0000{name}-of-00002.gguf").write_bytes(part)
    await chosen.set_input_files(tmp_path / "Big-00002-of-00002.gguf")
    await page.button("Upload").click()
    await expect(page.notice).to_contain_text("Big-00001-of-00002.gguf is missing")
    await chosen.set_input_files([tmp_path / f"Big-0000{n}-of-00002.gguf" for n in (2, 1)])
    await page.button("Upload").click()
    await expect(page.card("big")).to_be_visible()
    assert not await page.page.evaluate(SIDEWAYS)
