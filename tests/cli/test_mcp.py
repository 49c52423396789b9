"""`wick mcp`, while a server runs and while none does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Server
from tests.forked import run_command

SERVERS = Path(__file__).parents[1] / "tools/mcp"
SAMPLE = [sys.executable, str(SERVERS / "sample_server.py")]


@pytest.mark.parametrize("runs", [True, False], ids=["running", "alone"])
async def test_tool_servers_are_added_listed_tested_and_removed(tmp_path: Path, runs: bool) -> None:
    server = Server(tmp_path, tmp_path / "models")

    async def wick(*arguments: str, **more: str) -> tuple[int, str]:
        given = (("mcp", *arguments), server.environ | more, tmp_path)
        done = await asyncio.to_thread(run_command, *given)
        return done.returncode, done.stdout + done.stderr

    if runs:
        await server.start()
    try:
        assert await wick("list") == (
            0,
            "No tool servers yet. Add one: wick mcp add NAME COMMAND or URL\n",
        )
        code, said = await wick("add", "--env", "FOX", "--env", "A=b", "notes", *SAMPLE, FOX="red")
        assert (code, said) == (0, "Added notes. Test it: wick mcp test notes\n")
        code, said = await wick("add", "notes", "true")
        assert (code, said) == (1, "wick: There is a tool server named notes already.\n")
        code, said = await wick("add", "--user", "nobody", "other", "true")
        assert (code, said) == (1, "wick: There is no user named “nobody”.\n")
        code, said = await wick("test", "notes")
        assert code == 0
        assert "notes works: 8 tools, 2 resources, 1 prompts." in said
        assert "  add  (Add numbers)\n" in said
        assert await wick("change", "--env", "A=", "--env", "B=c", "notes") == (
            0,
            "Changed notes. Test it: wick mcp test notes\n",
        )
        code, said = await wick("change", "none", "true")
        assert (code, said) == (1, "wick: There is no tool server named “none”.\n")
        code, said = await wick("list")
        assert "not tested" in " ".join(said.split())
        assert "notes works" in (await wick("test", "notes"))[1]
        await wick("add", "--access", "everyone", "gone", "true")
        await wick("change", "gone", "/no/such/fox")
        code, said = await wick("test", "gone")
        assert (code, said) == (1, "gone failed: The program “/no/such/fox” was not found.\n")
        code, said = await wick("list")
        words = " ".join(said.split())
        assert "8 tools (tested" in words
        assert "red" not in words.split()
        assert await wick("remove", "notes") == (0, "Removed notes.\n")
        code, said = await wick("test", "notes")
        assert (code, said) == (1, "wick: There is no tool server named “notes”.\n")
    finally:
        if runs:
            assert await server.stop() == 0
