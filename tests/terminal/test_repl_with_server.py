"""`wick chat` beside `wick serve`: the chats are the same ones, whoever began them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.terminal.conftest import Open
from tests.terminal.terminal import Terminal, begun, piped, wick_environment


@pytest.fixture
async def server(tmp_path: Path, store: Path) -> AsyncIterator[Server]:
    folder = tmp_path / "data"
    folder.mkdir()
    made = Server(folder, store, default_model="tiny", max_tokens=30000, context=32768, threads=1)
    yield await made.start()
    await made.close()


@pytest.fixture
def environ(tmp_path: Path, store: Path) -> dict[str, str]:
    """Of the same data folder, and without a word about where the server listens."""
    return wick_environment(tmp_path / "data", store)


async def ask(
    environ: dict[str, str], *words: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(piped, environ, *words, folder=folder)


async def test_the_terminal_shows_the_chats_of_the_page(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    limit = ("--max-tokens", "8")
    done = await ask(environ, "--json", *limit, "from the terminal", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    async with httpx.AsyncClient(base_url=server.origin) as client:
        page = (await client.get(f"/chats/{first['chat']}")).text
        assert "from the terminal" in page
        begun = await client.post(
            "/api/v1/chats", json={"text": "from the page", "settings": {"max_tokens": 8}}
        )
        chat_id = begun.json()["chat"]["id"]
    done = await ask(environ, "--resume", chat_id, "--json", "and from here", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = [row["text"] for row in server.messages(chat_id, "user")]
    assert texts == ["from the page", "and from here"]
    done = await ask(environ, "--list", "--json", folder=tmp_path)
    assert {chat["id"] for chat in json.loads(done.stdout)} == {first["chat"], chat_id}

    done = await ask(environ, "--no-save", "--json", *limit, "secret", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chat"] is None
    assert not server.rows("SELECT 1 FROM messages WHERE text = 'secret'")

    done = await ask(environ, "-m", "nobody", "x", folder=tmp_path)
    assert done.returncode == 3
    done = await ask(environ, "--url", "http://127.0.0.1:9", "x", folder=tmp_path)
    assert done.returncode == 1
    assert "Can't reach Wick" in done.stderr


async def test_an_answer_is_stopped_from_the_terminal(
    server: Server, environ: dict[str, str], terminal: Open
) -> None:
    def chat() -> Terminal:
        user = terminal(environ)
        assert server.origin in user.is_ready()
        user.enter("talk")
        user.until(lambda text: len(text) > 500, "some text")
        user.interrupt()
        user.sees("Stopped")
        user.is_ready()
        return user

    await asyncio.to_thread(chat)
    assert [
        row["status"] for row in server.rows("SELECT * FROM messages WHERE role <> 'user'")
    ] == ["stopped"]


async def test_leaving_the_terminal_stops_the_answer(
    server: Server, environ: dict[str, str], tmp_path: Path
) -> None:
    def leave(number: signal.Signals | None) -> int:
        with begun(environ, "talk", folder=tmp_path) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(10)
            if number is None:
                process.stdout.close()
            else:
                process.send_signal(number)
            code = process.wait(timeout=PATIENCE)
            assert process.stderr.read() == b""
        return code

    assert await asyncio.to_thread(leave, None) == 141
    assert await asyncio.to_thread(leave, signal.SIGTERM) == 143
    async with asyncio.timeout(PATIENCE):
        while server.rows("SELECT 1 FROM messages WHERE status = 'queued'"):
            await asyncio.sleep(0.05)
    ended = server.rows("SELECT status FROM messages WHERE role = 'assistant'")
    assert [row["status"] for row in ended] == ["stopped", "stopped"]


async def test_a_server_that_dies_in_mid_answer_is_an_error(
    server: Server, environ: dict[str, str], terminal: Open
) -> None:
    def begin() -> Terminal:
        user = terminal(environ)
        user.is_ready()
        user.enter("talk")
        user.until(lambda text: len(text) > 500, "some text")
        return user

    def go_on(user: Terminal) -> None:
        user.sees("Lost the connection")
        user.is_ready()
        user.type("\x04")
        assert user.ends() == 0

    user = await asyncio.to_thread(begin)
    await server.checkpointed()
    await server.kill()
    await asyncio.to_thread(go_on, user)
    await server.start()
    assert server.rows("SELECT status FROM messages WHERE role <> 'user'")[0][0] == "interrupted"


async def test_the_terminal_of_the_server_needs_no_password(
    server: Server, environ: dict[str, str], tmp_path: Path, store: Path
) -> None:
    assert await server.stop() == 0
    strict = Server(server.folder, store, accounts="on", default_model="tiny")
    try:
        await strict.start()
        limit = ("--max-tokens", "8", "--json")
        done = await ask(environ, *limit, "from here", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not strict.rows("SELECT 1 FROM api_keys")  # what let it in is gone
        done = await ask(environ, "--url", strict.origin, *limit, "a stranger", folder=tmp_path)
        assert done.returncode == 1
        assert "--key or WICK_KEY" in done.stderr
        made = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "app", "key", "add", "a test", "--scope", "read"],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        key = {"WICK_KEY": made.stdout.strip()}
        done = await ask(environ | key, "--url", strict.origin, "--list", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "from here" in done.stdout
        done = await ask(environ | key, "--url", strict.origin, *limit, "x", folder=tmp_path)
        assert done.returncode == 1
        assert "is not allowed to write in" in done.stderr
    finally:
        await strict.close()


async def test_a_server_and_a_wick_chat_without_one_exclude_each_other(
    server: Server, environ: dict[str, str], tmp_path: Path, terminal: Open
) -> None:
    second = Server(server.folder, tmp_path / "none")
    with pytest.raises(AssertionError, match="are in use by “wick serve”"):
        await second.start()
    assert await server.stop() == 0

    def alone() -> Terminal:
        user = terminal(environ)
        assert server.origin not in user.is_ready()
        return user

    user = await asyncio.to_thread(alone)
    with pytest.raises(AssertionError, match="are in use by “wick chat”"):
        await second.start()
    user.process.send_signal(signal.SIGKILL)
    await server.start()
