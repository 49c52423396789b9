"""A person chats at a terminal, without a server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.terminal.conftest import Open
from tests.terminal.terminal import READY, Terminal, piped


def rows(folder: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "data/wick.db")) as database:
        return database.execute(sql, values).fetchall()


def answered(person: Terminal, count: int) -> str:
    """Wait for the figures under so many answers, and the prompt after them."""
    text = person.until(lambda text: text.count("30 tokens") >= count, f"answer {count}")
    person.is_ready()
    return text


def test_a_conversation_with_commands(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    person = terminal(environ)
    assert "Wick" in person.is_ready()
    person.enter("first question")
    text = answered(person, 1)
    assert "first after" in text
    assert "Ended at the length limit" in text

    person.type("line one\\\rline two\x1b\rline three\r")
    answered(person, 2)
    person.enter('"""')
    person.enter("quoted one")
    person.enter('quoted two"""')
    answered(person, 3)
    asked = [row[0] for row in rows(tmp_path, "SELECT text FROM messages WHERE role = 'user'")]
    assert asked == ["first question", "line one\nline two\nline three", "quoted one\nquoted two"]

    person.enter("/temprature 0.5")
    person.sees("Did you mean /temperature?")
    person.enter("/temperature 99")
    person.sees("The temperature must be a number from 0 to 5.")
    person.enter("/temperature 0.5")
    person.sees("temperature set.")
    person.enter("/system Be brief.")
    person.sees("system_prompt set.")
    person.enter("/stopwords END")
    person.sees("stop set.")
    person.enter("/settings")
    text = person.sees("stop: “END”")
    assert "temperature: 0.5" in text
    assert "system prompt: Be brief." in text

    person.enter("/again other")
    answered(person, 4)
    assert rows(tmp_path, "SELECT model FROM messages ORDER BY id DESC LIMIT 1") == [("other",)]
    person.enter("/model")
    person.sees("Choose a model")
    person.type("\x1b[B\r")
    person.sees("Now using other.")
    person.enter("/model nobody")
    person.sees("No model named “nobody”")
    for leave in ("\x03\x03", "\x03\x04"):  # it is emptied first
        person.enter("/edit")
        person.until(lambda text: text.endswith("quoted two"), "the last question")
        person.type(leave)
        person.is_ready()
    assert person.text.count("Nothing was changed.") == 2
    person.enter("/edit")
    person.until(lambda text: text.endswith("quoted two"), "the last question")
    person.enter(" in other words")
    answered(person, 5)
    person.enter("/continue")
    person.until(lambda text: text.count(" tokens · ") == 6, "the continued answer")

    person.enter("/rename A name\x1b\r of two lines")
    person.sees("Renamed to")
    person.enter("/export chat.md")
    person.sees("Exported to chat.md.")
    assert "in other words" in (tmp_path / "chat.md").read_text()
    person.enter("/export chat.md")
    person.sees("chat.md already exists")
    person.enter("/search other words")
    person.sees("Open one with /open NUMBER.")
    person.enter("/new")
    person.sees("New chat.")
    person.enter("/again")
    person.sees("This chat is still empty.")
    person.enter("/open 1")
    person.sees("earlier messages; /history shows them all.")
    person.enter("/delete")
    person.sees("Chat moved to trash")
    assert rows(tmp_path, "SELECT deleted_at IS NULL FROM chats") == [(0,)]
    person.enter("/undelete")
    person.until(lambda text: text.count("earlier messages") == 2, "the chat again")
    person.enter("/quit")
    assert person.ends() == 0
    history = tmp_path / "data/chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "first question" in history.read_text()


def test_ctrl_c_stops_the_answer_and_not_the_program(
    terminal: Open, endless: dict[str, str], tmp_path: Path
) -> None:
    person = terminal(endless)
    person.is_ready()
    person.enter("talk")
    person.until(lambda text: len(text) > 500, "some text")
    person.interrupt()
    person.sees("Stopped")
    person.is_ready()
    assert rows(tmp_path, "SELECT status FROM messages WHERE role = 'assistant'") == [("stopped",)]

    person.type("half a line")
    person.sees("half a line")
    person.interrupt()
    person.until(lambda text: "half a line" not in text, "an empty line")
    person.interrupt()
    person.sees("Press Ctrl-C again")
    person.is_ready()
    person.interrupt()
    assert person.ends() == 0

    person = terminal(endless, "--resume")
    text = person.is_ready()
    assert "› talk" in text
    assert "Stopped" in text
    person.type("\x04")
    assert person.ends() == 0


def test_what_is_typed_during_an_answer_waits_for_the_prompt(
    terminal: Open, endless: dict[str, str]
) -> None:
    person = terminal(endless)
    person.is_ready()
    person.enter("talk")
    person.until(lambda text: len(text) > 500, "some text")
    person.type("the next one")
    person.type("\x03")  # takes back what was typed, as terminals do
    person.sees("Stopped")
    assert "the next one" not in person.is_ready()


def test_a_narrow_terminal_without_colours_and_nothing_kept(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    person = terminal({**environ, "NO_COLOR": "1"}, "--no-save", width=40)
    assert "This chat is not saved." in person.is_ready().replace("\n", " ")
    person.enter("secret")
    person.until(lambda text: "30 tokens" in text, "the answer")
    person.is_ready()
    person.type("\x04")
    assert person.ends() == 0
    assert b"secret" not in b"".join(
        path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()
    )


def test_only_one_owns_the_chats(terminal: Open, environ: dict[str, str], tmp_path: Path) -> None:
    person = terminal(environ)
    person.is_ready()
    other = piped(environ, "a question", folder=tmp_path)
    assert other.returncode == 1
    assert "in use by “wick chat” (process" in other.stderr
    assert len(other.stderr.splitlines()) == 1
    without = piped(environ, "--no-save", "a question", folder=tmp_path)
    assert without.returncode == 0, without.stderr
    assert READY in person.text
