"""A model that thinks before it answers, at the terminal; another server tells what it thinks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.inference.remote.stub import Call, Stub, serving
from tests.terminal.conftest import Open
from tests.terminal.terminal import piped, wick_environment


class Thinker:
    """Thinks, and answers when it is let."""

    def __init__(self, stub: Stub) -> None:
        self.may_answer = asyncio.Event()
        stub.script = self._script

    async def _script(self, call: Call) -> None:
        await call.head()
        for text in ("Blue, ", "I think."):
            await call.event({"choices": [{"delta": {"reasoning_content": text}}]})
        await self.may_answer.wait()
        await call.say("It is", " blue.")
        await call.finish(usage={"prompt_tokens": 11, "completion_tokens": 7})


@pytest.fixture
async def thinker(tmp_path: Path) -> AsyncIterator[Thinker]:
    async with serving() as stub:
        ModelStore(tmp_path / "models").add_remote("thinker", [Upstream(stub.url, "stub")])
        yield Thinker(stub)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return wick_environment(tmp_path / "data", tmp_path / "models", titles="off")


async def test_a_thought_is_a_status_line_and_shown_by_a_command(
    thinker: Thinker, environ: dict[str, str], terminal: Open
) -> None:
    user = await asyncio.to_thread(terminal, environ)
    await asyncio.to_thread(user.is_ready)
    user.enter("Which colour?")
    assert "Blue" not in await asyncio.to_thread(user.sees, "Thinking")
    thinker.may_answer.set()
    text = await asyncio.to_thread(user.sees, "7 tokens")
    assert "It is blue." in text
    assert "Thought for 1 s; /thought shows it" in text
    assert "Thinking" not in text
    assert "I think." not in text
    await asyncio.to_thread(user.is_ready)
    user.enter("/thought")
    await asyncio.to_thread(user.sees, "Blue, I think.")


async def test_json_output_has_the_thought(
    thinker: Thinker, environ: dict[str, str], tmp_path: Path
) -> None:
    thinker.may_answer.set()
    done = await asyncio.to_thread(piped, environ, "--json", "Which colour?", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["thought"], answer["text"]) == ("Blue, I think.", "It is blue.")

    words = ("--json", "--stream", "Which colour?")
    done = await asyncio.to_thread(piped, environ, *words, folder=tmp_path)
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    thoughts = [step["text"] for step in steps if step["type"] == "thought"]
    assert "".join(thoughts) == "Blue, I think." == steps[-1]["thought"]
