"""Saved prompts and personas at the terminal."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.conversations.settings import ChatSettings
from app.errors import LibraryEntryNotFound
from app.terminal.commands import completions
from app.terminal.http_backend import HttpBackend
from app.terminal.library import find_persona
from app.terminal.prompt import InputPrompt
from app.terminal.records import ModelSummary, PersonaRecord, PromptRecord
from app.terminal.repl import Repl
from tests.e2e.server import Server
from tests.terminal.conftest import Open
from tests.terminal.terminal import READY, TEMPORARY, piped, wick_environment

TRANSLATE = {"name": "translate", "text": "Translate {{what}} into {{language}}.\nBe brief."}
PIRATE = {
    "name": "Pirate Anne",
    "emoji": "🏴",
    "instructions": "Talk like a pirate.",
    "greeting": "Ahoy, what brings you here?",
    "model": "other",
    "settings": {"top_k": 3},
    "starters": ["Tell me of your ship", "Where is the rum?"],
}


def record(name: str, **values: Any) -> PersonaRecord:
    given = {"emoji": "", "instructions": "", "greeting": "", "model": "", "starters": ()} | values
    return PersonaRecord(id=1, name=name, settings=ChatSettings(), **given)


def test_a_persona_is_found_by_its_name_or_the_beginning_of_it() -> None:
    found = [record("Editor", emoji="✍️"), record("Edith"), record("Pirate")]
    assert find_persona(found, "editor") is found[0]
    assert find_persona(found, "✍️ Editor") is found[0]
    assert find_persona(found, "pir") is found[2]
    for wanted, sentence in (
        ("edi", "“edi” matches Editor, Edith."),
        ("nobody", "No persona is called “nobody”. Personas: Editor, Edith, Pirate."),
    ):
        with pytest.raises(LibraryEntryNotFound) as error:
            find_persona(found, wanted)
        assert str(error.value) == sentence
    with pytest.raises(LibraryEntryNotFound, match="You have none yet"):
        find_persona([], "editor")


async def test_commands_their_arguments_and_starters_are_completed(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.md").touch()
    (tmp_path / ".hidden").touch()
    async with httpx.AsyncClient() as client:
        prompt = InputPrompt(None, lambda text: completions(repl, text))
        repl = Repl(HttpBackend(client, ""), Console(), prompt, 1000)
        repl.models = [ModelSummary("a", "A"), ModelSummary("b", "B")]
        repl.prompts = [PromptRecord("tell", "Tell me of {{what}}", ["what"])]
        repl.prompts += [PromptRecord("model", "A prompt named as a command", [])]
        repl.personas = [record("Pirate", instructions="Talk like a pirate.", starters=["Ahoy"])]
        assert ("/temperature", "The temperature, from 0 to 5") in list(completions(repl, "/te"))
        assert ("/tell", "Tell me of {{what}}") in list(completions(repl, "/te"))
        assert [whole for whole, _ in completions(repl, "/")].count("/model") == 1
        assert list(completions(repl, "/model ")) == [("/model a", ""), ("/model b", "")]
        assert [whole for whole, _ in completions(repl, "/prompt ")] == [
            "/prompt tell",
            "/prompt model",
        ]
        assert list(completions(repl, "/persona ")) == [("/persona Pirate", "Talk like a pirate.")]
        assert list(completions(repl, "/rename ")) == []
        begun = f"/attach {tmp_path}/n"
        assert [whole for whole, _ in completions(repl, begun)] == [
            f"{begun}otes.md",
            f"{begun}otes/",
        ]
        assert list(completions(repl, f"/attach {tmp_path}/nowhere/")) == []
        assert list(completions(repl, "")) == []
        repl.persona = repl.personas[0]
        assert list(completions(repl, "")) == [("Ahoy", "")]
        repl.chat_id = "0" * 16  # it has begun
        assert list(completions(repl, "")) == []


@pytest.fixture
async def server(tmp_path: Path, store: Path) -> AsyncIterator[Server]:
    folder = tmp_path / "data"
    folder.mkdir()
    made = Server(folder, store, default_model="tiny", max_tokens=30, threads=1)
    yield await made.start()
    await made.close()


@pytest.fixture
def environ(tmp_path: Path, store: Path) -> dict[str, str]:
    return wick_environment(tmp_path / "data", store)


async def ask(
    environ: dict[str, str], folder: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(piped, environ, *words, folder=folder)


async def fill_library(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.origin) as http:
        for kind, entry in (("prompts", TRANSLATE), ("personas", PIRATE)):
            assert (await http.post(f"/api/v1/{kind}", json=entry)).status_code == 201


async def test_a_saved_prompt_asks_for_its_blanks_and_goes_into_the_message(
    server: Server, environ: dict[str, str], terminal: Open
) -> None:
    await fill_library(server)

    def converse() -> None:
        user = terminal(environ)
        user.is_ready()
        user.enter("/prompts")
        user.sees("/translate  Translate {{what}} into {{language}}. Be brief.")
        user.is_ready()
        user.type("/tra")
        user.until(lambda text: text.count("/translate") == 2, "the menu")
        user.type("\t")
        user.until(lambda text: "› /translate" in text, "the completed name")
        user.type("\r\r")  # the first closes the menu
        user.until(lambda text: text.endswith("\nwhat:"), "the first blank")
        user.type("\x03")
        user.sees("Canceled.")
        user.is_ready()
        user.enter("/translate hello")
        user.until(lambda text: text.endswith("\nlanguage:"), "the other blank")
        user.enter("French")
        user.until(lambda text: text.endswith("into French.\n  Be brief."), "the message")
        user.enter(" Please.")
        user.sees("30 tokens")
        user.is_ready()
        user.enter("/prompt nothing")
        user.sees("No saved prompt is called “nothing”.")
        user.is_ready()
        user.enter("/translat")
        user.sees("Did you mean /translate?")

    await asyncio.to_thread(converse)
    asked = [row["text"] for row in server.rows("SELECT text FROM messages WHERE role = 'user'")]
    assert asked == ["Translate hello into French.\nBe brief. Please."]


async def test_a_persona_begins_chats_with_its_model_settings_and_starters(
    server: Server, environ: dict[str, str], terminal: Open
) -> None:
    await fill_library(server)

    def converse() -> None:
        user = terminal(environ, width=100)
        user.is_ready()
        user.enter("/personas")
        user.sees("🏴 Pirate Anne · other")
        user.is_ready()
        user.enter("/persona")
        user.sees("Choose a persona")
        user.type("\r")  # the first one
        user.sees("New chat with 🏴 Pirate Anne. other answers.")
        text = user.is_ready()
        assert "Ahoy, what brings you here?" in text
        user.enter("/temperature 0.5")
        user.sees("temperature set.")
        user.is_ready()
        user.enter("/settings")
        user.sees("system prompt: Talk like a pirate.")
        assert "temperature: 0.5" in user.is_ready()
        user.type("\t")
        user.until(lambda text: text.count("Where is the rum?") == 2, "the starters")
        user.type("\t\t")
        user.until(lambda text: "› Where is the rum?" in text, "the second starter")
        user.type("\r\r")
        user.sees("other · 30 tokens")
        user.is_ready()
        user.enter("/new")
        user.sees("New chat with 🏴 Pirate Anne.\n")
        user.is_ready()
        user.enter("/persona -")
        user.sees("New chat without a persona. tiny answers.")
        user.is_ready()
        user.enter("/open last")
        user.sees("› Where is the rum?")
        user.is_ready()
        user.type("\x04")
        assert user.ends() == 0
        user = terminal(environ, "--resume")
        assert "· other · 🏴 Pirate Anne" in user.is_ready()

    await asyncio.to_thread(converse)
    (chat,) = server.rows("SELECT * FROM chats")
    async with httpx.AsyncClient(base_url=server.origin) as http:
        shown = (await http.get(f"/api/v1/chats/{chat['id']}")).json()
    settings = shown["settings"]
    assert settings["system_prompt"].startswith("Talk like a pirate.")
    assert (settings["top_k"], settings["temperature"], shown["model"]) == (3, 0.5, "other")


async def test_options_begin_a_temporary_chat_with_a_persona(
    server: Server, environ: dict[str, str], terminal: Open, tmp_path: Path
) -> None:
    await fill_library(server)

    def converse() -> None:
        user = terminal(environ, "--temporary", "--persona", "pirate", width=100)
        text = user.is_ready(TEMPORARY)
        assert "· other · 🏴 Pirate Anne\n" in text
        assert "Tell me of your ship" in text
        user.enter("Hello")
        user.sees("other · 30 tokens")
        user.is_ready(TEMPORARY)
        user.enter("/settings")
        user.sees("system prompt: Talk like a pirate.")
        user.is_ready(TEMPORARY)
        user.enter("/delete")
        user.sees("New temporary chat with 🏴 Pirate Anne.")
        user.is_ready(TEMPORARY)
        user.enter("/persona nobody")
        user.sees("No persona is called “nobody”. Personas: Pirate Anne.")
        assert READY not in user.is_ready(TEMPORARY)

    await asyncio.to_thread(converse)
    done = await ask(
        environ, tmp_path, "--temporary", "--persona", "Pirate Anne", "--json", "Hello"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["chat"], answer["model"]) == (None, "other")
    assert server.rows("SELECT 1 FROM chats") == []
    for option in (("--persona", "Pirate Anne"), ("--temporary",)):
        done = await ask(environ, tmp_path, *option, "--resume", "last", "x")
        assert done.returncode == 2
        assert f"{option[0]} is for new chats" in done.stderr
    done = await ask(environ, tmp_path, "--persona", "nobody", "x")
    assert done.returncode == 1
    assert "No persona is called “nobody”." in done.stderr
