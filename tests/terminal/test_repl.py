"""A user chats at a terminal, without a server."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyrage

from tests.terminal.conftest import Open
from tests.terminal.terminal import READY, TEMPORARY, Terminal, piped


def rows(folder: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "data/wick.db")) as database:
        return database.execute(sql, values).fetchall()


def answered(user: Terminal, count: int) -> str:
    """Wait for the figures under so many answers, and the prompt after them."""
    text = user.until(lambda text: text.count("30 tokens") >= count, f"answer {count}")
    user.is_ready()
    return text


def test_a_conversation_with_commands(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    for name in ("notes.md", "more.txt"):
        (tmp_path / name).write_text("Geese fly south.")
    user = terminal(environ, "-f", "notes.md")
    counted = re.compile(r"Attached to your next message: notes\.md \(\d+ tokens\)\.")
    assert counted.search(user.is_ready())
    user.enter("/attach missing.md")
    user.sees("Can't read missing.md: No such file or directory.")
    user.enter("/attach more.txt")
    user.sees("tokens), more.txt (")
    user.enter("first question")
    text = answered(user, 1)
    assert rows(tmp_path, "SELECT count(DISTINCT message_id) FROM attachments") == [(1,)]
    user.enter("/attach")
    user.sees("No file is attached.")
    assert "first after" in text
    assert "Ended at the length limit" in text

    user.is_ready()  # else the keys come as lines, of a terminal that nobody reads by keys yet
    user.type("line one\\\rline two\x1b\rline three\r")
    answered(user, 2)
    user.enter('"""')
    user.enter("quoted one")
    user.enter('quoted two"""')
    answered(user, 3)
    asked = [row[0] for row in rows(tmp_path, "SELECT text FROM messages WHERE role = 'user'")]
    assert asked == ["first question", "line one\nline two\nline three", "quoted one\nquoted two"]

    user.enter("/temprature 0.5")
    user.sees("Did you mean /temperature?")
    user.enter("/temperature 99")
    user.sees("The temperature must be a number from 0 to 5.")
    user.enter("/temperature 0.5")
    user.sees("temperature set.")
    user.enter("/system Be brief.")
    user.sees("system_prompt set.")
    user.enter("/stopwords END")
    user.sees("stop set.")
    user.enter("/settings")
    text = user.sees("stop: “END”")
    assert "temperature: 0.5" in text
    assert "system prompt: Be brief." in text

    user.enter("/again other")
    answered(user, 4)
    assert rows(tmp_path, "SELECT model FROM messages ORDER BY id DESC LIMIT 1") == [("other",)]
    user.enter("/model")
    user.sees("Choose a model")
    user.type("\x1b[B\r")
    user.sees("Now using other.")
    user.enter("/model nobody")
    user.sees("No model named “nobody”")
    for leave in ("\x03\x03", "\x03\x04"):  # it is emptied first
        user.enter("/edit")
        user.until(lambda text: text.endswith("quoted two"), "the last question")
        user.type(leave)
        user.is_ready()
    assert user.text.count("Nothing was changed.") == 2
    user.enter("/edit")
    user.until(lambda text: text.endswith("quoted two"), "the last question")
    user.enter(" in other words")
    answered(user, 5)
    user.enter("/continue")
    user.until(lambda text: text.count(" tokens · ") == 6, "the continued answer")

    user.enter("/rename A name\x1b\r of two lines")
    user.sees("Renamed to")
    user.enter("/export chat.md")
    user.sees("Exported to chat.md.")
    assert "in other words" in (tmp_path / "chat.md").read_text()
    user.enter("/export chat.md")
    user.sees("chat.md already exists")
    user.enter("/export chat.json.age")
    for question in ("New", "Confirm"):
        user.sees(f"{question} passphrase:")
        user.enter("four words in a row")
    user.sees("Exported to chat.json.age.")
    assert "four words" not in user.text
    whole = pyrage.passphrase.decrypt(
        (tmp_path / "chat.json.age").read_bytes(), "four words in a row"
    )
    assert b"in other words" in whole
    user.enter("/search other words")
    user.sees("Open one with /open NUMBER.")
    user.enter("/new")
    user.sees("New chat.")
    user.enter("/again")
    user.sees("This chat is still empty.")
    user.enter("/open 1")
    user.sees("earlier messages; /history shows them all.")
    user.enter("/delete")
    user.sees("Chat moved to trash")
    assert rows(tmp_path, "SELECT deleted_at IS NULL FROM chats") == [(0,)]
    user.enter("/undelete")
    user.until(lambda text: text.count("earlier messages") == 2, "the chat again")
    user.enter("/quit")
    assert user.ends() == 0
    history = tmp_path / "data/chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "first question" in history.read_text()


def test_ctrl_c_stops_the_answer_and_not_the_program(
    terminal: Open, endless: dict[str, str], tmp_path: Path
) -> None:
    user = terminal(endless)
    user.is_ready()
    user.enter("talk")
    user.until(lambda text: len(text) > 500, "some text")
    user.interrupt()
    user.sees("Stopped")
    user.is_ready()
    assert rows(tmp_path, "SELECT status FROM messages WHERE role = 'assistant'") == [("stopped",)]

    user.type("half a line")
    user.sees("half a line")
    user.interrupt()
    user.until(lambda text: "half a line" not in text, "an empty line")
    user.interrupt()
    user.sees("Press Ctrl-C again")
    user.is_ready()
    user.interrupt()
    assert user.ends() == 0

    user = terminal(endless, "--resume")
    text = user.is_ready()
    assert "› talk" in text
    assert "Stopped" in text
    user.type("\x04")
    assert user.ends() == 0


def test_text_typed_during_an_answer_waits_for_the_prompt(
    terminal: Open, endless: dict[str, str]
) -> None:
    user = terminal(endless)
    user.is_ready()
    user.enter("talk")
    user.until(lambda text: len(text) > 500, "some text")
    user.type("the next one")
    user.type("\x03")  # takes back what was typed, as terminals do
    user.sees("Stopped")
    assert "the next one" not in user.is_ready()


def files_with(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_narrow_terminal_without_colours_and_a_temporary_chat(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    user = terminal({**environ, "NO_COLOR": "1"}, "--no-save", width=40)
    assert "it is not saved, and ends when" in " ".join(user.is_ready(TEMPORARY).split())
    user.enter("marmalade")
    user.until(lambda text: "30 tokens" in text, "the answer")
    user.is_ready(TEMPORARY)
    user.type("\x04")
    assert user.ends() == 0
    assert files_with(tmp_path / "data", "marmalade") == []


def test_a_chat_becomes_temporary_and_back(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("secret geese")
    user = terminal(environ, "-f", "notes.md")
    user.is_ready()
    user.enter("/temporary")
    user.is_ready(TEMPORARY)
    user.enter("secret question")
    user.until(lambda text: "30 tokens" in text, "the answer")
    user.is_ready(TEMPORARY)
    user.enter("/export")
    user.sees("Temporary chats can't be exported.")
    user.is_ready(TEMPORARY)
    user.enter("/new")
    text = user.sees("New temporary chat.")
    assert "The temporary chat has ended." in text
    user.is_ready(TEMPORARY)
    user.type("\x1b[A\x1b[A\x1b[A")  # /new, /export, and what was asked before
    user.until(lambda text: text.endswith("› secret question"), "the question again")
    user.type("\r")
    user.until(lambda text: text.count("30 tokens") == 2, "the other answer")
    user.is_ready(TEMPORARY)
    user.enter("/temporary")
    user.sees("New chat. It is saved.")
    user.is_ready()
    user.enter("saved question")
    user.until(lambda text: text.count("30 tokens") == 3, "the third answer")
    user.is_ready()
    user.type("\x04")
    assert user.ends() == 0
    assert rows(tmp_path, "SELECT text FROM messages WHERE role = 'user'") == [("saved question",)]
    assert files_with(tmp_path / "data", "secret question") == []
    assert "saved question" in (tmp_path / "data/chat_history").read_text()


def test_a_pasted_line_keeps_its_backslash(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    user = terminal(environ)
    user.is_ready()
    user.type("\x1b[200~curl \\\r  --head\x1b[201~\\\rtyped\r")
    answered(user, 1)
    (asked,) = rows(tmp_path, "SELECT text FROM messages WHERE role = 'user'")
    assert asked == ("curl \\\n  --head\ntyped",)


def test_only_one_wick_chat_owns_the_data_folder(
    terminal: Open, environ: dict[str, str], tmp_path: Path
) -> None:
    user = terminal(environ)
    user.is_ready()
    other = piped(environ, "a question", folder=tmp_path)
    assert other.returncode == 1
    assert "in use by “wick chat” (process" in other.stderr
    assert len(other.stderr.splitlines()) == 1
    without = piped(environ, "--temporary", "a question", folder=tmp_path)
    assert without.returncode == 0, without.stderr
    alone = terminal(environ, "--temporary")
    alone.is_ready(TEMPORARY)
    alone.enter("/temporary")
    alone.sees("Nothing can be saved here")
    alone.is_ready(TEMPORARY)
    assert READY in user.text
