"""`wick chat` in scripts and pipes."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

from tests.patience import PATIENCE
from tests.terminal.conftest import Open
from tests.terminal.terminal import begun, piped


def test_a_question_as_an_argument_and_through_a_pipe(
    environ: dict[str, str], tmp_path: Path
) -> None:
    done = piped(environ, "--json", "--seed", "1", "What", "is", "it?", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "done"
    assert answer["finish_reason"] == "length"
    assert answer["model"] == "tiny"
    assert answer["usage"]["completion_tokens"] == 30

    words = ("--resume", answer["chat"], "--json", "--stream", "-m", "other")
    done = piped(environ, *words, "And this?", folder=tmp_path, said="a file\n")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert steps[-1]["type"] == "end"
    assert steps[-1]["chat"] == answer["chat"]
    assert "".join(s["text"] for s in steps if s["type"] == "text") == steps[-1]["text"]

    done = piped(environ, folder=tmp_path, said="only a pipe\n")
    assert done.returncode == 0
    assert done.stderr == ""
    done = piped(environ, "--list", "--json", folder=tmp_path)
    titles = [chat["title"] for chat in json.loads(done.stdout)]
    assert titles == ["only a pipe", "What is it?"]
    done = piped(environ, "--list", folder=tmp_path)
    assert answer["chat"] in done.stdout


def test_exit_codes_of_a_one_shot_question(environ: dict[str, str], tmp_path: Path) -> None:
    for code, words, sentence in (
        (3, ("-m", "nobody", "a"), "No model named “nobody”"),
        (2, ("--temperature", "hot", "a"), "The temperature must be a number from 0 to 5."),
        (2, (), "Give a question"),
        (1, ("--resume", "nothing", "a"), "There is no chat “nothing”"),
    ):
        done = piped(environ, *words, folder=tmp_path)
        assert done.returncode == code, done.stderr
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = piped(environ, "--json", "-m", "nobody", "a", folder=tmp_path)
    assert "nobody" in json.loads(done.stdout)["error"]


def test_ctrl_c_exits_with_130_and_keeps_the_text(endless: dict[str, str], tmp_path: Path) -> None:
    with begun(endless, "--json", "--stream", "talk", folder=tmp_path) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["type"] != "text":
            pass
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    end = json.loads(out.splitlines()[-1])
    assert end["status"] == "stopped"
    assert end["text"]


def test_a_broken_pipe_prints_no_error(endless: dict[str, str], tmp_path: Path) -> None:
    with begun(endless, "talk", folder=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == 141
        assert process.stderr.read() == b""


def test_one_question_on_a_terminal(terminal: Open, environ: dict[str, str]) -> None:
    user = terminal(environ, "a question")
    assert user.ends() == 0
    assert "30 tokens" in user.text


def test_a_question_without_any_model_is_an_error(environ: dict[str, str], tmp_path: Path) -> None:
    empty = {**environ, "WICK_MODELS_DIR": str(tmp_path / "empty")}
    done = piped(empty, "a question", folder=tmp_path)
    assert done.returncode == 3
    assert "wick models pull" in done.stderr


def test_files_go_along_with_a_question(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Geese\n\nThey fly south.\n")
    words = ("--json", "-f", "notes.md", "-f", "-", "Sum this up")
    done = piped(environ, *words, folder=tmp_path, said="from a pipe\n")
    assert done.returncode == 0, done.stderr
    chat = json.loads(done.stdout)["chat"]
    data = str(tmp_path / "data" / "wick.db")
    with contextlib.closing(sqlite3.connect(data)) as database:
        (asked,) = database.execute(
            "SELECT text FROM messages WHERE chat_id = ? AND role = 'user'", (chat,)
        ).fetchone()
        files = database.execute("SELECT name, text FROM attachments ORDER BY id").fetchall()
    assert asked == "Sum this up"
    assert files == [("notes.md", "# Geese\n\nThey fly south.\n"), ("input.txt", "from a pipe\n")]


def test_a_file_that_cannot_be_sent_is_an_error_in_one_line(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "big.txt").write_bytes(b"a" * ((1 << 20) + 1))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    for code, name, sentence in (
        (2, "none.md", "Can't read none.md: No such file or directory."),
        (2, ".", "Can't read .: Is a directory."),
        (2, "big.txt", "big.txt is too large: the limit is 1 MB."),
        (1, "picture.png", "picture.png is damaged, or not a picture that Wick can read"),
    ):
        done = piped(environ, "-f", name, "What is this?", folder=tmp_path)
        assert done.returncode == code, done.stderr
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
