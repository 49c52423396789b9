"""The real model in a terminal: a chat that the page began goes on there, and is on the page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from playwright.async_api import expect

from tests.e2e.answer_checks import first_word
from tests.e2e.conftest import SMOLLM2
from tests.e2e.person import Person
from tests.e2e.server import Server
from tests.terminal.terminal import Terminal, piped, wick_environment


async def test_the_page_and_the_terminal_share_one_chat(
    server: Server, person: Person, two_model_store: Path, tmp_path: Path
) -> None:
    page = await person.open()
    await page.ask("Say hello to Ada.", SMOLLM2)
    await page.ends()
    environ = wick_environment(server.folder, two_model_store)

    def go_on() -> str:
        terminal = Terminal(
            environ, "--resume", page.chat_id, "--max-tokens", "40", folder=tmp_path
        )
        try:
            assert "› Say hello to Ada." in terminal.is_ready()
            terminal.enter("And to Grace.")
            text = terminal.until(
                lambda text: text.count(" tok/s") > 1, "figures under a second answer"
            )
            terminal.is_ready()
            terminal.type("\x04")
            assert terminal.ends() == 0
        finally:
            terminal.close()
        return text

    shown = await asyncio.to_thread(go_on)
    path = server.rows("SELECT * FROM messages ORDER BY id DESC LIMIT 2")
    word = first_word(path[0]["text"])
    assert path[1]["text"] == "And to Grace."
    assert path[0]["cached_tokens"] > 0  # what the page had asked was not read again
    assert word in shown
    await expect(page.questions).to_have_count(2)
    await expect(page.answer).to_contain_text(word)


async def test_the_terminal_answers_without_a_server(smollm2: Path, tmp_path: Path) -> None:
    environ = wick_environment(tmp_path / "data", smollm2.parent)
    words = ("-m", SMOLLM2, "--json", "--temperature", "0", "What is the capital of France?")
    done = await asyncio.to_thread(piped, environ, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Paris" in json.loads(done.stdout)["text"]
